//! A run made into a pack: its networks, what is known of them, and the reference set of the map.

use std::path::Path;

use burn::tensor::Device;
use serde::Deserialize;

use super::joint::REFINE_STEPS;
use super::{RunFolder, Stage, TrainError, encode_episode};
use crate::atlas::{ReferenceClip, ReferenceSet, UmapSettings};
use crate::craft::{Episode, Split, Task};
use crate::dldm::{self, Dldm};
use crate::pack::{FORMAT, Manifest, Pack, PackContents, SamplerDefaults};
use crate::policy::PLANNER_KEYS;
use crate::vdm::{CONTROL_KEYS, DIT_KEYS, VAE_KEYS};
use crate::weights::Weights;

/// Seeds of the reference set begin here: its environments are neither trained on nor offered as
/// starting frames.
const REFERENCE_SEED: u64 = 5000;

/// What a run does not know of the pack made of it.
#[derive(Debug, Clone)]
pub struct PackSettings {
    pub name: String,
    pub licence: String,
    pub sampler: SamplerDefaults,
    /// Clips a task in the reference set.
    pub reference_clips: usize,
}

impl PackSettings {
    /// The embedded pack's.
    pub fn craft_mini() -> Self {
        Self {
            name: "craft-mini".to_owned(),
            licence: "MIT OR Apache-2.0".to_owned(),
            // Without a negative context guidance does nothing but cost time.
            sampler: SamplerDefaults {
                temperature: 0.7,
                top_p: 0.9,
                refine_steps: REFINE_STEPS,
                guidance: 0.0,
            },
            reference_clips: 120,
        }
    }
}

/// What a checkpoint says of how long it was trained.
#[derive(Deserialize)]
struct Trained {
    iteration: usize,
    seconds: f64,
}

