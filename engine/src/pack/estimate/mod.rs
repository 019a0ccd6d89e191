//! How much memory a job with a pack will need, from the sizes in its manifest alone.
//!
//! Weights are counted exactly, in the numbers they are held in; `working` counts the rest.

use burn::module::Module;
use burn::tensor::Device;

use super::{Manifest, Scale};
use crate::gpu::Chosen;
use crate::media::FrameSize;
use crate::memory::{self, human};
use crate::vdm::Sketch;
use crate::vdm::schedule::Beginning;
use crate::weights::Numbers;
use working::{Sizes, Working, pixels};

mod working;

/// What the program occupies before it loads anything, where the system does not say.
const PROGRAM: u64 = 150_000_000;

/// Code that is paged in while computing, stacks of threads, and what the allocator keeps back.
const OVERHEAD: u64 = 30_000_000;

/// What is to be computed and on what, as far as memory goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Job {
    /// Clips that are kept.
    pub clips: usize,
    pub refined: bool,
    /// Of the refined video.
    pub scale: Scale,
    /// Whether clips are shown while they are sampled, small ones decoded for it.
    pub previews: bool,
    /// Whether the program's own memory is computed in ([`Chosen::in_own_memory`]), or a card's.
    pub in_own_memory: bool,
    /// Whether attention holds its scores, some at a time ([`Chosen::holds_scores`]).
    pub holds_scores: bool,
    /// Those of transformer and control branch.
    pub numbers: Numbers,
    /// No tensor may be larger, bytes ([`Chosen::largest_tensor`]).
    pub largest_tensor: Option<u64>,
}

impl Default for Job {
    /// One clip, refined at its full size, on the processor in single precision.
    fn default() -> Self {
        Self {
            clips: 1,
            refined: true,
            scale: Scale::default(),
            previews: false,
            in_own_memory: true,
            holds_scores: false,
            numbers: Numbers::default(),
            largest_tensor: None,
        }
    }
}

impl Job {
    /// One clip, refined at its full size, on this device.
    pub fn on(chosen: &Chosen) -> Self {
        Self {
            in_own_memory: chosen.in_own_memory,
            holds_scores: chosen.holds_scores(),
            numbers: chosen.numbers,
            largest_tensor: chosen.largest_tensor,
            ..Self::default()
        }
    }
}

/// Which weights are in memory at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residence {
    /// All of them.
    Kept,
    /// Those of transformer and control branch only while they sample: they are loaded for every
    /// clip and dropped after it.
    Released,
    /// None of the video diffusion model.
    CoarseOnly,
}

/// What one stage needs beside weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageMemory {
    pub name: &'static str,
    /// Bytes.
    pub working: u64,
    /// Of them, the largest tensor, bytes.
    pub largest_tensor: u64,
    /// Whether transformer and control branch are in memory even when they are released elsewhere.
    samples: bool,
}

/// The peak of what a job takes of the memory it computes in, bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Estimate {
    /// The program before it loads anything, none of which a card holds, and what it takes by the way.
    pub program: u64,
    /// Finished clips, which are never on a card.
    pub clips: u64,
    /// Weights of dLDM, policy and video autoencoder.
    pub light: u64,
    /// Weights of transformer and control branch.
    pub diffusion: u64,
    pub stages: Vec<StageMemory>,
}

/// A job that cannot be done with the memory there is; a sentence for people.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{stage} needs {lack}; {advice}")]
pub struct TooLarge {
    /// The stage that needs most.
    pub stage: &'static str,
    pub lack: Lack,
    /// Refined video that would fit.
    pub smaller: Option<Smaller>,
    /// What would fit, in words.
    pub advice: String,
}

/// What there is too little of, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lack {
    #[error("about {} of memory and {} are there", human(*.needed), human(*.limit))]
    Memory { needed: u64, limit: u64 },
    /// The device's largest buffer is below what has to be in one piece.
    #[error(
        "a tensor of {} and the device takes none above {}",
        human(*.needed), human(*.limit)
    )]
    Tensor { needed: u64, limit: u64 },
}

