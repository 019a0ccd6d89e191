//! The networks of a pack behind the contract of a rollout.

use std::ops::ControlFlow;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};

use super::{CodePrediction, Models, PackSummary, RefineRequest, RefineStep, Sampling};
use crate::craft::Task;
use crate::gpu::Chosen;
use crate::pack::{Networks, Pack, PackError};
use crate::policy::{CodeSampling, Planner};
use crate::vdm::SampleRequest;

/// A pack, loaded onto a device.
pub struct PackModels {
    networks: Networks,
    summary: Arc<PackSummary>,
    top_p: f32,
}

impl PackModels {
    /// Loads all networks of a pack.
    ///
    /// # Errors
    /// As [`Pack::load`].
    pub fn load(pack: &Pack, chosen: &Chosen) -> Result<Self, PackError> {
        let networks = pack.load(&chosen.device)?;
        let summary = summary(pack, networks.planner.as_ref(), chosen.description.clone());
        let top_p = pack.manifest.sampler.top_p;
        Ok(Self { networks, summary: Arc::new(summary), top_p })
    }
}

fn summary(pack: &Pack, planner: Option<&Planner>, device: String) -> PackSummary {
    let manifest = &pack.manifest;
    let sampler = manifest.sampler;
    PackSummary {
        id: pack.id,
        name: manifest.name.clone(),
        licence: manifest.licence.clone(),
        frame_size: (manifest.frame_size.height, manifest.frame_size.width),
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
        },
        device,
        has_policy: planner.is_some(),
        max_clips: planner.map_or(0, |p| p.max_codes() / manifest.codes_per_clip()),
        has_refiner: manifest.vdm.is_some(),
    }
}

impl Models for PackModels {
    fn pack(&self) -> &Arc<PackSummary> {
        &self.summary
    }

    fn device(&self) -> &Device {
        &self.networks.device
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
    ) -> Option<Tensor<5>> {
        let vdm = self.networks.vdm.as_ref().expect("asked only where there is a refiner");
        let tokens = self.networks.dldm.connect(self.networks.codes(request.codes));
        let negative = self.networks.negative.clone().map(|tokens| vdm.dit.pad_context(tokens));
        let sample = SampleRequest {
            conditioning: vdm.conditioning(request.first, request.coarse, tokens),
            negative_context: negative,
            latent_steps: vdm.vae.config().latent_steps(self.summary.frames_per_clip),
            steps: request.steps,
            guidance: f64::from(request.guidance),
            // The generator takes 32 bits; both halves of the seed count.
            noise_seed: (request.seed ^ (request.seed >> 32)) as u32,
        };
        let latents = vdm.sample(&sample, |at| {
            let preview = || vdm.vae.decode(at.x0.clone());
            on_step(RefineStep::Sampled { done: at.step, of: at.of, preview: &preview })
        })?;
        if on_step(RefineStep::Decoded { done: 0, of: 1 }).is_break() {
            return None;
        }
        let video = vdm.vae.decode(latents);
        match on_step(RefineStep::Decoded { done: 1, of: 1 }) {
            ControlFlow::Continue(()) => Some(video),
            ControlFlow::Break(()) => None,
        }
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