impl RunFolder {
    /// Writes what the run has trained so far as a pack and opens it. Without a joint stage it has
    /// no diffusion model, without a policy stage no policy, unless that of the pack it goes on
    /// from still fits. `progress` hears what is being done.
    ///
    /// A run that trained nothing but a policy for a pack gives that pack with the policy: all else
    /// of it is copied as it is, and of `settings` nothing is used.
    ///
    /// # Errors
    /// Fails when there is not even a dLDM, and when the pack cannot be written.
    pub fn pack(
        &self,
        folder: &Path,
        settings: &PackSettings,
        device: &Device,
        progress: &mut dyn FnMut(&'static str),
    ) -> Result<Pack, TrainError> {
        progress("Reading checkpoints");
        let is_trained = |stage: &Stage| self.has(*stage);
        if let Some(pack) = &self.start
            && Stage::ALL.into_iter().filter(is_trained).eq([Stage::Policy])
        {
            return self.attach(pack, folder, device, progress);
        }
        let (dldm, vdm, planner) = (self.dldm(device)?, self.vdm(device)?, self.planner(device)?);
        progress("Encoding the reference set");
        let mut reference = self.reference_set(&dldm, settings.reference_clips, device);
        progress("Laying out the map");
        let going = |_, _| std::ops::ControlFlow::Continue(());
        let fitted = reference.fit(&self.recipe.dldm.levels, &UmapSettings::default(), going);
        fitted.expect("nobody breaks off");
        progress("Writing the pack");
        let contents = PackContents {
            dldm: Weights::of(&dldm, &dldm::KEYS),
            vae: vdm.as_ref().map(|vdm| Weights::of(&vdm.vae, &VAE_KEYS)),
            dit: vdm.as_ref().map(|vdm| Weights::of(&vdm.dit, &DIT_KEYS)),
            control: vdm.as_ref().map(|vdm| Weights::of(&vdm.control, &CONTROL_KEYS)),
            negative: None,
            policy: planner.as_ref().map(|planner| Weights::of(planner, &PLANNER_KEYS)),
            reference: Some(reference),
        };
        let vdm = vdm.map(|vdm| {
            let mut config = self.recipe.vdm.clone();
            // The statistics of the latents were measured when its stage ended.
            config.vae = vdm.vae.config().clone();
            config
        });
        let manifest = Manifest {
            format: FORMAT,
            name: settings.name.clone(),
            licence: settings.licence.clone(),
            trained: self.history()?,
            tasks: self.tasks(),
            frame_size: self.recipe.size,
            coarse_size: self.recipe.coarse_size,
            frames_per_clip: self.frames_per_clip(),
            fps: self.fps(),
            dldm: self.recipe.dldm.clone(),
            vdm,
            planner: planner.map(|planner| planner.config().clone()),
            sampler: settings.sampler,
            files: Default::default(),
        };
        Ok(Pack::write(folder, manifest, &contents)?)
    }

    /// The pack that the run goes on from, with the run's policy.
    fn attach(
        &self,
        pack: &Pack,
        folder: &Path,
        device: &Device,
        progress: &mut dyn FnMut(&'static str),
    ) -> Result<Pack, TrainError> {
        let planner = self.planner(device)?.expect("asked only where the stage has a checkpoint");
        let manifest = Manifest {
            trained: self.history()?,
            tasks: self.tasks(),
            planner: Some(planner.config().clone()),
            ..pack.manifest.clone()
        };
        progress("Copying the pack");
        Ok(pack.with_policy(folder, manifest, &Weights::of(&planner, &PLANNER_KEYS))?)
    }

    /// Stages, iterations and minutes, for people.
    fn history(&self) -> Result<String, TrainError> {
        let mut stages = Vec::new();
        for stage in Stage::ALL.into_iter().filter(|stage| self.has(*stage)) {
            let file = self.stage(stage).join("checkpoint").join("state.json");
            let text = std::fs::read_to_string(&file).map_err(|e| TrainError::file(&file, e))?;
            let Trained { iteration, seconds } =
                serde_json::from_str(&text).map_err(|e| TrainError::checkpoint(&file, e))?;
            let minutes = seconds / 60.0;
            let how = match stage {
                _ if self.begins_fresh(stage) => ", begun fresh",
                Stage::Warmup if self.recipe.keep_codes => ", the decoder alone",
                _ => "",
            };
            let data = match &self.recipe.videos {
                Some(videos) if stage == Stage::Policy => {
                    format!(", on {} videos of the user's own", videos.count)
                }
                _ => String::new(),
            };
            let name = stage.name();
            stages.push(format!("{name} {iteration} iterations in {minutes:.0} min{how}{data}"));
        }
        let stages = stages.join(", ");
        Ok(match self.before() {
            Some(before) if stages.is_empty() => before.to_owned(),
            Some(before) => format!("{before}; from there {stages}"),
            None => format!("on craft-world videos of the training split: {stages}"),
        })
    }

    /// `count` clips a task of environments that training never saw, whole episodes in order.
    fn reference_set(&self, dldm: &Dldm, count: usize, device: &Device) -> ReferenceSet {
        let mut clips = Vec::new();
        let mut environment = 0;
        for task in Task::ALL {
            let wanted = clips.len() + count;
            for seed in REFERENCE_SEED.. {
                if clips.len() == wanted {
                    break;
                }
                let split = Split::Test;
                let episode = Episode::sample(task, split, seed);
                let episode = episode.in_clips_of(self.frames_per_clip());
                let encoded = encode_episode(dldm, &episode, self.recipe.coarse_size, device);
                for (k, codes) in encoded.codes.into_iter().enumerate() {
                    if clips.len() < wanted {
                        let (clip, action) = (k as u16, episode.action(k).index() as u16);
                        clips.push(ReferenceClip {
                            task,
                            seed,
                            split,
                            clip,
                            action,
                            environment,
                            codes,
                        });
                    }
                }
                environment += 1;
            }
        }
        ReferenceSet::new(self.recipe.dldm.num_queries, clips)
    }
}