/// Refined video of a smaller size, and about what it needs, bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Smaller {
    pub scale: Scale,
    pub size: FrameSize,
    pub needed: u64,
}

impl Estimate {
    /// Nothing is loaded or allocated for this.
    pub fn of(manifest: &Manifest, job: Job) -> Self {
        let device = Device::flex();
        let single = Numbers::default();
        let mut light = Weights::of(&manifest.dldm.init(&device), single);
        if let Some(planner) = &manifest.planner {
            light = light.and(Weights::of(&planner.init(&device), single));
        }
        let mut diffusion = Weights::default();
        let vdm = manifest.vdm.as_ref().filter(|_| job.refined);
        if let Some(config) = vdm {
            let vdm = config.init(&device);
            light = light.and(Weights::of(&vdm.vae, single));
            diffusion = Weights::of(&vdm.dit, job.numbers);
            diffusion = diffusion.and(Weights::of(&vdm.control, job.numbers));
        }
        let sizes = Sizes { manifest, job };
        let mut stages = vec![
            StageMemory::new("loading", Working::to_load(light)),
            StageMemory::new("predicting codes", sizes.policy()),
            StageMemory::new("coarse video", sizes.coarse()),
        ];
        if let Some(vdm) = vdm {
            let decoding = sizes.decode(&vdm.vae);
            let denoising = sizes.denoise(vdm);
            let previews_decode = job.previews && !Sketch::suits(sizes.refined_pixels());
            let sampling = if previews_decode { denoising.or(decoding) } else { denoising };
            let loading = Working::to_load(diffusion);
            // What sampling begins with is decoded, to see what the autoencoder loses of it.
            let encoding = match vdm.beginning {
                Beginning::Noise => sizes.encode(&vdm.vae),
                Beginning::Coarse => sizes.encode(&vdm.vae).or(decoding),
            };
            stages.extend([
                StageMemory::new("encoding", encoding),
                StageMemory { samples: true, ..StageMemory::new("loading to sample", loading) },
                StageMemory { samples: true, ..StageMemory::new("denoising", sampling) },
                StageMemory::new("decoding", decoding),
            ]);
        }
        let (program, clips) = match job.in_own_memory {
            true => (memory::resident().unwrap_or(PROGRAM), sizes.clips() as u64),
            false => (0, 0),
        };
        Self {
            program: program + OVERHEAD,
            clips,
            light: light.bytes,
            diffusion: diffusion.bytes,
            stages,
        }
    }

    pub fn stage(&self, name: &str) -> Option<&StageMemory> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// Weights in memory during a stage.
    fn weights(&self, stage: &StageMemory, residence: Residence) -> u64 {
        let all = residence == Residence::Kept || stage.samples;
        self.light + if all { self.diffusion } else { 0 }
    }

    /// What the process occupies during a stage.
    pub fn during(&self, stage: &StageMemory, residence: Residence) -> u64 {
        self.program + self.clips + self.weights(stage, residence) + stage.working
    }

    /// The stage that needs most.
    fn largest(&self, residence: Residence) -> &StageMemory {
        let by = |stage: &&StageMemory| self.during(stage, residence);
        self.stages.iter().max_by_key(by).expect("every job has stages")
    }

    pub fn peak(&self, residence: Residence) -> u64 {
        self.during(self.largest(residence), residence)
    }

