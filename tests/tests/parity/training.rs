//! Kinds of training (c13): the tokenizer's losses, and the gradients of one step of both stages.

use burn::tensor::{Gradients, Tensor};
use engine::dldm::losses::{
    LossWeights, PERCEPTUAL_KEYS, Perceptual, Reduction, Schedule, TokenizerLoss, absolute_error,
    kl_divergence,
};
use engine::dldm::{Dldm, KEYS, TrainOutput};
use engine::media::{FrameSize, resize_bilinear};
use engine::vdm::schedule::loss_weight;
use engine::vdm::{CONTROL_KEYS, Conditioning, DIT_KEYS, Vdm, grey_hint};
use engine::weights::Weights;
use serde_json::Value;

use crate::Kind;
use crate::case::{Case, Checks, Failure};
use crate::dldm::dldm_config;
use crate::vdm::load_vdm;

type Outcome = Result<(), Failure>;

pub fn kinds() -> Vec<Kind> {
    let kind = |class, also, run| Kind { class, also, on_vulkan: false, run };
    vec![
        kind("TokenizerLoss", "", losses),
        kind("Predict2Video2WorldModel", "training_step", gradients),
    ]
}

/// Compares one number with a stored tensor of one.
fn number(case: &Case, checks: &mut Checks, name: &str, found: Tensor<1>) -> Outcome {
    checks.tensor(case, name, found)
}

fn schedule(config: &Value, boundaries: &str, values: &str) -> Result<Schedule, Failure> {
    let boundary = config[boundaries][0].as_u64().ok_or("the schedule has no boundary")?;
    let value = |i: usize| config[values][i].as_f64().map(|v| v as f32);
    let first = value(0).ok_or("the schedule has no value")?;
    // With one value there is nothing to change to.
    Ok(Schedule { boundary: boundary as usize, values: [first, value(1).unwrap_or(first)] })
}

/// Widths of the five slices, from a list with a pool after each.
fn slice_widths(config: &Value) -> Result<[usize; 5], Failure> {
    let layers = config["vgg_cfg"].as_array().ok_or("config has no list vgg_cfg")?;
    let slices = layers.split(|layer| layer == "M").filter(|slice| !slice.is_empty());
    let widths = slices.map(|slice| slice[0].as_u64().map(|width| width as usize));
    let widths: Vec<usize> = widths.collect::<Option<_>>().ok_or("vgg_cfg has no widths")?;
    Ok(widths.try_into().map_err(|w| format!("vgg_cfg has slices {w:?}, not five"))?)
}

