//! What a clip of any size costs, network by network. Of parts that repeat one is timed and counted
//! as often as a clip passes it, so that the release's sizes can be looked at on any machine.

use std::time::Instant;

use burn::module::Module as _;
use burn::tensor::{Distribution, Int, Tensor};

use super::arithmetic::{self, Positions, latent_shape};
use super::scores::Scores;
use super::speed::{Working, wait};
use super::{EvalError, unseen};
use crate::flop::of_convolutions;
use crate::gpu::{Chosen, has_matrix_units};
use crate::media::{self, FrameSize};
use crate::pack::{Estimate, Job, Lack, Manifest, Networks, Pack, PackError, Residence, drawn};
use crate::policy::{CodeSampling, PolicyConfig};
use crate::vdm::schedule::Beginning;
use crate::vdm::{
    CONTROL_KEYS, ControlConfig, DIT_KEYS, DitConfig, DitInput, MAX_SCORES, Vdm, VdmConfig,
    attention, attention_in_slices, is_fused,
};
use crate::weights::Precision;
pub use table::{AttentionCost, ClipCost, Cost};

mod table;

/// Measures the networks of `pack`, or networks of random weights, at the sizes of `manifest`.
/// `on_row` hears every part when it is measured; `repeats` runs make a median.
///
/// # Errors
/// As [`Pack::load`]; where there is no diffusion model; and where the device has no room.
pub fn full(
    manifest: &Manifest,
    pack: Option<&Pack>,
    chosen: &Chosen,
    repeats: usize,
    on_row: &mut dyn FnMut(&Cost),
) -> Result<ClipCost, EvalError> {
    let config = manifest.vdm.as_ref().ok_or(EvalError::NoRefiner)?;
    let single = one_block(manifest, config);
    let job = Job { clips: 0, ..Job::on(chosen) };
    let estimate = Estimate::of(if pack.is_some() { manifest } else { &single }, job);
    let lack = estimate.lack(Residence::Kept, job.largest_tensor, chosen.free_memory());
    if let Some((_, lack)) = lack {
        return Err(EvalError::Lack(lack));
    }
    let networks = match pack {
        Some(pack) => pack.load_on(chosen, Residence::Kept)?,
        None => Networks::drawn(&single, chosen)?,
    };
    let vdm = networks.vdm.as_ref().ok_or(EvalError::NoRefiner)?;
    let mut bench = Bench { manifest, chosen, repeats, on_row, costs: Vec::new() };
    let left_out = match pack {
        Some(_) => {
            bench.policy(&networks);
            None
        }
        None => bench.base_policy().err(),
    };
    bench.coarse(&networks);
    bench.video_vae(vdm)?;
    let scores = Scores::measure(chosen, config.dit.head_dim());
    let guided = if manifest.sampler.guidance == 0.0 { 1 } else { 2 };
    let evaluations = guided * (manifest.sampler.refine_steps + 1);
    bench.transformer(vdm, config, evaluations, scores)?;
    let latents = latent_shape(&config.vae, manifest.frames_per_clip, manifest.frame_size);
    let attention = bench.attention(config, Positions::of(&config.dit, latents).tokens);
    let costs = bench.costs;
    let left_out = left_out
        .map_or_else(String::new, |lack| format!("; without the policy of 4B, which needs {lack}"));
    let title = format!(
        "{}, {}, {} frames of {}: {} tokens, {evaluations} evaluations (guidance {}){left_out}",
        manifest.name,
        if pack.is_some() { "its weights" } else { "random weights" },
        manifest.frames_per_clip,
        manifest.frame_size,
        Positions::of(&config.dit, latents).tokens,
        manifest.sampler.guidance,
    );
    let device = chosen.description.clone();
    Ok(ClipCost { title, device, evaluations, scores, costs, attention })
}

/// The same manifest with one block in transformer and control branch.
fn one_block(manifest: &Manifest, config: &VdmConfig) -> Manifest {
    let vdm = VdmConfig {
        dit: DitConfig { num_blocks: 1, ..config.dit.clone() },
        control: ControlConfig { num_blocks: 1, ..config.control.clone() },
        ..config.clone()
    };
    Manifest { vdm: Some(vdm), ..manifest.clone() }
}