    /// How a job fits into so many bytes, `None` being without limit, and what it takes.
    ///
    /// # Errors
    /// Says what it would need when it does not fit at all, and what would fit.
    pub fn plan(
        manifest: &Manifest,
        job: Job,
        limit: Option<u64>,
    ) -> Result<(Self, Residence), TooLarge> {
        let estimate = Self::of(manifest, job);
        let ways: &[Residence] = match job.refined && manifest.vdm.is_some() {
            true => &[Residence::Kept, Residence::Released],
            false => &[Residence::CoarseOnly],
        };
        let lacks = |way: Residence| estimate.lack(way, job.largest_tensor, limit);
        if let Some(residence) = ways.iter().find(|way| lacks(**way).is_none()) {
            return Ok((estimate, *residence));
        }
        let (stage, lack) = lacks(*ways.last().expect("there is a way")).expect("no way fits");
        let coarse = Self::of(manifest, Job { refined: false, ..job });
        let needed = human(coarse.peak(Residence::CoarseOnly));
        let alone = format!("coarse video alone (rollout --coarse-only) needs about {needed}");
        let smaller = job.refined.then(|| Self::smaller(manifest, job, limit)).flatten();
        let advice = match (smaller, lack) {
            (Some(Smaller { scale, size, needed }), _) => {
                let needed = human(needed);
                format!("--scale {scale}, refined video of {size}, needs about {needed}; {alone}")
            }
            _ if job.refined
                && coarse.lack(Residence::CoarseOnly, job.largest_tensor, limit).is_none() =>
            {
                alone
            }
            (None, Lack::Tensor { .. }) => {
                "--device cpu has no such bound, and a pack of smaller networks needs less".into()
            }
            _ if job.refined => format!("even {alone}"),
            _ => "allow it more memory or take a pack of smaller networks".into(),
        };
        Err(TooLarge { stage, lack, smaller, advice })
    }

    /// What there is too little of, and at which stage: the device takes no larger tensor, and the
    /// job may take no more memory, `None` being without limit.
    pub fn lack(
        &self,
        residence: Residence,
        largest_tensor: Option<u64>,
        limit: Option<u64>,
    ) -> Option<(&'static str, Lack)> {
        let widest = self.stages.iter().max_by_key(|stage| stage.largest_tensor)?;
        let needed = widest.largest_tensor;
        if let Some(limit) = largest_tensor.filter(|limit| needed > *limit) {
            return Some((widest.name, Lack::Tensor { needed, limit }));
        }
        let stage = self.largest(residence);
        let needed = self.during(stage, residence);
        let limit = limit.filter(|limit| needed > *limit)?;
        Some((stage.name, Lack::Memory { needed, limit }))
    }

    /// The largest refined video below the present size that fits.
    fn smaller(manifest: &Manifest, job: Job, limit: Option<u64>) -> Option<Smaller> {
        Scale::SMALLER.into_iter().find_map(|scale| {
            let size = manifest.refined_size(scale);
            let estimate = Self::of(manifest, Job { scale, ..job });
            let smaller = pixels(size) < pixels(manifest.refined_size(job.scale));
            let lack = estimate.lack(Residence::Released, job.largest_tensor, limit);
            let needed = estimate.peak(Residence::Released);
            (smaller && lack.is_none()).then_some(Smaller { scale, size, needed })
        })
    }

    /// A line for every stage.
    pub fn table(&self, residence: Residence) -> String {
        let mut table = format!(
            "  {:<20}{:>10}{:>10}{:>10}{:>16}\n",
            "stage", "weights", "working", "in all", "largest tensor"
        );
        for stage in &self.stages {
            table += &format!(
                "  {:<20}{:>10}{:>10}{:>10}{:>16}\n",
                stage.name,
                human(self.weights(stage, residence)),
                human(stage.working),
                human(self.during(stage, residence)),
                human(stage.largest_tensor),
            );
        }
        table
    }
}

impl StageMemory {
    fn new(name: &'static str, Working { all, largest }: Working) -> Self {
        Self { name, working: all as u64, largest_tensor: largest as u64, samples: false }
    }
}

/// The weights of some networks, bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Weights {
    bytes: u64,
    /// The largest tensor as it is loaded.
    largest: u64,
}

impl Weights {
    fn of<M: Module>(network: &M, numbers: Numbers) -> Self {
        let (bytes, largest) = numbers.bytes_of(network);
        Self { bytes, largest }
    }

    fn and(self, other: Self) -> Self {
        Self { bytes: self.bytes + other.bytes, largest: self.largest.max(other.largest) }
    }
}

#[cfg(test)]
mod tests {
    use super::working::{ATTENTION_TENSORS, NUMBER, SINGLE_TENSORS};
    use super::*;
    use crate::pack::Pack;
    use crate::vdm::MAX_SCORES;
    use crate::weights::Precision;

    const GB: u64 = 1_000_000_000;