fn losses(case: &Case, checks: &mut Checks) -> Outcome {
    let config = &case.json()["config"];
    let weights = LossWeights {
        perceptual: schedule(&config["perceptual"], "lpips_boundaries", "lpips_values")?,
        gram: schedule(&config["perceptual"], "gram_boundaries", "gram_values")?,
    };
    let network = Perceptual::new(slice_widths(config)?, case.device());
    let network = case.weights().load_into(network, &PERCEPTUAL_KEYS)?;
    let (video, recon): (Tensor<5>, Tensor<5>) =
        (case.tensor("in.input")?, case.tensor("in.recon")?);

    let difference = (video.clone() - recon.clone()).abs();
    checks.tensor(case, "out.color_map", difference)?;
    for (name, reduction) in [
        ("out.reduce_MEAN", Reduction::Mean),
        ("out.reduce_SUM_PER_FRAME", Reduction::SumPerFrame),
        ("out.reduce_SUM", Reduction::Sum),
        ("out.total_color_only", Reduction::Mean),
    ] {
        let error = absolute_error(video.clone(), recon.clone(), reduction);
        number(case, checks, name, error)?;
    }

    let at = |iteration: usize| {
        TokenizerLoss::of(video.clone(), recon.clone(), &network, &weights, iteration)
    };
    for ending in case.names("out.lpips_it") {
        let loss = at(ending.parse()?);
        number(case, checks, &format!("out.lpips_it{ending}"), loss.perceptual)?;
        let gram = format!("out.gram_it{ending}");
        if case.has(&gram) != loss.gram.is_some() {
            return Err(format!("the Gram term is not on exactly when {gram} is stored").into());
        }
        if let Some(found) = loss.gram {
            number(case, checks, &gram, found)?;
        }
    }
    for ending in case.names("out.lpips_map_per_frame_it") {
        let per_frame = network.compare(video.clone(), recon.clone()).per_frame();
        let weighted = per_frame * weights.perceptual.at(ending.parse()?);
        checks.tensor(case, &format!("out.lpips_map_per_frame_it{ending}"), weighted)?;
    }
    for ending in case.names("out.total_it").filter(|name| !name.contains('_')) {
        let loss = at(ending.parse()?);
        number(case, checks, &format!("out.total_it{ending}_part_color"), loss.absolute.clone())?;
        let perceptual = loss.perceptual.clone();
        number(case, checks, &format!("out.total_it{ending}_part_lpips"), perceptual)?;
        number(case, checks, &format!("out.total_it{ending}"), loss.total())?;
    }

    let weight = schedule(&config["kl"], "boundaries", "values")?.at(0);
    let divergence = kl_divergence(case.tensor("in.kl_mean")?, case.tensor("in.kl_logvar")?);
    number(case, checks, "out.kl_mean_loss", divergence * weight)
}

/// Networks and inputs of one training step.
struct Step {
    dldm: Dldm,
    vdm: Vdm,
    /// `[1, 3, frame, height, width]`, in [-1, 1]
    video: Tensor<5>,
    /// The same at the size the dLDM sees.
    small: Tensor<5>,
    epsilon: Tensor<5>,
    sigma: f64,
    loss_scale: f64,
}

/// Everything the joint stage computes on the way.
struct Joint {
    hint_video: Tensor<5>,
    hint: Tensor<5>,
    tokens: Tensor<3>,
    x0: Tensor<5>,
    noisy: Tensor<5>,
    estimate: Tensor<5>,
    coarse: Tensor<5>,
    reconstruction: Tensor<1>,
    squared: Tensor<1>,
    weighted: Tensor<1>,
}

impl Step {
    /// `case` has a device with autodiff.
    fn read(case: &Case) -> Result<Self, Failure> {
        let config = &case.json()["config"];
        let dldm = dldm_config(&config["ldm"])?.init(case.device());
        let video = case.tensor::<5>("in.video_u8")? / 127.5 - 1.0;
        if config["loss_reduce"] != "mean" {
            return Err("only the mean of the diffusion loss is known".into());
        }
        Ok(Self {
            dldm: case.weights().load_into(dldm, &KEYS)?,
            vdm: load_vdm(case, &config["pipeline"])?,
            small: resize_bilinear(video.clone(), case.frame_size("LDM_H", "LDM_W")?),
            video,
            epsilon: case.tensor("in.epsilon")?,
            sigma: case.stored("in.sigma")?.values[0],
            loss_scale: case.config("loss_scale").as_f64().ok_or("config has no loss_scale")?,
        })
    }

    fn reconstruction(&self, out: &TrainOutput) -> Tensor<1> {
        absolute_error(self.small.clone(), out.recon.clone(), Reduction::Mean)
    }

    fn joint(&self) -> Joint {
        let out = self.dldm.forward_train_detached(self.small.clone());
        let hint_video = grey_hint(out.recon.clone().detach(), FrameSize::of_video(&self.video));
        let hint = self.vdm.vae.encode(hint_video.clone()).detach();
        let x0 = self.vdm.vae.encode(self.video.clone()).detach();
        let noisy = x0.clone() + self.epsilon.clone() * self.sigma;
        let tokens = self.dldm.connect(out.codes.clone());
        let from = Conditioning {
            given: x0.clone().narrow(2, 0, 1),
            hint: Some(hint.clone()),
            context: self.vdm.dit.pad_context(tokens.clone()),
            ground: None,
        };
        let estimate = self.vdm.denoise(&noisy, &[vec![self.sigma]], &from);
        let squared = (estimate.clone() - x0.clone()).square().mean();
        Joint {
            hint_video,
            hint,
            tokens,
            x0,
            noisy,
            estimate,
            reconstruction: self.reconstruction(&out),
            coarse: out.recon,
            weighted: squared.clone() * loss_weight(self.sigma),
            squared,
        }
    }

