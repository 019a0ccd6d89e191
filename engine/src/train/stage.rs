//! The stages in their order, and the run folder they share.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use burn::module::Module;
use burn::tensor::Device;

use super::joint::Joint;
use super::run::put_back;
use super::warmup::Warmup;
use super::{Recipe, Schedule, Tick, TrainError, joint, policy, vae, vdm, warmup};
use crate::craft::{Episode, FPS, FRAMES_PER_CLIP, Split, Task};
use crate::dldm::Dldm;
use crate::pack::{Networks, Pack, PackError, PackSource, TaskEntry};
use crate::policy::Planner;
use crate::vdm::{CONTROL_KEYS, ControlBranch, DIT_KEYS, Dit, Vdm, VideoVae, control_begins_as};
use crate::weights::{Weights, WeightsError};

/// One stage of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    Vae,
    Vdm,
    Warmup,
    Joint,
    Policy,
}

impl Stage {
    /// In the order they build on each other.
    pub const ALL: [Self; 5] = [Self::Vae, Self::Vdm, Self::Warmup, Self::Joint, Self::Policy];

    pub fn name(self) -> &'static str {
        match self {
            Self::Vae => "vae",
            Self::Vdm => "vdm",
            Self::Warmup => "warmup",
            Self::Joint => "joint",
            Self::Policy => "policy",
        }
    }

    /// Share of the budget of `train all`.
    pub fn share(self) -> f64 {
        match self {
            Self::Vae => 0.16,
            Self::Vdm => 0.14,
            Self::Warmup => 0.40,
            Self::Joint => 0.20,
            Self::Policy => 0.10,
        }
    }

    fn learning_rate(self) -> f64 {
        match self {
            Self::Vae | Self::Warmup => 2e-3,
            Self::Vdm | Self::Policy => 1e-3,
            Self::Joint => 5e-4,
        }
    }
}

impl FromStr for Stage {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|stage| stage.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|stage| stage.name()).collect();
            format!("there is no stage '{name}'; choose one of {} or all", names.join(", "))
        })
    }
}

/// What a decoder's learning rate is multiplied with where the codes are kept: a warm-up at its full
/// rate takes longer to come back to where it began than such a run has.
const DECODER_ALONE_RATE: f64 = 0.2;

/// Networks that a run begins with instead of fresh ones.
#[derive(Default)]
struct Start {
    dldm: Option<Dldm>,
    vdm: Option<Vdm>,
    planner: Option<Planner>,
}

/// The file of a run's folder that says what it trains.
const RECIPE: &str = "recipe.json";

/// A folder with one folder a stage.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
    pub recipe: Recipe,
    pub(super) start: Option<Arc<Pack>>,
}

impl RunFolder {
    /// Begins a run with `recipe`.
    ///
    /// # Errors
    /// Fails when the folder cannot be written or holds a run, or the recipe goes on from a pack that cannot be
    /// opened.
    pub fn begin(path: &Path, recipe: Recipe) -> Result<Self, TrainError> {
        std::fs::create_dir_all(path).map_err(|e| TrainError::file(path, e))?;
        let file = path.join(RECIPE);
        let text =
            serde_json::to_string_pretty(&recipe).map_err(|e| TrainError::checkpoint(&file, e))?;
        let written = File::create_new(&file).and_then(|mut to| to.write_all(text.as_bytes()));
        written.map_err(|e| TrainError::file(&file, e))?;
        Self::with(path, recipe)
    }

