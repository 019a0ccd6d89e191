//! The networks of a pack behind the contract of a rollout.

use std::ops::ControlFlow;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};

use super::{
    CodePrediction, GoOn, Models, PackSummary, RefineRequest, RefineStep, RunError, Sampling,
};
use crate::craft::Task;
use crate::gpu::Chosen;
use crate::pack::{Networks, Pack, PackError, Residence, Scale};
use crate::policy::CodeSampling;
use crate::vdm::{SampleRequest, Sampler, Sketch, Vdm};

/// A pack, loaded onto a device.
pub struct PackModels {
    networks: Networks,
    /// Where released weights are read again.
    pack: Pack,
    residence: Residence,
    summary: Arc<PackSummary>,
    top_p: f32,
    chosen: Chosen,
}

impl PackModels {
    /// Loads the networks of a pack, or those that `residence` says.
    ///
    /// # Errors
    /// As [`Pack::load`].
    pub fn load(pack: &Pack, chosen: &Chosen, residence: Residence) -> Result<Self, PackError> {
        let networks = pack.load_on(chosen, residence)?;
        let known = PackSummary::of(pack, chosen.description.clone())?;
        let (has_refiner, elsewhere) = (networks.vdm.is_some(), chosen.elsewhere);
        let summary = Arc::new(PackSummary { has_refiner, elsewhere, ..known });
        let (pack, top_p) = (pack.clone(), pack.manifest.sampler.top_p);
        Ok(Self { networks, pack, residence, summary, top_p, chosen: chosen.clone() })
    }

    /// Whoever asks for nothing else has refined video of this scale.
    pub fn refining_at(mut self, scale: Scale) -> Self {
        Arc::make_mut(&mut self.summary).sampling.scale = scale;
        self
    }

    /// Says what memory was estimated for a whole rollout, bytes.
    pub fn estimated(mut self, peak: u64) -> Self {
        Arc::make_mut(&mut self.summary).estimated = Some(peak);
        self
    }

    /// Says why the diffusion model was left out, if it was.
    pub fn explained(mut self, reason: Option<String>) -> Self {
        Arc::make_mut(&mut self.summary).refiner_left_out = reason;
        self
    }

    /// A clip of which nothing is sampled yet.
    fn sampler(&self, request: &RefineRequest<'_>) -> Sampler {
        let vdm = self.networks.vdm.as_ref().expect("asked only where there is a refiner");
        let tokens = self.networks.dldm.connect(self.networks.codes(request.codes));
        let negative = self.networks.negative.clone().map(|tokens| vdm.dit.pad_context(tokens));
        let (first, coarse) = (request.first.clone(), request.coarse.clone());
        let sample = SampleRequest {
            conditioning: vdm.conditioning(first, coarse, tokens),
            negative_context: negative,
            latent_steps: vdm.vae.config().latent_steps(self.summary.frames_per_clip),
            steps: request.steps,
            guidance: f64::from(request.guidance),
            // The generator takes 32 bits; both halves of the seed count.
            noise_seed: (request.seed ^ (request.seed >> 32)) as u32,
        };
        Sampler::new(vdm, sample)
    }

    /// Samples the latents of the clip that starts at `first`.
    fn sample(
        &self,
        vdm: &Vdm,
        first: &Tensor<5>,
        sampler: &mut Sampler,
        on_step: &mut dyn FnMut(RefineStep<'_>) -> ControlFlow<()>,
    ) -> Result<(), RunError> {
        let conditioning = sampler.conditioning().clone();
        let frames = self.summary.frames_per_clip;
        let [_, _, _, height, width] = first.dims();
        let sketch =
            Sketch::suits(frames * height * width).then(|| Sketch::of(&conditioning.given, first));
        while let Some(at) = sampler.step(vdm) {
            self.settle();
            let preview = |go_on: GoOn<'_>| match &sketch {
                Some(sketch) => Some(sketch.draw(at.x0.clone(), frames)),
                None => vdm.decode_watched(at.x0.clone(), &conditioning, |_, _| {
                    self.settle();
                    go_on()
                }),
            };
            let (done, of, sketched) = (at.step, at.of, sketch.is_some());
            let step = RefineStep::Sampled { done, of, sketched, preview: &preview };
            if on_step(step).is_break() {
                return Err(RunError::Cancelled);
            }
        }
        Ok(())
    }