/// How policies compute, whatever the diffusion model does.
const SINGLE: &str = "single precision";

/// One pass of something.
#[derive(Clone, Copy, Default)]
struct Pass {
    seconds: f64,
    flop: f64,
    /// Memory it took, bytes.
    taken: Option<u64>,
}

impl Pass {
    /// What the `count` more of something in `self` take than `other` has, each.
    fn beyond(self, other: Self, count: usize) -> Self {
        let each = |all: f64, without: f64| (all - without).max(0.0) / count as f64;
        let seconds = each(self.seconds, other.seconds);
        Self { seconds, flop: each(self.flop, other.flop), taken: self.taken }
    }
}

struct Bench<'a> {
    manifest: &'a Manifest,
    chosen: &'a Chosen,
    repeats: usize,
    on_row: &'a mut dyn FnMut(&Cost),
    costs: Vec<Cost>,
}

impl Bench<'_> {
    /// Times `work` and counts its convolutions.
    fn pass(&self, work: &dyn Fn()) -> Pass {
        let timed = || {
            let started = Instant::now();
            let flop = of_convolutions(work);
            (started.elapsed().as_secs_f64(), flop)
        };
        let mut ran = (0.0, 0.0);
        let taken = self.chosen.taken_by(|| ran = timed());
        let (first, flop) = ran;
        // A device that compiles its kernels does so in the first run, which then does not count.
        let mut seconds = if self.chosen.compiles { Vec::new() } else { vec![first] };
        seconds.resize_with(self.repeats, || timed().0);
        seconds.sort_unstable_by(f64::total_cmp);
        Pass { seconds: seconds[seconds.len() / 2], flop, taken }
    }

    fn row(&mut self, name: String, pass: Pass, times: usize, stage: Option<u64>, path: &str) {
        let working = pass.taken.zip(stage);
        let working = working.map(|(measured, estimated)| Working { measured, estimated });
        let Pass { seconds, flop, .. } = pass;
        let cost = Cost { name, seconds, flop, times, working, path: path.to_owned() };
        (self.on_row)(&cost);
        self.costs.push(cost);
    }

    /// What a stage was estimated to need for clips of so many frames.
    fn estimated(&self, frames: usize, stage: &str) -> Result<Option<u64>, PackError> {
        let manifest = self.manifest.at(frames, self.manifest.frame_size)?;
        let job = Job { clips: 0, ..Job::on(self.chosen) };
        Ok(Estimate::of(&manifest, job).stage(stage).map(|stage| stage.working))
    }

    /// What to say of work that matrix units do, where they do it.
    fn on_units(&self, what: &'static str) -> &'static str {
        let halves = self.chosen.numbers.precision == Precision::F16;
        if halves && has_matrix_units(&self.chosen.device) { what } else { "" }
    }

    fn noise(&self, shape: [usize; 5]) -> Tensor<5> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), &self.chosen.device)
    }

    fn video(&self, frames: usize, size: FrameSize) -> Tensor<5> {
        self.noise([1, 3, frames, size.height as usize, size.width as usize])
    }

    fn policy(&mut self, networks: &Networks) {
        // At another size its features are not those that a pack's policy knows.
        let sized = self.manifest.planner.is_some();
        let Some(planner) = networks.planner.as_ref().filter(|_| sized) else { return };
        let task = self.manifest.tasks[0].task;
        let frame = unseen(task, 0).frame(0, self.manifest.coarse_size);
        let first = media::tensor_from_frames(&[&frame], &self.chosen.device);
        let context = networks.dldm.encode_frame(first);
        let count = self.manifest.codes_per_clip();
        let sampling = CodeSampling { temperature: 0.0, top_p: 1.0, seed: 0 };
        let pass = self.pass(&|| {
            let go_on = |_| std::ops::ControlFlow::Continue(());
            planner.predict(context.clone(), task, &[], &[], count, sampling, go_on);
        });
        let pass = Pass { flop: count as f64 * arithmetic::code(planner), ..pass };
        self.row(format!("policy, {count} codes"), pass, 1, None, SINGLE);
    }

    /// One of the base model's sizes stands for the policy that was not published: in and out
    /// without layers, and a layer without the vocabulary.
    ///
    /// # Errors
    /// Where the device does not take its embedding.
    fn base_policy(&mut self) -> Result<(), Lack> {
        let count = self.manifest.codes_per_clip();
        let base = PolicyConfig::cosmos_ar_4b();
        let needed = (base.embeddings * base.dim * size_of::<f32>()) as u64;
        if let Some(limit) = self.chosen.largest_tensor.filter(|limit| needed > *limit) {
            return Err(Lack::Tensor { needed, limit });
        }
        let codes = |config: &PolicyConfig| {
            let device = &self.chosen.device;
            let policy = config.init(device);
            let code = Tensor::<2, Int>::zeros([1, 1], device);
            // Fresh weights are drawn when they are first looked at.
            wait(&policy.step(code.clone(), &mut policy.start(1, None)));
            let pass = self.pass(&|| {
                let mut seen = policy.start(1, None);
                for _ in 0..count {
                    wait(&policy.step(code.clone(), &mut seen));
                }
            });
            (pass, policy.num_params())
        };
        // Every code passes every weight but the rows of the embedding.
        let flop = |weights: usize| 2.0 * (count * weights) as f64;
        let (around, _) = codes(&PolicyConfig { layers: 0, ..base.clone() });
        let around = Pass { flop: flop(base.dim * base.vocabulary), ..around };
        let narrow = PolicyConfig { vocabulary: 64, embeddings: 64, ..base.clone() };
        let (without, fewer) = codes(&PolicyConfig { layers: 0, ..narrow.clone() });
        let (with, more) = codes(&PolicyConfig { layers: 1, ..narrow });
        let layer = Pass { flop: flop(more - fewer), ..with.beyond(without, 1) };
        let name = format!("policy of 4B, in and out, {count} codes");
        self.row(name, around, 1, None, SINGLE);
        self.row(format!("policy of 4B, a layer, {count} codes"), layer, base.layers, None, SINGLE);
        Ok(())
    }

    fn coarse(&mut self, networks: &Networks) {
        let manifest = self.manifest;
        let (frames, size) = (manifest.frames_per_clip, manifest.coarse_size);
        let first = self.video(1, size);
        let codes = networks.codes(&vec![0; manifest.codes_per_clip()]);
        let decode = || wait(&networks.dldm.decode_from_frame(first.clone(), codes.clone()));
        let pass = self.pass(&decode);
        let estimated = self.estimated(frames, "coarse video").ok().flatten();
        self.row(format!("dLDM decoder, {frames} frames"), pass, 1, estimated, "whole frames");
    }

    /// The first frame and a window behind it, the first latent step and one behind it.
    fn video_vae(&mut self, vdm: &Vdm) -> Result<(), EvalError> {
        let (config, size) = (vdm.vae.config().clone(), self.manifest.frame_size);
        let [batch, z, steps, height, width] =
            latent_shape(&config, self.manifest.frames_per_clip, size);
        let frames = self.manifest.frames_per_clip;
        let (rows, [all, _]) = config.rows_at_finest(size.height as usize, size.width as usize);
        let whole =
            if rows < all { format!("{rows} rows at a time") } else { "whole frames".into() };
        let path = whole + self.on_units(", convolutions on matrix units");

        let window = config.temporal_window.min(frames - 1);
        let windows = (frames - 1).div_ceil(window);
        // Encoded: the starting frame alone; the coarse video; that again where sampling begins with
        // it. Decoded: the clip, and what sampling began with.
        let videos = match vdm.beginning {
            Beginning::Noise => 1,
            Beginning::Coarse => 2,
        };
        let video = self.video(1 + window, size);
        let first = self.pass(&|| wait(&vdm.vae.encode(video.clone().narrow(2, 0, 1))));
        let both = self.pass(&|| wait(&vdm.vae.encode(video.clone())));
        let estimated = self.estimated(1 + window, "encoding")?;
        let name = "video VAE encoder, first frame".to_owned();
        self.row(name, first, 1 + videos, None, &path);
        let name = format!("video VAE encoder, {window} frames");
        self.row(name, both.beyond(first, 1), videos * windows, estimated, &path);

        let latents = self.noise([batch, z, 2, height, width]);
        let first = self.pass(&|| wait(&vdm.vae.decode(latents.clone().narrow(2, 0, 1))));
        let both = self.pass(&|| wait(&vdm.vae.decode(latents.clone())));
        let step = config.temporal_compression();
        let estimated = self.estimated(1 + step, "decoding")?;
        self.row("video VAE decoder, first frame".to_owned(), first, videos, None, &path);
        let name = format!("video VAE decoder, {step} frames");
        self.row(name, both.beyond(first, 1), videos * (steps - 1), estimated, &path);
        Ok(())
    }

    /// Passes with the blocks that the networks have and with none: a block is the difference.
    fn transformer(
        &mut self,
        vdm: &Vdm,
        config: &VdmConfig,
        evaluations: usize,
        scores: Scores,
    ) -> Result<(), EvalError> {
        let device = &self.chosen.device;
        let numbers = self.chosen.numbers;
        let none = DitConfig { num_blocks: 0, ..config.dit.clone() }.init(device);
        let none = drawn(none, &DIT_KEYS, numbers)?;
        let no_control = ControlConfig { num_blocks: 0, ..config.control.clone() }.init(device);
        let no_control = drawn(no_control, &CONTROL_KEYS, numbers)?;

        let shape =
            latent_shape(&config.vae, self.manifest.frames_per_clip, self.manifest.frame_size);
        let at = Positions::of(&config.dit, shape);
        let input = self.input(config, shape);
        let hint = self.noise(shape);
        let estimated = self.estimated(self.manifest.frames_per_clip, "denoising")?;
        let path = scores.to_string() + self.on_units(", linear layers on matrix units");

        let around = self.pass(&|| wait(&none.forward(&input, &[])));
        let around = Pass { flop: at.linear(&none, &DIT_KEYS), ..around };
        let held = vdm.dit.config().num_blocks;
        let all = self.pass(&|| wait(&vdm.dit.forward(&input, &[])));
        let flop = at.linear(&vdm.dit, &DIT_KEYS) + held as f64 * at.attention(&config.dit);
        let block = Pass { flop, ..all }.beyond(around, held);
        let tokens = at.tokens;
        let name = "transformer, in and out".to_owned();
        self.row(name, around, evaluations, None, "");
        let name = format!("transformer block, {tokens} tokens");
        self.row(name, block, evaluations * config.dit.num_blocks, estimated, &path);

        // Without blocks the branch still reads the hint, but gives nothing to wait for.
        let around = self.pass(&|| {
            no_control.forward(&input, hint.clone());
            device.sync().ok();
        });
        let around = Pass { flop: at.linear(&no_control, &CONTROL_KEYS), ..around };
        let held = vdm.control.config().num_blocks;
        let all = self.pass(&|| {
            let added = vdm.control.forward(&input, hint.clone());
            added.iter().for_each(wait);
        });
        let flop = at.linear(&vdm.control, &CONTROL_KEYS) + held as f64 * at.attention(&config.dit);
        let block = Pass { flop, ..all }.beyond(around, held);
        self.row("control branch, in".to_owned(), around, evaluations, None, "");
        let name = format!("control block, {tokens} tokens");
        self.row(name, block, evaluations * config.control.num_blocks, estimated, &path);
        Ok(())
    }

    /// Both ways of self-attention among as many tokens, where there are two.
    fn attention(&self, config: &VdmConfig, tokens: usize) -> Option<AttentionCost> {
        let (heads, width) = (config.dit.num_heads, config.dit.head_dim());
        let dtype = self.chosen.numbers.precision.dtype();
        let draw = || {
            let normal = Distribution::Normal(0.0, 1.0);
            let shape = [1, heads, tokens, width];
            Tensor::<4>::random(shape, normal, &self.chosen.device).cast(dtype)
        };
        let (q, k, v) = (draw(), draw(), draw());
        if !is_fused(&q) {
            return None;
        }
        let of = |way: fn(Tensor<4>, Tensor<4>, Tensor<4>) -> Tensor<4>| {
            self.pass(&|| wait(&way(q.clone(), k.clone(), v.clone()))).seconds
        };
        Some(AttentionCost {
            tokens,
            flop: 4.0 * (tokens * tokens * heads * width) as f64,
            fused_seconds: of(|q, k, v| attention(q, k, v, None)),
            in_slices_seconds: of(|q, k, v| attention_in_slices(q, k, v, None, MAX_SCORES)),
        })
    }

    fn input(&self, config: &VdmConfig, shape: [usize; 5]) -> DitInput {
        let device = &self.chosen.device;
        let [batch, _, steps, height, width] = shape;
        let DitConfig { context_tokens, crossattn_emb_channels, .. } = config.dit;
        DitInput {
            latents: self.noise(shape),
            condition_mask: Tensor::zeros([batch, 1, steps, height, width], device),
            padding_mask: None,
            timesteps: Tensor::full([batch, steps], 0.5, device),
            context: Tensor::random(
                [batch, context_tokens, crossattn_emb_channels],
                Distribution::Normal(0.0, 1.0),
                device,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::DeviceChoice;

    #[test]
    fn what_repeats_is_the_difference_to_a_pass_without_it() {
        let with = Pass { seconds: 10.0, flop: 100.0, taken: Some(7) };
        let each = with.beyond(Pass { seconds: 4.0, flop: 40.0, taken: Some(3) }, 3);
        assert_eq!((each.seconds, each.flop, each.taken), (2.0, 20.0, Some(7)));
        let faster = with.beyond(Pass { seconds: 11.0, ..with }, 1);
        assert_eq!(faster.seconds, 0.0);
    }

    #[test]
    fn every_part_of_the_small_pack_is_measured_and_counted() {
        let pack = Pack::embedded().unwrap();
        let chosen = crate::gpu::choose(DeviceChoice::Cpu).unwrap();
        let mut told = 0;
        let with_blocks = full(&pack.manifest, Some(&pack), &chosen, 1, &mut |_| told += 1);
        let costs = with_blocks.unwrap().costs;
        assert_eq!((costs.len(), told), (10, 10));
        assert!(costs.iter().all(|cost| cost.seconds >= 0.0 && cost.times > 0));
        let block = |costs: &[Cost]| {
            let found = costs.iter().find(|cost| cost.name.starts_with("transformer block"));
            found.map(|cost| (cost.flop, cost.times)).unwrap()
        };
        // One block of random weights stands for the six that the pack has.
        let drawn = full(&pack.manifest, None, &chosen, 1, &mut |_| ()).unwrap().costs;
        let ((a, times), (b, same)) = (block(&costs), block(&drawn));
        assert!((a - b).abs() < 1e-9 * a && a > 0.0, "{a} {b}");
        assert_eq!(times, same);
        assert!(costs.iter().any(|cost| cost.name.starts_with("policy")));
        // The policy knows one size only.
        let larger = FrameSize { height: 128, width: 192 };
        let larger = pack.manifest.at(17, larger).unwrap();
        assert!(larger.planner.is_none());
        assert_eq!(larger.coarse_size, FrameSize { height: 64, width: 96 });
        assert!(pack.manifest.at(18, larger.frame_size).is_err());
    }

    #[test]
    fn a_device_is_asked_for_no_tensor_that_it_does_not_take() {
        let pack = Pack::embedded().unwrap();
        let taking = |largest| {
            let chosen = crate::gpu::choose(DeviceChoice::Cpu).unwrap();
            let chosen = Chosen { largest_tensor: Some(largest), ..chosen };
            full(&pack.manifest, None, &chosen, 1, &mut |_| ())
        };
        let cost = taking(100_000_000).unwrap();
        assert!(cost.costs.iter().all(|cost| !cost.name.starts_with("policy")));
        assert!(cost.title.contains("without the policy of 4B, which needs a tensor of 1.0 GB"));
        let refused = taking(1_000_000).unwrap_err().to_string();
        assert!(refused.contains("takes none above 1.0 MB"), "{refused}");
    }
}