    /// The run that is in a folder, if there is one.
    ///
    /// # Errors
    /// Fails when its recipe cannot be read or goes on from a pack that cannot be opened.
    pub fn open(path: &Path) -> Result<Option<Self>, TrainError> {
        let file = path.join(RECIPE);
        if !file.exists() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&file).map_err(|e| TrainError::file(&file, e))?;
        let recipe = serde_json::from_str(&text).map_err(|e| TrainError::checkpoint(&file, e))?;
        let folder = Self::with(path, recipe)?;
        for stage in Stage::ALL {
            put_back(&folder.stage(stage))?;
        }
        Ok(Some(folder))
    }

    fn with(path: &Path, recipe: Recipe) -> Result<Self, TrainError> {
        let start = recipe.start.as_ref().map(PackSource::open).transpose()?.map(Arc::new);
        Ok(Self { path: path.to_owned(), recipe, start })
    }

    /// What of the pack that this run goes on from has the recipe's sizes.
    fn start(&self, device: &Device) -> Result<Start, TrainError> {
        self.start_with(|pack| pack.load(device))
    }

    /// The same without the diffusion model, which is nine tenths of a large pack.
    fn coarse_start(&self, device: &Device) -> Result<Start, TrainError> {
        self.start_with(|pack| pack.load_coarse(device))
    }

    fn start_with(
        &self,
        load: impl FnOnce(&Pack) -> Result<Networks, PackError>,
    ) -> Result<Start, TrainError> {
        let Some(pack) = &self.start else { return Ok(Start::default()) };
        let Networks { dldm, vdm, planner, .. } = load(pack)?;
        let (manifest, recipe) = (&pack.manifest, &self.recipe);
        let same_coarse_sizes = manifest.coarse_size == recipe.coarse_size;
        Ok(Start {
            dldm: Some(dldm).filter(|_| manifest.dldm == recipe.dldm && same_coarse_sizes),
            vdm: vdm.filter(|_| self.start_has_vdm()),
            planner: planner.filter(|_| manifest.planner.as_ref() == Some(&recipe.planner)),
        })
    }

    /// Whether the pack that this run goes on from has a diffusion model of the recipe's sizes.
    fn start_has_vdm(&self) -> bool {
        let recipe = &self.recipe;
        self.start.as_ref().is_some_and(|pack| {
            let manifest = &pack.manifest;
            manifest.vdm.as_ref() == Some(&recipe.vdm) && manifest.frame_size == recipe.size
        })
    }

    /// Whether a stage of a run that goes on from a pack has other sizes than the pack, and so
    /// nothing of it.
    pub(super) fn begins_fresh(&self, stage: Stage) -> bool {
        let Some(pack) = &self.start else { return false };
        let (manifest, recipe) = (&pack.manifest, &self.recipe);
        match stage {
            Stage::Vae | Stage::Vdm => manifest.vdm.as_ref() != Some(&recipe.vdm),
            Stage::Warmup => manifest.dldm != recipe.dldm,
            Stage::Policy => manifest.planner.as_ref() != Some(&recipe.planner),
            // It goes on from the other stages.
            Stage::Joint => false,
        }
    }

    /// Frames a clip, those of the pack that this run goes on from.
    pub(super) fn frames_per_clip(&self) -> usize {
        self.start.as_ref().map_or(FRAMES_PER_CLIP, |pack| pack.manifest.frames_per_clip)
    }

    /// Frames a second of its clips.
    pub(super) fn fps(&self) -> f32 {
        self.start.as_ref().map_or(FPS, |pack| pack.manifest.fps)
    }

    /// The tasks of its packs. A policy that learned from videos alone knows no others; one that the
    /// pack had keeps its own beside them.
    pub(super) fn tasks(&self) -> Vec<TaskEntry> {
        let of_craft = |task| {
            let clips = Episode::sample(task, Split::Train, 0).num_clips();
            TaskEntry { task, clips }
        };
        let Some(pack) = &self.start else { return Task::ALL.map(of_craft).to_vec() };
        let manifest = &pack.manifest;
        let Some(videos) = &self.recipe.videos else { return manifest.tasks.clone() };
        let most = self.recipe.planner.max_codes() / manifest.codes_per_clip();
        let entry = |e: &TaskEntry| TaskEntry { clips: e.clips.min(most), ..*e };
        let mut tasks = match manifest.planner {
            Some(_) => manifest.tasks.clone(),
            None => Vec::new(),
        };
        let new = |e: &&TaskEntry| tasks.iter().all(|known| known.task != e.task);
        let new: Vec<TaskEntry> = videos.tasks.iter().filter(new).map(entry).collect();
        tasks.extend(new);
        tasks
    }

    /// How the pack that this run goes on from was trained.
    pub(super) fn before(&self) -> Option<&str> {
        self.start.as_ref().map(|pack| pack.manifest.trained.as_str())
    }

    pub fn stage(&self, stage: Stage) -> PathBuf {
        self.path.join(stage.name())
    }

    /// Whether a stage has a checkpoint.
    pub fn has(&self, stage: Stage) -> bool {
        self.stage(stage).join("checkpoint").is_dir()
    }

    /// The video autoencoder as trained so far, with its latents' statistics.
    ///
    /// # Errors
    /// Fails when its stage has not finished.
    pub fn vae(&self, device: &Device) -> Result<VideoVae, TrainError> {
        if !self.has(Stage::Vae)
            && let Some(vdm) = self.start(device)?.vdm
        {
            return Ok(vdm.vae);
        }
        let folder = self.stage(Stage::Vae);
        let file = folder.join("config.json");
        let text = std::fs::read_to_string(&file).map_err(|_| TrainError::Missing {
            stage: "this",
            needs: "a finished vae stage",
            folder: folder.clone(),
        })?;
        let config: crate::vdm::VideoVaeConfig =
            serde_json::from_str(&text).map_err(|e| TrainError::checkpoint(&file, e))?;
        self.load(Stage::Vae, config.init(device))
    }

    /// The dLDM as trained so far: by the joint stage if it has begun, else by the warm-up.
    ///
    /// # Errors
    /// Fails when there is no checkpoint.
    pub fn dldm(&self, device: &Device) -> Result<Dldm, TrainError> {
        if self.has(Stage::Joint) { Ok(self.joint(device)?.dldm) } else { self.warm(device) }
    }

    /// The dLDM as the warm-up left it.
    fn warm(&self, device: &Device) -> Result<Dldm, TrainError> {
        if !self.has(Stage::Warmup)
            && let Some(dldm) = self.coarse_start(device)?.dldm
        {
            return Ok(dldm);
        }
        let config = &self.recipe.dldm;
        let fresh = Warmup::new(config.init(device), config, device);
        Ok(self.load(Stage::Warmup, fresh)?.dldm)
    }

    /// Both networks of the joint stage.
    ///
    /// # Errors
    /// Fails when there is no checkpoint.
    pub fn joint(&self, device: &Device) -> Result<Joint, TrainError> {
        let fresh =
            Joint { dldm: self.recipe.dldm.init(device), vdm: self.recipe.vdm.init(device) };
        let mut joint = self.load(Stage::Joint, fresh)?;
        // The statistics of the latents live in the autoencoder's settings, not its weights.
        joint.vdm.vae = self.vae(device)?;
        Ok(joint)
    }

    /// The diffusion model as trained so far; `None` when there is none that fits the video
    /// autoencoder.
    ///
    /// # Errors
    /// Fails when a checkpoint cannot be read.
    pub fn vdm(&self, device: &Device) -> Result<Option<Vdm>, TrainError> {
        if self.has(Stage::Joint) {
            return Ok(Some(self.joint(device)?.vdm));
        }
        Ok(self.start(device)?.vdm.filter(|_| !self.has(Stage::Vae)))
    }

    /// The policy as trained so far; `None` when there is none that knows the dLDM's codes.
    ///
    /// # Errors
    /// Fails when a checkpoint cannot be read.
    pub fn planner(&self, device: &Device) -> Result<Option<Planner>, TrainError> {
        if self.has(Stage::Policy) {
            return self.load(Stage::Policy, self.recipe.planner.init(device)).map(Some);
        }
        let Recipe { keep_codes, joint_share, .. } = self.recipe;
        let other_codes = (self.has(Stage::Warmup) && !keep_codes)
            || (self.has(Stage::Joint) && joint_share > 0.0);
        Ok(self.coarse_start(device)?.planner.filter(|_| !other_codes))
    }

    fn load<M: Module>(&self, stage: Stage, fresh: M) -> Result<M, TrainError> {
        let folder = self.stage(stage);
        let file = folder.join("checkpoint").join("model.bpk");
        if !file.exists() {
            return Err(TrainError::Missing {
                stage: "this",
                needs: stage.name(),
                folder: folder.clone(),
            });
        }
        fresh.try_load_file(&file).map_err(|e| TrainError::checkpoint(&file, e))
    }

    /// Trains one stage for `budget` in all, from its last checkpoint on.
    ///
    /// # Errors
    /// See [`TrainError`].
    pub fn train(
        &self,
        stage: Stage,
        budget: Duration,
        max_iterations: Option<usize>,
        device: &Device,
        on_tick: &mut dyn FnMut(&Tick),
    ) -> Result<(), TrainError> {
        let Recipe { size, coarse_size, dldm, vdm, planner, batch, .. } = &self.recipe;
        let found = self.frames_per_clip();
        if stage != Stage::Policy && found != FRAMES_PER_CLIP {
            return Err(TrainError::ClipLength { stage: stage.name(), found });
        }
        let autodiff = device.clone().autodiff();
        let schedule = |trained: bool| Schedule {
            budget,
            max_iterations,
            // Trained weights have to be moved, not found.
            learning_rate: stage.learning_rate() * if trained { 0.5 } else { 1.0 },
            warmup: 100,
        };
        let folder = self.stage(stage);
        match stage {
            Stage::Vae => {
                let start = self.start(&autodiff)?;
                let trained = start.vdm.is_some();
                let start = start.vdm.map_or_else(|| vdm.vae.init(&autodiff), |vdm| vdm.vae);
                let (batch, schedule) = (batch[0], schedule(trained));
                let vae =
                    vae::train(&folder, start, trained, *size, batch, schedule, device, on_tick)?;
                let file = folder.join("config.json");
                let text = serde_json::to_string_pretty(vae.config())
                    .map_err(|e| TrainError::checkpoint(&file, e))?;
                std::fs::write(&file, text).map_err(|e| TrainError::file(&file, e))
            }
            Stage::Vdm => {
                let vae = self.vae(device)?;
                let start = self.start(&autodiff)?;
                let schedule = schedule(start.vdm.is_some());
                let start = start.vdm.unwrap_or_else(|| vdm.init(&autodiff));
                vdm::train(&folder, start, &vae, *size, batch[1], schedule, device, on_tick)
                    .map(drop)
            }
            Stage::Warmup => {
                let start = self.coarse_start(&autodiff)?;
                let trained = start.dldm.is_some();
                let start = start.dldm.unwrap_or_else(|| dldm.init(&autodiff));
                let start = Warmup::new(start, dldm, &autodiff);
                let settings = warmup::Settings {
                    size: *coarse_size,
                    batch: batch[2],
                    trained,
                    keep_codes: self.recipe.keep_codes,
                };
                let mut schedule = schedule(trained);
                if settings.keep_codes {
                    schedule.learning_rate *= DECODER_ALONE_RATE;
                }
                warmup::train(&folder, start, settings, schedule, device, on_tick).map(drop)
            }
            Stage::Joint => {
                let schedule = schedule(self.start_has_vdm() && !self.has(Stage::Vdm));
                let start = self.start_of_joint(&autodiff)?;
                let settings = joint::Settings {
                    size: *size,
                    coarse_size: *coarse_size,
                    both_share: self.recipe.joint_share,
                    batch: batch[3],
                };
                joint::train(&folder, start, settings, schedule, device, on_tick).map(drop)
            }
            Stage::Policy => {
                let encoded = self.encoded_tasks(device, on_tick)?;
                let start = self.coarse_start(&autodiff)?.planner;
                let schedule = schedule(start.is_some());
                let start = start.unwrap_or_else(|| planner.init(&autodiff));
                policy::train(&folder, start, &encoded, batch[4], schedule, device, on_tick)
                    .map(drop)
            }
        }
    }

    /// The warmed-up dLDM and the pretrained diffusion model. Its first blocks begin the control
    /// branch, unless the pack that the run goes on from has one.
    fn start_of_joint(&self, device: &Device) -> Result<Joint, TrainError> {
        let dldm = self.warm(device)?;
        let mut vdm = match self.start(device)?.vdm {
            Some(vdm) if !self.has(Stage::Vdm) => vdm,
            start => {
                let mut vdm: Vdm = self.load(Stage::Vdm, self.recipe.vdm.init(device))?;
                vdm.control = match start {
                    Some(start) => start.control,
                    None => begin_control(self.recipe.vdm.control.init(device), &vdm.dit)
                        .map_err(|e| TrainError::checkpoint(&self.path, e))?,
                };
                vdm
            }
        };
        vdm.vae = self.vae(device)?;
        Ok(Joint { dldm, vdm })
    }
}

/// A fresh control branch whose blocks are copies of the transformer's.
fn begin_control(fresh: ControlBranch, dit: &Dit) -> Result<ControlBranch, WeightsError> {
    let trained = Weights::of(dit, &DIT_KEYS);
    let copied = |key: &str| control_begins_as(key).and_then(|twin| trained.get(&twin));
    let mut weights = Weights::of(&fresh, &CONTROL_KEYS);
    let keys: Vec<String> = weights.iter().map(|(key, _)| key.to_owned()).collect();
    for key in keys {
        if let Some(tensor) = copied(&key) {
            weights.insert(key, tensor.shape.clone(), tensor.values.clone());
        }
    }
    weights.load_into(fresh, &CONTROL_KEYS)
}