    /// The video of a clip that is sampled to its end here.
    fn paint(
        &self,
        first: &Tensor<5>,
        sampler: &mut Sampler,
        on_step: &mut dyn FnMut(RefineStep<'_>) -> ControlFlow<()>,
    ) -> Result<Tensor<5>, RunError> {
        let vdm = self.networks.vdm.as_ref().expect("asked only where there is a refiner");
        match self.residence {
            Residence::Released if sampler.latents().is_none() => {
                let whole = self.networks.with_diffusion(&self.pack);
                let whole = whole.map_err(|error| RunError::Weights(error.to_string()))?;
                let sampled = self.sample(&whole, first, sampler, on_step);
                drop(whole);
                // A card's allocator keeps what it once had unless it is told.
                self.networks.device.memory_cleanup();
                sampled?;
            }
            _ => self.sample(vdm, first, sampler, on_step)?,
        }
        let latents = sampler.latents().expect("sampled to the end just above").clone();
        let of = latents.dims()[2];
        if on_step(RefineStep::Decoded { done: 0, of }).is_break() {
            return Err(RunError::Cancelled);
        }
        let video = vdm.decode_watched(latents, sampler.conditioning(), |done, of| {
            self.settle();
            on_step(RefineStep::Decoded { done, of })
        });
        video.ok_or(RunError::Cancelled)
    }

    /// Waits until the device has done what it was given: a card only queues it, and a step that
    /// is queued is neither finished nor can it be stopped. A device that fails here fails at the
    /// next read as well, where it is told.
    fn settle(&self) {
        self.networks.device.sync().ok();
    }
}

impl PackSummary {
    /// What a pack says of itself, for a device described in words; nothing is loaded.
    ///
    /// # Errors
    /// Fails when the codes that came with the pack cannot be read.
    pub fn of(pack: &Pack, device: String) -> Result<Self, PackError> {
        let manifest = &pack.manifest;
        let sampler = manifest.sampler;
        let planner = manifest.planner.as_ref();
        Ok(Self {
            id: pack.id,
            name: manifest.name.clone(),
            licence: manifest.licence.clone(),
            frame_size: (manifest.frame_size.height, manifest.frame_size.width),
            refined_step: manifest.refined_step(),
            coarse_size: (manifest.coarse_size.height, manifest.coarse_size.width),
            frames_per_clip: manifest.frames_per_clip,
            fps: manifest.fps,
            steps_per_clip: manifest.steps_per_clip(),
            codes_per_step: manifest.dldm.num_queries,
            levels: manifest.dldm.levels.clone(),
            tasks: manifest.tasks.iter().map(|t| t.task).collect(),
            clips_per_task: manifest.tasks.iter().map(|t| t.clips).collect(),
            sampling: Sampling {
                temperature: sampler.temperature,
                seed: 0,
                refine_steps: sampler.refine_steps,
                guidance: sampler.guidance,
                scale: Scale::default(),
            },
            device,
            elsewhere: false,
            has_policy: planner.is_some(),
            max_clips: planner.map_or(0, |p| p.max_codes() / manifest.codes_per_clip()),
            has_refiner: manifest.vdm.is_some(),
            refiner_left_out: None,
            estimated: None,
            recorded: pack.recorded_codes()?,
        })
    }
}

impl Models for PackModels {
    fn pack(&self) -> &Arc<PackSummary> {
        &self.summary
    }

    fn device(&self) -> &Device {
        &self.networks.device
    }

    fn source(&self) -> Option<(&Pack, &Chosen)> {
        Some((&self.pack, &self.chosen))
    }

    fn compiles(&self) -> bool {
        self.chosen.compiles
    }