    fn job(refined: bool) -> Job {
        Job { clips: 7, refined, ..Job::default() }
    }

    #[test]
    fn the_weights_of_the_release_are_those_of_its_files() {
        let estimate = Estimate::of(&Manifest::videoworld2(), job(true));
        // 142,589,621 and 126,892,563 numbers, of which some are constants that nothing loads.
        let light = 4 * (142_589_621 + 126_892_563);
        assert!(estimate.light <= light && estimate.light > light - light / 100);
        let diffusion = 4 * (1_956_413_615 + 240_494_543);
        assert!(
            estimate.diffusion <= diffusion && estimate.diffusion > diffusion - diffusion / 100
        );
        let coarse = Estimate::of(&Manifest::videoworld2(), job(false));
        assert_eq!(coarse.diffusion, 0);
        assert!(coarse.light < estimate.light);
    }

    #[test]
    fn smaller_numbers_make_the_diffusion_model_smaller() {
        let of = |precision, eight_bit| {
            let numbers = Numbers { precision, eight_bit };
            Estimate::of(&Manifest::videoworld2(), Job { numbers, ..job(true) })
        };
        let (single, half) = (of(Precision::F32, false), of(Precision::F16, false));
        assert_eq!(half.diffusion, single.diffusion / 2);
        assert_eq!(half.light, single.light);
        let quantised = of(Precision::F16, true);
        // 9 bits each; embeddings, norms and narrow layers are a thousandth.
        assert!(quantised.diffusion < single.diffusion * 10 / 32, "{}", quantised.diffusion);
        assert!(quantised.diffusion >= single.diffusion * 9 / 32, "{}", quantised.diffusion);
        let denoising = |estimate: &Estimate| estimate.stage("denoising").unwrap().working;
        // All that is around attention but the stream and its norm.
        let tokens = 24 * (480 / 16) * (832 / 16);
        let halved = (ATTENTION_TENSORS - SINGLE_TENSORS) * tokens * 2048 * NUMBER / 2;
        assert_eq!(denoising(&single) - denoising(&half), halved as u64);
        assert!(denoising(&quantised) > denoising(&half));
    }

    #[test]
    fn a_budget_decides_what_is_released_and_what_is_refused() {
        let manifest = Manifest::videoworld2();
        let plan = |job, limit| Estimate::plan(&manifest, job, limit);
        let (estimate, residence) = plan(job(true), None).unwrap();
        assert_eq!(residence, Residence::Kept);
        let (kept, released) = (estimate.peak(Residence::Kept), estimate.peak(Residence::Released));
        assert!(released < kept, "{released} {kept}");
        // The margins are for what the test's own process takes meanwhile.
        assert_eq!(plan(job(true), Some(kept + GB)).unwrap().1, Residence::Kept);
        assert_eq!(plan(job(true), Some(released + GB / 4)).unwrap().1, Residence::Released);
        let error = plan(job(true), Some(8 * GB)).unwrap_err();
        assert!(matches!(error.lack, Lack::Memory { needed, limit } if needed > limit));
        assert!(error.to_string().contains("8.0 GB are there"), "{error}");
        assert!(error.to_string().contains("--coarse-only"), "{error}");
        assert_eq!(error.smaller, None, "weights alone take more");
        let coarse = plan(job(false), Some(8 * GB)).unwrap();
        assert_eq!(coarse.1, Residence::CoarseOnly);
        let error = plan(job(true), Some(GB / 2)).unwrap_err().to_string();
        assert!(error.contains("even coarse video alone"), "{error}");
        assert!(plan(job(false), Some(GB / 2)).is_err());
    }

