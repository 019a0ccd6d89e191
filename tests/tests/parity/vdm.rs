//! Kinds of the video model (c06 to c08, c10).

use std::ops::ControlFlow;

use burn::tensor::Tensor;
use engine::gpu;
use engine::vdm::schedule::{Beginning, SigmaRange};
use engine::vdm::{
    CONTROL_KEYS, Conditioning, ControlBranch, ControlConfig, CrossMask, DIT_KEYS, Dit, DitConfig,
    DitInput, RopeConfig, SampleRequest, VAE_KEYS, Vdm, VdmConfig, VideoVae, VideoVaeConfig,
    legacy_noise,
};
use engine::weights::Precision;
use serde_json::Value;

use crate::Kind;
use crate::case::{Case, Checks, Failure, entry};

pub fn kinds() -> Vec<Kind> {
    let kind = |class, on_vulkan, run| Kind { class, also: "", on_vulkan, run };
    vec![
        kind("VAE_", true, video_vae),
        kind("MinimalV1LVGDiT", true, dit),
        kind("VideoRopePosition3DEmb", false, rope_tables),
        kind("CtrlEncoder", true, control_branch),
        kind("Video2WorldPipelineWithCtrl", true, pipeline),
    ]
}

/// A whole number of a configuration.
pub fn size(config: &Value, name: &str) -> Result<usize, Failure> {
    let number = config[name].as_u64();
    Ok(number.ok_or_else(|| format!("config has no whole number {name}"))? as usize)
}

pub fn number(config: &Value, name: &str) -> Result<f64, Failure> {
    let number = config[name].as_f64();
    Ok(number.ok_or_else(|| format!("config has no number {name}"))?)
}

pub fn list<T>(
    config: &Value,
    name: &str,
    read: fn(&Value) -> Option<T>,
) -> Result<Vec<T>, Failure> {
    let entries = config[name].as_array().map(|a| a.iter().map(read));
    let entries: Option<Vec<T>> = entries.and_then(Iterator::collect);
    Ok(entries.ok_or_else(|| format!("config has no fitting list {name}"))?)
}

/// Fails on settings that the engine has no counterpart for.
pub fn demand(config: &Value, settings: &[(&str, Value)]) -> Result<(), Failure> {
    for (name, wanted) in settings {
        let found = &config[*name];
        if !found.is_null() && found != wanted {
            return Err(format!("{name} is {found}, only {wanted} is supported").into());
        }
    }
    Ok(())
}

fn vae_config(case: &Case, config: &Value, window: usize) -> Result<VideoVaeConfig, Failure> {
    demand(config, &[("dropout", 0.0.into())])?;
    let whole = |v: &Value| v.as_u64().map(|n| n as usize);
    let inverse_std = case.stored("in.scale_inv_std")?.f32();
    Ok(VideoVaeConfig {
        dim: size(config, "dim")?,
        z_dim: size(config, "z_dim")?,
        dim_mult: list(config, "dim_mult", whole)?,
        num_res_blocks: size(config, "num_res_blocks")?,
        temporal_downsample: list(config, "temperal_downsample", Value::as_bool)?,
        temporal_window: window,
        patch: 1,
        linear_path: false,
        latent_mean: case.stored("in.scale_mean")?.f32(),
        latent_std: inverse_std.into_iter().map(|s| 1.0 / s).collect(),
    })
}

fn dit_config(config: &Value) -> Result<DitConfig, Failure> {
    demand(
        config,
        &[
            ("patch_temporal", 1.into()),
            ("concat_padding_mask", true.into()),
            ("pos_emb_cls", "rope3d".into()),
            ("use_adaln_lora", true.into()),
            ("extra_per_block_abs_pos_emb", false.into()),
            ("rope_enable_fps_modulation", false.into()),
        ],
    )?;
    let causal = config["causal_cross_attn"].as_bool() == Some(true);
    let extrapolation = |axis: &str| number(config, &format!("rope_{axis}_extrapolation_ratio"));
    Ok(DitConfig {
        latent_channels: size(config, "in_channels")?,
        patch: size(config, "patch_spatial")?,
        model_channels: size(config, "model_channels")?,
        num_blocks: size(config, "num_blocks")?,
        num_heads: size(config, "num_heads")?,
        mlp_ratio: number(config, "mlp_ratio")?,
        adaln_lora_dim: size(config, "adaln_lora_dim")?,
        crossattn_emb_channels: size(config, "crossattn_emb_channels")?,
        context_tokens: 512,
        cross_mask: if causal { CrossMask::ReferenceCausal } else { CrossMask::Full },
        rope_extrapolation: [extrapolation("t")?, extrapolation("h")?, extrapolation("w")?],
        rope_bf16_buffers: false,
    })
}