    fn predict(
        &self,
        first: Tensor<5>,
        task: Task,
        prefix: &[u16],
        fixed: &[(usize, u16)],
        sampling: &Sampling,
        on_code: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Option<Vec<CodePrediction>> {
        let planner = self.networks.planner.as_ref().expect("asked only where there is a policy");
        let features = self.networks.dldm.encode_frame(first);
        let count = self.summary.codes_per_clip();
        let sampling = CodeSampling {
            temperature: sampling.temperature,
            top_p: self.top_p,
            seed: sampling.seed,
        };
        planner.predict(features, task, prefix, fixed, count, sampling, on_code)
    }

    fn coarse(&self, first: Tensor<5>, codes: &[u16]) -> Tensor<5> {
        self.networks.dldm.decode_from_frame(first, self.networks.codes(codes))
    }

    fn refine(
        &self,
        request: RefineRequest<'_>,
        on_step: &mut dyn FnMut(RefineStep<'_>) -> ControlFlow<()>,
    ) -> Result<Tensor<5>, RunError> {
        let first = request.first.clone();
        let mut sampler = request.midway.take().unwrap_or_else(|| self.sampler(&request));
        let painted = self.paint(&first, &mut sampler, on_step);
        if painted.is_err() {
            *request.midway = Some(sampler);
        }
        painted
    }

    fn encode(&self, clip: Tensor<5>) -> Vec<u16> {
        let indices = self.networks.dldm.quantize(self.networks.dldm.encode(clip).z).indices;
        let indices: Vec<i32> = indices
            .into_data()
            .convert::<i32>()
            .try_into_vec()
            .expect("converted to i32 just above");
        indices.into_iter().map(|index| index as u16).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{self, DeviceChoice};
    use crate::media::{self, Frame, resize_bilinear};
    use crate::rollout::{
        ClipKey, ClipQuality, ClipStore, Decodes, Path, Runner, Stage, Unwatched, Watch,
    };

    /// The folder is kept as long as the pack is read from it.
    fn runner() -> (tempfile::TempDir, Pack, Runner) {
        let dir = tempfile::tempdir().unwrap();
        let pack = crate::pack::tests::tiny(dir.path());
        let chosen = gpu::choose(DeviceChoice::Cpu).unwrap();
        let models = PackModels::load(&pack, &chosen, Residence::Kept).unwrap();
        (dir, pack, Runner::new(Box::new(models), ClipStore::new(1 << 26), 1))
    }

    fn start(pack: &PackSummary) -> Path {
        let (height, width) = pack.frame_size;
        let frame =
            Frame::from_fn(width, height, |x, y| image::Rgb([x as u8 * 5, y as u8 * 7, 90]));
        Path { start: Arc::new(frame), task: Task::Airplane, clips: Vec::new() }
    }

    #[test]
    fn a_tiny_untrained_pack_goes_the_whole_way() {
        let (_dir, pack, runner) = runner();
        let summary = runner.pack().clone();
        assert_eq!((summary.codes_per_clip(), summary.vocabulary()), (4, 1000));
        assert_eq!(summary.max_clips, 112 / 4);
        let sampling = Sampling { seed: 5, ..summary.sampling.clone() };
        let mut path = start(&summary);
        for _ in 0..2 {
            let predictions =
                runner.predict(&path, &[(1, 999)], &sampling, &mut Unwatched).unwrap();
            assert_eq!(predictions[1].code, 999);
            path = path.then(predictions.iter().map(|p| p.code).collect(), sampling.seed);
        }
        let coarse = runner.coarse(&path, &mut Unwatched).unwrap();
        let refined = runner.refine(&path, &sampling, &mut Unwatched).unwrap();
        assert_eq!(runner.store().decodes(), Decodes { coarse: 2, refined: 2 });
        let clip = |key| runner.store().get(key).unwrap().clip;
        assert_eq!(clip(coarse).len(), 5);
        assert_eq!(clip(coarse)[0].dimensions(), (24, 16));
        assert_eq!(clip(refined).len(), 5);
        assert_eq!(clip(refined)[0].dimensions(), (48, 32));
        let codes = runner.encode(&clip(refined), &mut Unwatched).unwrap();
        assert_eq!((codes.len(), codes[0].len()), (1, 4));

        // The same by hand: each chain goes on from its own last frame, unrounded.
        let networks = pack.load(&Device::flex()).unwrap();
        let vdm = networks.vdm.as_ref().unwrap();
        let frame = media::tensor_from_frames(&[&path.start], &networks.device);
        let mut small = resize_bilinear(frame.clone(), summary.coarse_size());
        let mut large = frame;
        for choice in &path.clips {
            let codes = networks.codes(&choice.codes);
            let coarse = networks.dldm.decode_from_frame(small, codes.clone());
            let tokens = networks.dldm.connect(codes);
            let sample = SampleRequest {
                conditioning: vdm.conditioning(large, coarse.clone(), tokens),
                negative_context: None,
                latent_steps: 2,
                steps: sampling.refine_steps,
                guidance: 0.0,
                noise_seed: 5,
            };
            let latents = vdm.sample(&sample, |_| ControlFlow::Continue(())).unwrap();
            small = coarse.narrow(2, 4, 1);
            let from = &sample.conditioning;
            let video = vdm.decode_watched(latents, from, |_, _| ControlFlow::Continue(()));
            large = video.unwrap().narrow(2, 4, 1);
        }
        assert_eq!(clip(coarse)[4], media::frames_from_tensor(small)[0]);
        assert_eq!(clip(refined)[4], media::frames_from_tensor(large)[0]);
    }

    #[test]
    fn released_weights_paint_the_same_clip() {
        let (dir, pack, kept) = runner();
        let chosen = gpu::choose(DeviceChoice::Cpu).unwrap();
        let models = PackModels::load(&pack, &chosen, Residence::Released).unwrap();
        let released = Runner::new(Box::new(models), ClipStore::new(1 << 26), 1);
        let path = start(kept.pack()).then(vec![1, 2, 3, 4], 0);
        let sampling = kept.pack().sampling.clone();
        let clips = [&kept, &released].map(|runner| {
            let key = runner.refine(&path, &sampling, &mut Unwatched).unwrap();
            runner.store().get(key).unwrap().clip
        });
        assert_eq!(clips[0], clips[1]);
        // They are read again for every clip, and a file that is gone by then is told.
        std::fs::remove_file(dir.path().join("dit.safetensors")).unwrap();
        let other = start(kept.pack()).then(vec![4, 3, 2, 1], 0);
        assert!(kept.refine(&other, &sampling, &mut Unwatched).is_ok());
        let error = released.refine(&other, &sampling, &mut Unwatched).unwrap_err().to_string();
        assert!(error.contains("dit.safetensors"), "{error}");
    }

    #[test]
    fn without_the_diffusion_model_there_is_coarse_video_alone() {
        let (_dir, pack, _) = runner();
        let chosen = gpu::choose(DeviceChoice::Cpu).unwrap();
        let models = PackModels::load(&pack, &chosen, Residence::CoarseOnly).unwrap();
        let runner = Runner::new(Box::new(models), ClipStore::new(1 << 26), 1);
        let path = start(runner.pack()).then(vec![1, 2, 3, 4], 0);
        let sampling = runner.pack().sampling.clone();
        assert!(runner.coarse(&path, &mut Unwatched).is_ok());
        assert_eq!(runner.refine(&path, &sampling, &mut Unwatched), Err(RunError::NoRefiner));
    }

    /// Stops at a step and writes down all it heard.
    struct StopAt(Stage, usize, Vec<(Stage, usize, usize)>);

    impl Watch for StopAt {
        fn step(&mut self, stage: Stage, done: usize, of: usize) -> ControlFlow<()> {
            self.2.push((stage, done, of));
            if (stage, done) == (self.0, self.1) {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        }
        fn clip_ready(&mut self, _: ClipKey, _: ClipQuality) {}
    }

    fn heard_of(watch: &StopAt, stage: Stage) -> Vec<usize> {
        let heard = watch.2.iter().filter(|(of, done, _)| *of == stage && *done > 0);
        heard.map(|(_, done, _)| *done).collect()
    }

    #[test]
    fn weights_that_are_gone_for_a_while_cost_no_step() {
        let (dir, pack, _) = runner();
        let chosen = gpu::choose(DeviceChoice::Cpu).unwrap();
        let models = PackModels::load(&pack, &chosen, Residence::Released).unwrap();
        let runner = Runner::new(Box::new(models), ClipStore::new(1 << 26), 1);
        let path = start(runner.pack()).then(vec![1, 2, 3, 4], 0);
        let sampling = runner.pack().sampling.clone();
        let mut stop = StopAt(Stage::Refining, 2, Vec::new());
        assert_eq!(runner.refine(&path, &sampling, &mut stop), Err(RunError::Cancelled));
        let [there, gone] = ["dit.safetensors", "gone"].map(|name| dir.path().join(name));
        std::fs::rename(&there, &gone).unwrap();
        let error = runner.refine(&path, &sampling, &mut Unwatched).unwrap_err();
        assert!(matches!(error, RunError::Weights(_)), "{error}");
        std::fs::rename(&gone, &there).unwrap();
        let mut rest = StopAt(Stage::EncodingVideo, 0, Vec::new());
        runner.refine(&path, &sampling, &mut rest).unwrap();
        // The estimate of the last step is one more.
        let left: Vec<usize> = (3..=sampling.refine_steps + 1).collect();
        assert_eq!(heard_of(&rest, Stage::Refining), left);
    }

    #[test]
    fn cancelling_between_the_steps_of_sampler_and_decoder_keeps_the_coarse_clip() {
        let (_dir, pack, runner) = runner();
        let path = start(runner.pack()).then(vec![1, 2, 3, 4], 0);
        let sampling = runner.pack().sampling.clone();
        // Five frames are two latent steps, so one is left when the second stop comes. What was
        // sampled before the first is not sampled again, and what was sampled to its end is not
        // sampled at all.
        let stops = [
            (Stage::Refining, 2, sampling.refine_steps, vec![1, 2]),
            (Stage::DecodingVideo, 1, 2, (3..=sampling.refine_steps + 1).collect()),
        ];
        for (stage, done, of, sampled) in stops {
            let mut watch = StopAt(stage, done, Vec::new());
            let stopped = runner.refine(&path, &sampling, &mut watch);
            assert_eq!(stopped, Err(RunError::Cancelled));
            assert_eq!(heard_of(&watch, Stage::Refining), sampled);
            let (last_stage, last_done, last_of) = *watch.2.last().unwrap();
            assert_eq!((last_stage, last_done), (stage, done), "nothing is done after the stop");
            assert!(last_of >= of, "{last_of} steps of {stage:?}");
            let store = runner.store();
            assert!(store.get(ClipKey::coarse(&pack.id, &path)).is_some());
            assert_eq!(store.decodes(), Decodes { coarse: 1, refined: 0 });
        }
        let mut whole = StopAt(Stage::EncodingVideo, 0, Vec::new());
        let key = runner.refine(&path, &sampling, &mut whole).unwrap();
        assert!(heard_of(&whole, Stage::Refining).is_empty());
        let chosen = gpu::choose(DeviceChoice::Cpu).unwrap();
        let models = PackModels::load(&pack, &chosen, Residence::Kept).unwrap();
        let other = Runner::new(Box::new(models), ClipStore::new(1 << 26), 1);
        other.refine(&path, &sampling, &mut Unwatched).unwrap();
        let clip = |runner: &Runner| runner.store().get(key).unwrap().clip;
        assert_eq!(clip(&runner), clip(&other), "as if it had never stood still");
        let decoded: Vec<_> =
            whole.2.iter().filter(|(stage, ..)| *stage == Stage::DecodingVideo).collect();
        assert_eq!(decoded.len(), 3, "{decoded:?}");
        assert!(
            whole.2.iter().all(|(stage, ..)| *stage != Stage::WarmingUp),
            "a processor is warm"
        );
    }
}
