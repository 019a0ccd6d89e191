//! Kinds of noise levels, the sampler's steps and its first noise (c09, c11).

use burn::tensor::Tensor;
use engine::vdm::schedule::{Scaling, SigmaRange, Step, log_normal_sigma, loss_weight, phi1, phi2};
use engine::vdm::{LegacyNormal, advance};
use serde_json::Value;

use crate::Kind;
use crate::case::{Case, Checks, Failure, entry, floats};
use crate::vdm::{demand, list, number};

pub fn kinds() -> Vec<Kind> {
    let kind = |class, run| Kind { class, also: "", on_vulkan: false, run };
    vec![
        kind("RectifiedFlowScaling", scaling),
        kind("RectifiedFlowAB2Scheduler", scheduler),
        kind("arch_invariant_rand", initial_noise),
    ]
}

fn scaling(case: &Case, checks: &mut Checks) -> Result<(), Failure> {
    demand(&case.json()["config"], &[("sigma_data", 1.0.into())])?;
    let sigma = case.stored("in.sigma")?.clone();
    let mut check = |name: &str, value: &dyn Fn(f64) -> f64| {
        let found: Vec<f64> = sigma.values.iter().map(|s| value(*s)).collect();
        checks.values(case, name, &sigma.shape, &found)
    };
    let factors = list(&case.json()["config"], "t_scaling_factor", Value::as_f64)?;
    for factor in factors {
        check(&format!("out.c_skip_f{factor}"), &|s| Scaling::of(s, factor).c_skip)?;
        check(&format!("out.c_out_f{factor}"), &|s| Scaling::of(s, factor).c_out)?;
        check(&format!("out.c_in_f{factor}"), &|s| Scaling::of(s, factor).c_in)?;
        check(&format!("out.c_noise_f{factor}"), &|s| Scaling::of(s, factor).c_noise)?;
    }
    // The reference's nominal weight lacks the velocity's constant one.
    check("out.sigma_loss_weights", &|s| loss_weight(s) - 1.0)?;
    check("out.per_sigma_weight", &loss_weight)
}

/// A table of noise levels for every `n`, its steps from the stored states one by one, and the
/// whole run from noise with the case's closed-form denoiser.
fn scheduler(case: &Case, checks: &mut Checks) -> Result<(), Failure> {
    let config = &case.json()["config"];
    let range = SigmaRange {
        max: number(config, "sigma_max")?,
        min: number(config, "sigma_min")?,
        order: number(config, "order")?,
    };
    for name in case.names("out.sigmas_n").map(str::to_owned).collect::<Vec<_>>() {
        let (steps, precision) = name.split_once('_').unwrap_or((&name, ""));
        let (run, n) = (format!("n{steps}"), steps.parse::<usize>()?);
        let sigmas = range.table(n);
        let table = format!("out.sigmas_n{name}");
        if precision == "single" {
            checks.values(case, &table, &[n + 1], &sigmas)?;
        } else {
            checks.within(case, &table, &[n + 1], &sigmas, 0.0, 1e-12)?;
            let numbers: Vec<f64> = (0..n).map(|i| i as f64).collect();
            checks.values(case, &format!("out.timesteps_{run}"), &[n], &numbers)?;
        }

        let samples = format!("out.samples_n{name}");
        let stored: Tensor<6> = case.tensor(&samples)?;
        let offset: Tensor<6> = case.tensor::<5>(&format!("in.b_{run}"))?.unsqueeze_dim(0);
        let noise: Tensor<6> = case.tensor::<5>(&format!("in.noise_{run}"))?.unsqueeze_dim(0);
        let denoise = |x: Tensor<6>, sigma: f64| {
            let sigma = f64::from(sigma as f32);
            x * (0.6 / (1.0 + sigma * sigma)) + offset.clone()
        };
        let step = |i: usize| match i {
            0 => Step::euler(sigmas[0], sigmas[1]),
            _ => Step::adams_bashforth(sigmas[i - 1], sigmas[i], sigmas[i + 1]),
        };

        let (mut states, mut forced) = (vec![noise * range.max], vec![entry(&stored, 0)]);
        let (mut estimates, mut previous) = (Vec::new(), None);
        for i in 0..n {
            let x = states[i].clone();
            let x0 = denoise(x.clone(), sigmas[i]);
            states.push(advance(step(i), x, &x0, previous));
            estimates.push(x0.clone());
            previous = Some(x0);
            let x = entry(&stored, i);
            let x0 = denoise(x.clone(), sigmas[i]);
            let before = i.checked_sub(1);
            let before = before.map(|j| denoise(entry(&stored, j), sigmas[j]));
            forced.push(advance(step(i), x, &x0, before));
        }
        let forced = Tensor::cat(forced, 0);
        let shape = forced.dims();
        checks.within(case, &samples, &shape, &floats(forced)?, 1e-6, 2e-6)?;
        checks.tensor(case, &samples, Tensor::cat(states, 0))?;
        if precision.is_empty() {
            checks.tensor(case, &format!("out.x0_{run}"), Tensor::cat(estimates, 0))?;
        }
    }
    step_formulas(case, checks)
}