fn control_config(config: &Value) -> Result<ControlConfig, Failure> {
    let left_out = list(config, "layer_mask", Value::as_bool)?;
    let num_blocks = left_out.iter().take_while(|out| !**out).count();
    if left_out[num_blocks..].contains(&false) {
        return Err("layer_mask keeps blocks that are not the first ones".into());
    }
    Ok(ControlConfig {
        dit: dit_config(config)?,
        num_blocks,
        hint_channels: size(config, "hint_channels")?,
        control_weight: number(config, "control_weight")?,
    })
}

fn load_dit(case: &Case, config: &DitConfig) -> Result<Dit, Failure> {
    let fresh = config.init(case.device());
    case.load(fresh, &DIT_KEYS)
}

fn load_control(case: &Case, config: &ControlConfig) -> Result<ControlBranch, Failure> {
    let fresh = config.init(case.device());
    case.load(fresh, &CONTROL_KEYS)
}

/// The whole video model of a case that holds `net.`, `net_ctrl.` and `tokenizer.`.
pub fn load_vdm(case: &Case, config: &Value) -> Result<Vdm, Failure> {
    demand(
        config,
        &[
            ("conditioning_strategy", "frame_replace".into()),
            ("sigma_conditional", 1e-4.into()),
            ("sigma_data", 1.0.into()),
            ("rectified_flow_t_scaling_factor", 1.0.into()),
        ],
    )?;
    let window = size(&config["tokenizer"], "temporal_window")?;
    let times = &config["timestamps"];
    let config = VdmConfig {
        vae: vae_config(case, &config["tokenizer"], window)?,
        dit: dit_config(&config["net"])?,
        control: control_config(&config["net_ctrl"])?,
        sigmas: SigmaRange {
            max: number(times, "t_max")?,
            min: number(times, "t_min")?,
            order: number(times, "order")?,
        },
        beginning: Beginning::Noise,
    };
    let mut vdm = config.init(case.device());
    let tokenizer = case.weights().strip_prefix("tokenizer.");
    vdm.vae = on_units(case, tokenizer.load_into(vdm.vae, &VAE_KEYS)?);
    vdm.dit = load_dit(case, &config.dit)?;
    vdm.control = load_control(case, &config.control)?;
    Ok(vdm)
}

/// As packs load it: in half precision with kernels of halves where matrix units are.
fn on_units(case: &Case, vae: VideoVae) -> VideoVae {
    match case.precision() == Precision::F16 && gpu::has_matrix_units(case.device()) {
        true => vae.with_half_kernels(),
        false => vae,
    }
}

fn video_vae(case: &Case, checks: &mut Checks) -> Result<(), Failure> {
    let load = |window: usize| -> Result<VideoVae, Failure> {
        let config = vae_config(case, &case.json()["config"], window)?;
        let fresh = config.init(case.device());
        Ok(on_units(case, case.weights().load_into(fresh, &VAE_KEYS)?))
    };
    let windows = list(&case.json()["config"], "temporal_window", Value::as_u64)?;
    for window in windows {
        let vae = load(window as usize)?;
        for frames in case.names("in.video_").map(str::to_owned).collect::<Vec<_>>() {
            let name = format!("out.mu_w{window}_{frames}");
            if !case.has(&name) {
                continue;
            }
            let video: Tensor<5> = case.tensor(&format!("in.video_{frames}"))?;
            let latents = vae.encode(video.clone());
            checks.tensor(case, &name, latents.clone())?;
            checks.tensor(case, &name, vae.encode_whole(video.clone()))?;
            let name = format!("out.mu_noscale_{frames}");
            checks.tensor(case, &name, vae.chunked_moments(video.clone()).mean)?;
            checks.tensor(case, &name, vae.whole_moments(video).mean)?;
            let name = format!("out.decoded_of_mu_{frames}");
            checks.tensor(case, &name, vae.decode(latents))?;
            let name = format!("out.decoded_{frames}");
            let given: Tensor<5> = case.tensor(&format!("in.z_{frames}"))?;
            checks.tensor(case, &name, vae.decode(given.clone()))?;
            checks.tensor(case, &name, vae.decode_whole(given))?;
        }
    }
    Ok(())
}

/// The transformer's input that c07 and c08 share.
fn dit_input(case: &Case, timesteps: &str) -> Result<DitInput, Failure> {
    Ok(DitInput {
        latents: case.tensor("in.x")?,
        condition_mask: case.tensor("in.cond_mask")?,
        padding_mask: Some(case.tensor("in.padding_mask")?),
        timesteps: case.tensor(&format!("in.timesteps_{timesteps}"))?,
        context: case.tensor("in.crossattn_emb")?,
    })
}