    fn gradients(&self, gradients: &Gradients) -> Weights {
        let mut all = Weights::of_gradients(&self.dldm, gradients, &KEYS);
        all.extend(Weights::of_gradients(&self.vdm.dit, gradients, &DIT_KEYS));
        all.extend(Weights::of_gradients(&self.vdm.control, gradients, &CONTROL_KEYS));
        all
    }
}

/// Compares all stored gradients of a loss, and that those said to be absent are.
fn compare(case: &Case, checks: &mut Checks, loss: &str, found: &Weights) -> Outcome {
    for key in case.names(&format!("out.{loss}.grad.")) {
        let name = format!("out.{loss}.grad.{key}");
        let gradient = found.get(key).ok_or_else(|| format!("{name}: there is no gradient"))?;
        let values: Vec<f64> = gradient.values.iter().map(|v| f64::from(*v)).collect();
        checks.values(case, &name, &gradient.shape, &values)?;
    }
    let absent = case.json()["no_gradient"][loss].as_array();
    for key in absent.ok_or_else(|| format!("no_gradient has no list {loss}"))? {
        let key = key.as_str().ok_or("no_gradient holds something that is no key")?;
        if found.get(key).is_some() {
            return Err(format!("{loss}: {key} has a gradient but must not").into());
        }
    }
    Ok(())
}

fn gradients(case: &Case, checks: &mut Checks) -> Outcome {
    let case = &case.with_autodiff();
    let step = Step::read(case)?;
    checks.tensor(case, "mid.joint.ldm_input", step.small.clone())?;

    let out = step.dldm.forward_train(step.small.clone());
    checks.tensor(case, "mid.warmup.recon", out.recon.clone())?;
    let loss = step.reconstruction(&out);
    number(case, checks, "out.warmup.loss", loss.clone())?;
    compare(case, checks, "warmup", &step.gradients(&loss.backward()))?;

    let joint = step.joint();
    checks.tensor(case, "mid.joint.coarse", joint.coarse)?;
    checks.tensor(case, "mid.joint.hint_video", joint.hint_video)?;
    checks.tensor(case, "mid.joint.hint_latent", joint.hint)?;
    checks.tensor(case, "mid.joint.crossattn_nonzero", joint.tokens)?;
    checks.tensor(case, "mid.joint.x0", joint.x0)?;
    checks.tensor(case, "mid.joint.xt", joint.noisy)?;
    checks.tensor(case, "mid.joint.x0_pred", joint.estimate)?;
    number(case, checks, "out.joint.mse_loss", joint.squared)?;
    number(case, checks, "out.joint.edm_loss", joint.weighted.clone())?;
    let diffusion = joint.weighted * step.loss_scale;
    number(case, checks, "out.joint.loss_diffusion", diffusion.clone())?;
    number(case, checks, "out.joint.loss_recon", joint.reconstruction.clone())?;
    let total = diffusion + joint.reconstruction;
    number(case, checks, "out.joint.loss_total", total.clone())?;
    compare(case, checks, "joint_total", &step.gradients(&total.backward()))?;

    // A backward pass uses up its graph, so each part gets a pass of its own.
    let loss = step.joint().reconstruction;
    compare(case, checks, "joint_recon_only", &step.gradients(&loss.backward()))?;
    let loss = step.joint().weighted * step.loss_scale;
    compare(case, checks, "joint_diffusion_only", &step.gradients(&loss.backward()))
}