/// The formulas under the scheduler, in double precision.
fn step_formulas(case: &Case, checks: &mut Checks) -> Result<(), Failure> {
    const EXACT: f64 = 1e-10;
    let values = |name: &str| Ok::<_, Failure>(case.stored(name)?.values.clone());
    let t = values("in.phi_t")?;
    for (name, phi) in [("out.phi1", phi1 as fn(f64) -> f64), ("out.phi2", phi2)] {
        let found: Vec<f64> = t.iter().map(|t| phi(*t)).collect();
        checks.within(case, name, &[t.len()], &found, EXACT, EXACT)?;
    }

    let (x, current, previous) =
        (values("in.rk_x")?, values("in.rk_x0_s")?, values("in.rk_x0_s1")?);
    let (s, t, before) = (values("in.rk_s")?, values("in.rk_t")?, values("in.rk_s1")?);
    let shape = case.stored("in.rk_x")?.shape.clone();
    let inner = x.len() / s.len();
    let mut check = |name: &str, value: &dyn Fn(usize, usize) -> f64| {
        let found: Vec<f64> = (0..x.len()).map(|i| value(i, i / inner)).collect();
        checks.within(case, name, &shape, &found, EXACT, EXACT)
    };
    let next = |step: Step, i: usize, x0: f64| {
        step.state * x[i] + step.current * x0 + step.previous * previous[i]
    };
    check("out.res_x0_rk2_step", &|i, row| {
        let step = Step::adams_bashforth(before[row], s[row], t[row]);
        next(step, i, current[i])
    })?;
    check("out.reg_x0_euler_step", &|i, row| next(Step::euler(s[row], t[row]), i, current[i]))?;
    // The same step told as noise: the clean estimate is what remains without it.
    let clean = |i: usize, row: usize| x[i] - s[row] * current[i];
    check("out.reg_eps_euler_x", &|i, row| next(Step::euler(s[row], t[row]), i, clean(i, row)))?;
    check("out.reg_eps_euler_x0", &clean)?;

    let uniforms = values("in.sample_sigma_uniforms")?;
    let found: Vec<f64> = uniforms.iter().map(|u| log_normal_sigma(*u)).collect();
    checks.values(case, "out.sample_sigma", &[uniforms.len()], &found)
}

fn initial_noise(case: &Case, checks: &mut Checks) -> Result<(), Failure> {
    for name in case.names("out.").map(str::to_owned).collect::<Vec<_>>() {
        let (seed, shape) = name
            .strip_prefix("seed")
            .and_then(|rest| rest.split_once('_'))
            .ok_or_else(|| format!("out.{name} names no seed"))?;
        let shape: Vec<usize> = shape.split('x').map(str::parse).collect::<Result<_, _>>()?;
        let numbers = LegacyNormal::new(seed.parse()?).take(shape.iter().product());
        let found: Vec<f64> = numbers.map(|v| f64::from(v as f32)).collect();
        checks.within(case, &format!("out.{name}"), &shape, &found, 0.0, 2e-7)?;
    }
    Ok(())
}