/// `[batch, frames, height, width, width of the network]` to the engine's tokens, and back.
fn as_tokens(x: Tensor<5>) -> Tensor<4> {
    x.flatten(2, 3)
}

fn as_grid(tokens: Tensor<4>, input: &DitInput, patch: usize) -> Tensor<5> {
    let [batch, frames, _, channels] = tokens.dims();
    let [_, _, _, height, width] = input.latents.dims();
    tokens.reshape([batch, frames, height / patch, width / patch, channels])
}

fn dit(case: &Case, checks: &mut Checks) -> Result<(), Failure> {
    let network = load_dit(case, &dit_config(&case.json()["config"])?)?;
    for timesteps in ["B1", "BT"] {
        let name = format!("out.y_{timesteps}");
        if case.has(&name) {
            let found = network.forward(&dit_input(case, timesteps)?, &[]);
            checks.tensor(case, &name, found)?;
        }
        let name = format!("out.y_{timesteps}_ctrl");
        if case.has(&name) {
            let mut control = Vec::new();
            while case.has(&format!("in.x_ctrl_block{}", control.len())) {
                let residual = case.tensor(&format!("in.x_ctrl_block{}", control.len()))?;
                control.push(as_tokens(residual));
            }
            let found = network.forward(&dit_input(case, timesteps)?, &control);
            checks.tensor(case, &name, found)?;
        }
        // An image has no given frames.
        let name = format!("out.y_{timesteps}_image");
        if case.has(&name) {
            let mut input = dit_input(case, timesteps)?;
            input.condition_mask = input.condition_mask.zeros_like();
            checks.tensor(case, &name, network.forward(&input, &[]))?;
        }
    }
    Ok(())
}

fn rope_tables(case: &Case, checks: &mut Checks) -> Result<(), Failure> {
    let config = &case.json()["config"];
    demand(config, &[("enable_fps_modulation", false.into())])?;
    let ratio = |axis: &str| number(config, &format!("{axis}_extrapolation_ratio"));
    for name in case.names("out.").map(str::to_owned).collect::<Vec<_>>() {
        let (precision, shape) = name
            .strip_prefix("angles_")
            .and_then(|rest| rest.rsplit_once('_'))
            .ok_or_else(|| format!("out.{name} is not an angle table"))?;
        let axes: Vec<usize> = shape.split('x').map(str::parse).collect::<Result<_, _>>()?;
        let [frames, height, width] = axes[..] else {
            return Err(format!("out.{name} names no three axes").into());
        };
        let rope = RopeConfig {
            head_dim: size(config, "head_dim")?,
            extrapolation: [ratio("t")?, ratio("h")?, ratio("w")?],
            bf16_buffers: precision == "bf16_buffers",
        };
        let half = rope.half_angles(frames, height, width);
        let rows = half.chunks(rope.head_dim / 2);
        let table: Vec<f64> =
            rows.flat_map(|row| row.iter().chain(row)).map(|v| f64::from(*v)).collect();
        let shape = [frames * height * width, 1, 1, rope.head_dim];
        checks.values(case, &format!("out.{name}"), &shape, &table)?;
    }
    Ok(())
}

fn control_branch(case: &Case, checks: &mut Checks) -> Result<(), Failure> {
    let config = control_config(&case.json()["config"])?;
    let (branch, network) = (load_control(case, &config)?, load_dit(case, &config.dit)?);
    let input = dit_input(case, "BT")?;
    let residuals = branch.forward(&input, case.tensor("in.hint")?);
    for (i, residual) in residuals.iter().enumerate() {
        let grid = as_grid(residual.clone(), &input, config.dit.patch);
        checks.tensor(case, &format!("out.x_ctrl_block{i}"), grid)?;
    }
    checks.tensor(case, "out.y", network.forward(&input, &residuals))?;
    checks.tensor(case, "out.y_no_ctrl", network.forward(&input, &[]))
}

/// What a case of the pipeline conditions on.
fn request(case: &Case, vdm: &Vdm, checks: &mut Checks) -> Result<SampleRequest, Failure> {
    let config = &case.json()["config"];
    let given = size(config, "num_conditional_frames")?;
    let video = vdm.vae.encode(case.tensor("in.video")?);
    checks.tensor(case, "mid.gt_latent", video.clone())?;
    let hint = vdm.vae.encode(case.tensor("in.hint_video")?);
    checks.tensor(case, "mid.hint_latent", hint.clone())?;
    let negative = case.tensor::<2>("in.neg_embedding_raw")?.unsqueeze_dim(0);
    let negative = vdm.dit.pad_context(negative);
    checks.tensor(case, "mid.uncond_crossattn", negative.clone())?;
    Ok(SampleRequest {
        latent_steps: video.dims()[2],
        conditioning: Conditioning {
            given: video.narrow(2, 0, given),
            hint: Some(hint),
            context: vdm.dit.pad_context(case.tensor("in.prompt_embedding")?),
            ground: None,
        },
        negative_context: Some(negative),
        steps: size(config, "num_sampling_step")?,
        guidance: number(config, "guidance")?,
        noise_seed: size(config, "noise_seed")? as u32,
    })
}

