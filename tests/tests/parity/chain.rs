//! The kind of the whole inference chain (c12).

use std::ops::ControlFlow;

use burn::tensor::Tensor;
use engine::dldm;
use engine::media::{FrameSize, resize_bilinear};
use engine::vdm::{SampleRequest, grey_hint, legacy_noise};
use serde_json::Value;

use crate::Kind;
use crate::case::{Case, Checks, Failure, floats};
use crate::dldm::dldm_config;
use crate::vdm::{load_vdm, number, size};

pub fn kinds() -> Vec<Kind> {
    vec![Kind {
        class: "Predict2Video2WorldModelWithCtrl",
        also: "inference",
        on_vulkan: false,
        run: inference,
    }]
}

/// Clip after clip from one picture. Two chains that never mix: the coarse clip starts from the
/// last coarse frame, the refined clip from the last refined frame.
fn inference(case: &Case, checks: &mut Checks) -> Result<(), Failure> {
    let config = &case.json()["config"];
    let device = case.device();
    let ldm = dldm_config(&config["ldm"])?.init(device);
    let ldm = case.weights().load_into(ldm, &dldm::KEYS)?;
    let vdm = load_vdm(case, &config["pipeline"])?;
    let negative = case.tensor::<2>("in.neg_embedding_raw")?.unsqueeze_dim(0);
    let negative = vdm.dit.pad_context(negative);
    let indices = case.int_tensor::<2>("in.codes")?;

    let mut frame = case.tensor::<5>("in.frame_u8")? / 127.5 - 1.0;
    let frame_size = FrameSize::of_video(&frame);
    let coarse_size = case.frame_size("LDM_H", "LDM_W")?;
    let mut coarse_frame = resize_bilinear(frame.clone(), coarse_size);
    let mut shown = Vec::new();
    for clip in 0..size(config, "clips")? {
        let mid = |name: &str| format!("mid.clip{clip}_{name}");
        checks.tensor(case, &mid("ldm_input"), coarse_frame.clone())?;
        checks.tensor(case, &mid("dit_input_frame"), frame.clone())?;

        let features = ldm.encode_frame(coarse_frame);
        checks.tensor(case, &mid("ldm_features"), features.clone())?;
        let codes = ldm.codes_from_indices(indices.clone().narrow(0, clip, 1));
        let [_, dimensions, tokens] = codes.dims();
        let stored_codes = codes.clone().reshape([1, dimensions, tokens, 1, 1]);
        checks.tensor(case, &mid("quant_codes"), stored_codes)?;
        let coarse = ldm.decode(features, codes.clone());
        checks.tensor(case, &mid("coarse"), coarse.clone())?;
        let tokens = ldm.connect(codes);
        checks.tensor(case, &mid("crossattn_nonzero"), tokens.clone())?;

        let in_levels = (resize_bilinear(coarse.clone(), frame_size) + 1.0) * 127.5;
        let in_levels = in_levels.clamp(0.0, 255.0).squeeze_dim::<4>(0);
        checks.tensor(case, &mid("recon_0_255"), in_levels)?;
        let hint = grey_hint(coarse.clone(), frame_size);
        checks.tensor(case, &mid("hint_video_ch0"), hint.narrow(1, 0, 1))?;

        let frames = coarse.dims()[2];
        let still = frame.clone().repeat_dim(2, frames);
        let still = vdm.vae.encode(still);
        checks.tensor(case, &mid("gt_latent"), still.clone())?;
        let request = SampleRequest {
            latent_steps: still.dims()[2],
            conditioning: vdm.conditioning(frame, coarse.clone(), tokens),
            negative_context: Some(negative.clone()),
            steps: size(config, "num_sampling_step")?,
            guidance: number(config, "guidance")?,
            noise_seed: size(config, "noise_seed")? as u32,
        };
        let noise = legacy_noise(request.noise_seed, still.dims(), device);
        checks.tensor(case, &mid("noise"), noise)?;
        let hint = request.conditioning.hint.clone().ok_or("no hint")?;
        checks.tensor(case, &mid("hint_latent"), hint)?;

        let (mut estimates, mut states) = (Vec::new(), Vec::new());
        let latents = vdm.sample(&request, |at| {
            if at.step < at.of {
                estimates.push(at.x0.clone());
                states.push(at.state.clone());
            }
            ControlFlow::Continue(())
        });
        let latents = latents.ok_or("sampling was cancelled")?;
        checks.tensor(case, &mid("x0_steps"), Tensor::stack::<6>(estimates, 0))?;
        checks.tensor(case, &mid("samples"), Tensor::stack::<6>(states, 0))?;
        checks.tensor(case, &format!("out.clip{clip}_final_latent"), latents.clone())?;
        let video = vdm.vae.decode(latents);
        checks.tensor(case, &format!("out.clip{clip}_video"), video.clone())?;

        coarse_frame = coarse.narrow(2, frames - 1, 1);
        frame = video.clone().narrow(2, frames - 1, 1);
        shown.push(video.narrow(2, 0, frames - 1));
    }
    written_video(case, checks, config, Tensor::cat(shown, 2))
}

/// The reference's video writer: it guesses the range from the smallest value, then rounds.
fn written_video(
    case: &Case,
    checks: &mut Checks,
    config: &Value,
    video: Tensor<5>,
) -> Result<(), Failure> {
    let wanted = size(config, "clips")? * (size(config, "frames_per_clip")? - 1);
    let [_, colours, frames, height, width] = video.dims();
    if frames != wanted {
        return Err(format!("{frames} frames instead of {wanted}").into());
    }
    let values = floats(video.permute([0, 2, 3, 4, 1]))?;
    let signed = values.iter().copied().fold(f64::INFINITY, f64::min) < -0.5;
    let level = |v: &f64| {
        let unit = if signed { (v + 1.0) / 2.0 } else { *v };
        (unit.clamp(0.0, 1.0) * 255.0 + 0.5).floor()
    };
    let levels: Vec<f64> = values.iter().map(level).collect();
    let shape = [frames, height, width, colours];
    // Rounding may fall to either side.
    checks.within(case, "out.output_video_u8_THWC", &shape, &levels, 1.0, 0.0)
}