    #[test]
    fn what_does_not_fit_is_told_the_largest_size_that_does() {
        let manifest = Manifest::videoworld2();
        let numbers = Numbers { precision: Precision::F16, eight_bit: false };
        let job = Job { numbers, ..job(true) };
        let needed = Estimate::of(&manifest, job).peak(Residence::Released);
        let limit = needed - GB / 2;
        let error = Estimate::plan(&manifest, job, Some(limit)).unwrap_err();
        let smaller = error.smaller.expect("less than half a gigabyte is too much");
        assert_eq!(smaller.size, FrameSize { height: 368, width: 624 });
        assert!(smaller.needed <= limit && error.to_string().contains("--scale 0.75"), "{error}");
        assert_eq!(manifest.refined_size(smaller.scale), smaller.size);
        let scaled = Job { scale: smaller.scale, ..job };
        let (_, residence) = Estimate::plan(&manifest, scaled, Some(limit + GB / 4)).unwrap();
        assert_eq!(residence, Residence::Released);
        let error = Estimate::plan(&manifest, scaled, Some(smaller.needed - GB / 2)).unwrap_err();
        let half = error.smaller.expect("half the size fits");
        assert_eq!(half.size, FrameSize { height: 240, width: 416 });
    }

    #[test]
    fn what_a_device_cannot_hold_in_one_piece_is_refused() {
        let whole = Manifest::videoworld2();
        let refused = |manifest: &Manifest, largest_tensor| {
            let job = Job { largest_tensor: Some(largest_tensor), ..job(true) };
            Estimate::plan(manifest, job, None).map(drop)
        };
        // Three frames of 128 channels stacked at the dLDM's finest level, in 24 steps.
        let needed = 24 * 3 * 128 * (480 / 4) * (832 / 4) * 4;
        let error = refused(&whole, needed - 1).unwrap_err();
        assert_eq!(error.stage, "coarse video");
        assert_eq!(error.lack, Lack::Tensor { needed, limit: needed - 1 });
        assert!(error.smaller.is_none() && error.to_string().contains("--device cpu"), "{error}");
        assert_eq!(refused(&whole, needed), Ok(()));
        // Of a short clip it is four frames of 96 channels at the autoencoder's finest level.
        let short = whole.at(17, whole.frame_size).unwrap();
        let needed = 4 * 96 * 480 * 832 * 4;
        let error = refused(&short, needed - 1).unwrap_err();
        assert_eq!(error.lack, Lack::Tensor { needed, limit: needed - 1 });
        let scale = error.smaller.as_ref().expect("smaller frames fit").scale;
        assert!(error.to_string().contains(&format!("--scale {scale}")), "{error}");
    }

    #[test]
    fn a_card_holds_neither_the_program_nor_finished_clips() {
        let of = |in_own_memory| {
            Estimate::of(&Manifest::videoworld2(), Job { in_own_memory, ..job(true) })
        };
        let (own, card) = (of(true), of(false));
        assert!(own.clips > 0 && own.program > OVERHEAD);
        assert_eq!((card.clips, card.program), (0, OVERHEAD));
        assert_eq!((card.diffusion, &card.stages), (own.diffusion, &own.stages));
    }

    #[test]
    fn scores_that_are_held_are_counted() {
        let denoising = |holds_scores| {
            let job = Job { holds_scores, ..job(true) };
            Estimate::of(&Manifest::videoworld2(), job).stage("denoising").unwrap().working
        };
        assert_eq!(denoising(true) - denoising(false), (2 * MAX_SCORES * NUMBER) as u64);
    }

    #[test]
    fn more_to_do_needs_more() {
        let peak = |change: fn(&mut Manifest, &mut Job)| {
            let (mut manifest, mut job) = (Manifest::videoworld2(), job(true));
            change(&mut manifest, &mut job);
            Estimate { program: 0, ..Estimate::of(&manifest, job) }.peak(Residence::Released)
        };
        let plain = peak(|_, _| ());
        assert!(peak(|_, job| job.clips = 20) > plain);
        assert_eq!(peak(|_, job| job.previews = true), plain, "a sketch takes nothing");
        let denoising = |previews| {
            let manifest = Pack::embedded().unwrap().manifest;
            let estimate = Estimate::of(&manifest, Job { previews, ..job(true) });
            estimate.stage("denoising").unwrap().working
        };
        assert!(denoising(true) > denoising(false));
        assert!(peak(|_, job| job.scale = Scale::SMALLER[0]) < plain);
        assert!(peak(|manifest, _| manifest.frame_size.height /= 2) < plain);
        assert!(peak(|manifest, _| manifest.frames_per_clip = 49) < plain);
    }
}