fn pipeline(case: &Case, checks: &mut Checks) -> Result<(), Failure> {
    demand(&case.json()["config"], &[("padding_mask", "zeros".into())])?;
    let vdm = load_vdm(case, &case.json()["config"])?;
    let request = request(case, &vdm, checks)?;
    let unit: Tensor<5> = case.tensor("in.xt")?;
    let unguided = Conditioning {
        context: request.negative_context.clone().ok_or("no negative context")?,
        ..request.conditioning.clone()
    };

    for (i, sigma) in [80.0, 3.0, 0.002].into_iter().enumerate() {
        let x = unit.clone() * sigma;
        let levels = [vec![sigma]];
        let wanted = vdm.denoise(&x, &levels, &request.conditioning);
        let unwanted = vdm.denoise(&x, &levels, &unguided);
        checks.tensor(case, &format!("out.x0fn_{i}_cond"), wanted.clone())?;
        checks.tensor(case, &format!("out.x0fn_{i}_uncond"), unwanted)?;
        let noise = (x.clone() - wanted) / sigma;
        checks.tensor(case, &format!("out.x0fn_{i}_cond_eps"), noise)?;
        let guided = vdm.guided(&x, sigma, &request);
        checks.tensor(case, &format!("out.x0fn_{i}_guided"), guided)?;
    }

    let levels: Vec<f64> = (0..request.latent_steps).map(|k| 0.5 + 0.75 * k as f64).collect();
    let x0 = vdm.denoise(&unit, std::slice::from_ref(&levels), &request.conditioning);
    checks.tensor(case, "out.denoise2d_x0", x0.clone())?;
    let noise = levels
        .iter()
        .enumerate()
        .map(|(k, sigma)| (unit.clone().narrow(2, k, 1) - x0.clone().narrow(2, k, 1)) / *sigma);
    checks.tensor(case, "out.denoise2d_eps", Tensor::cat(noise.collect(), 2))?;

    sampling(case, checks, &vdm, &request, &unguided)
}

/// The sampler, first from the stored states one by one, then by itself.
fn sampling(
    case: &Case,
    checks: &mut Checks,
    vdm: &Vdm,
    request: &SampleRequest,
    unguided: &Conditioning,
) -> Result<(), Failure> {
    let sigmas = vdm.sigmas.table(request.steps);
    checks.within(case, "out.sigmas", &[sigmas.len()], &sigmas, 0.0, 1e-12)?;
    let samples: Tensor<6> = case.tensor("out.samples")?;
    let [_, batch, channels, frames, height, width] = samples.dims();
    let shape = [batch, channels, frames, height, width];
    let noise = legacy_noise(request.noise_seed, shape, case.device());
    checks.tensor(case, "mid.noise", noise.clone())?;

    let (mut wanted, mut unwanted, mut guided) = (Vec::new(), Vec::new(), Vec::new());
    for (i, sigma) in sigmas.iter().enumerate() {
        let x = match i.checked_sub(1) {
            None => noise.clone() * vdm.sigmas.max,
            Some(before) => entry(&samples, before).squeeze_dim(0),
        };
        let levels = [vec![*sigma]];
        wanted.push(vdm.denoise(&x, &levels, &request.conditioning));
        unwanted.push(vdm.denoise(&x, &levels, unguided));
        guided.push(vdm.guided(&x, *sigma, request));
    }
    let last = guided.pop().ok_or("no step")?;
    checks.tensor(case, "out.cond_x0_steps", Tensor::stack::<6>(wanted, 0))?;
    checks.tensor(case, "out.uncond_x0_steps", Tensor::stack::<6>(unwanted, 0))?;
    checks.tensor(case, "out.x0_steps", Tensor::stack::<6>(guided, 0))?;
    checks.tensor(case, "out.final_latent", last)?;

    let (mut estimates, mut states) = (Vec::new(), Vec::new());
    let latents = vdm.sample(request, |at| {
        if at.step < at.of {
            estimates.push(at.x0.clone());
            states.push(at.state.clone());
        }
        ControlFlow::Continue(())
    });
    let latents = latents.ok_or("sampling was cancelled")?;
    checks.tensor(case, "out.x0_steps", Tensor::stack::<6>(estimates, 0))?;
    checks.tensor(case, "out.samples", Tensor::stack::<6>(states, 0))?;
    checks.tensor(case, "out.final_latent", latents.clone())?;
    checks.tensor(case, "out.video", vdm.vae.decode(latents))
}
