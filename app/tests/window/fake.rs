//! An engine that follows a script: every request is answered at once, from what the test set.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use engine::craft::Task;
use engine::eval::{Floor, Row, Table, Unit, Verified};
use engine::gpu::DeviceChoice;
use engine::media::Frame;
use engine::memory::{Budget, Taken};
use engine::pack::{PackId, PackSource, RecordedCodes, Scale};
use engine::rollout::{
    Candidate, ClipKey, ClipQuality, CodePrediction, NewClip, Path, Sampling, Stage, StoredClip,
};
use engine::worker::{Event, JobId, PackSummary, Progress, Request};
use image::imageops;
use videoworld_studio::studio::world::Drawing;
use videoworld_studio::studio::{Engine, Parts, Studio, StudioOptions};

use super::scene;

/// Where all clips play: the environment of the gallery's first frame.
const ENVIRONMENT: u64 = 1;

/// How far refinement gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refining {
    Done,
    /// A preview after this many of 35 steps, then nothing more.
    Stuck(usize),
}

/// What the engine has and does, shared with the test.
pub struct Script {
    pub refining: Refining,
    /// Previews are an eighth as wide and high as their clip.
    pub sketches: bool,
    /// Candidates are never answered.
    pub mute_candidates: bool,
    /// Predictions and comparisons are never answered.
    pub mute_predictions: bool,
    /// Refined clips that an earlier run kept on the disk.
    pub kept: HashMap<ClipKey, StoredClip>,
    /// What every pack that is opened holds.
    pub pack: PackSummary,
    /// Why the pack cannot be opened.
    pub pack_error: Option<String>,
    /// Packs are never opened.
    pub mute_openings: bool,
    /// Where the pack came from that was opened last.
    pub source: PackSource,
    /// What refining takes.
    pub taken: Taken,
    pub events: VecDeque<Event>,
    pub requests: Vec<Request>,
    pub cancelled: HashSet<JobId>,
    /// Clips that were computed and not found.
    pub coarse_decodes: usize,
    pub refined_decodes: usize,
    pub restarts: usize,
    pub paused: bool,
    store: HashMap<ClipKey, StoredClip>,
    open: HashSet<JobId>,
    next_job: u64,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            refining: Refining::Done,
            sketches: false,
            mute_candidates: false,
            mute_predictions: false,
            kept: HashMap::new(),
            pack: pack(),
            pack_error: None,
            mute_openings: false,
            source: PackSource::Embedded,
            taken: Taken { card: None, own: Some(1_190_000_000) },
            events: VecDeque::new(),
            requests: Vec::new(),
            cancelled: HashSet::new(),
            coarse_decodes: 0,
            refined_decodes: 0,
            restarts: 0,
            paused: false,
            store: HashMap::new(),
            open: HashSet::new(),
            next_job: 0,
        }
    }
}

pub type Shared = Rc<RefCell<Script>>;

/// The window's end of the script.
pub struct FakeEngine(pub Shared);

/// A window that remembers nothing.
pub fn options() -> StudioOptions {
    StudioOptions {
        timed: false,
        frame: None,
        pack: PackSource::Embedded,
        device: DeviceChoice::Cpu.into(),
        memory: Budget::Auto,
        scale: Scale::default(),
        settings: None,
        sessions: None,
    }
}

/// A window on a scripted engine and a painted world.
pub fn studio(cc: &eframe::CreationContext<'_>, script: &Shared, options: StudioOptions) -> Studio {
    let parts = Parts {
        engine: Box::new(FakeEngine(script.clone())),
        drawing: Drawing::start(scene::PaintedWorld, || {}),
    };
    Studio::new(cc, parts, options)
}

pub fn pack() -> PackSummary {
    PackSummary {
        id: PackId([7; 32]),
        name: "craft-mini".to_owned(),
        licence: "MIT OR Apache-2.0".to_owned(),
        frame_size: (64, 96),
        refined_step: 1,
        coarse_size: (32, 48),
        frames_per_clip: scene::FRAMES,
        fps: 8.0,
        steps_per_clip: 4,
        codes_per_step: 4,
        levels: vec![8, 5, 5, 5],
        tasks: vec![Task::Airplane, Task::Tower],
        clips_per_task: vec![7, 5],
        sampling: Sampling {
            temperature: 0.8,
            seed: 7,
            refine_steps: 35,
            guidance: 1.0,
            scale: Scale::default(),
        },
        device: "Test device (software)".to_owned(),
        elsewhere: false,
        has_policy: true,
        max_clips: 7,
        has_refiner: true,
        refiner_left_out: None,
        estimated: Some(1_260_000_000),
        recorded: None,
    }
}

/// A pack without a policy, to which codes of three and of two clips came.
pub fn pack_with_codes() -> PackSummary {
    let clips = |count: u16, at: u16| -> Vec<Vec<u16>> {
        (0..count).map(|clip| (0..16).map(|n| clip * 100 + (n * 7 + at) % 40).collect()).collect()
    };
    let rollouts = [("airplane_03", clips(3, 2)), ("tower_11", clips(2, 9))];
    let recorded = RecordedCodes {
        source: "predicted.pt".to_owned(),
        rollouts: rollouts.map(|(name, clips)| (name.to_owned(), clips)).into(),
    };
    PackSummary { has_policy: false, max_clips: 0, recorded: Some(recorded), ..pack() }
}

/// A comparison in which one part is off.
pub fn verified() -> Verified {
    let parts = [
        ("dLDM encoder", 3e-6),
        ("coarse decoder", 8e-6),
        ("video VAE decoder", f64::INFINITY),
        ("diffusion model at noise 1", 0.03),
        ("policy", 2e-5),
    ];
    let rows =
        parts.map(|(part, error)| Row::new(part, Unit::Ratio, error).floor(Floor::AtMost(2e-3)));
    let wrong = rows.iter().filter(|row| row.reached == Some(false));
    let wrong = wrong.map(|row| row.measure.clone()).collect();
    let title = "Largest error over largest value, test device against the processor".to_owned();
    Verified { table: Table { title, rows: rows.into() }, wrong }
}

/// Codes of the clip after `index` others: near 100 times the action, apart by seed.
fn predictions(index: usize, fixed: &[(usize, u16)], seed: u64) -> Vec<CodePrediction> {
    (0..16)
        .map(|position| {
            let own = (index * 100 + (position * 7 + seed as usize * 3) % 40) as u16;
            let chosen = fixed.iter().find(|(at, _)| *at == position).map(|(_, code)| *code);
            let code = chosen.unwrap_or(own);
            let probability = 0.55 + 0.4 * ((position * 5 + index) % 7) as f32 / 7.0;
            CodePrediction {
                code,
                probability,
                entropy_bits: 0.3 + 1.2 * ((position * 3 + index * 5) % 11) as f32 / 11.0,
                alternatives: vec![(own, probability), (own + 1, 0.2), (own + 2, 0.1)],
            }
        })
        .collect()
}

impl Script {
    fn answer(&mut self, job: JobId, request: Request) {
        self.open.insert(job);
        match request {
            Request::OpenPack(_) | Request::Move(_) => match self.pack_error.clone() {
                Some(reason) => {
                    self.open.remove(&job);
                    self.events.push_back(Event::Failed { job, reason });
                    return;
                }
                None if self.mute_openings => return,
                None => {
                    if let Request::OpenPack(source) = request {
                        self.source = source;
                    }
                    self.open(job);
                }
            },
            Request::Extend { .. } | Request::Verify if self.mute_predictions => return,
            Request::Extend { path, parent, fixed, origin, sampling } => {
                let predictions = predictions(path.clips.len(), &fixed, sampling.seed);
                let codes = predictions.iter().map(|p| p.code).collect();
                let seed = sampling.seed;
                let clip = NewClip { origin, predictions, seed };
                self.events.push_back(Event::Predicted { job, parent, clip });
                self.coarse(job, &path.then(codes, seed));
            }
            Request::Coarse { path, .. } => self.coarse(job, &path),
            Request::Refine { path, sampling } => {
                if !self.refine(job, &path, &sampling) {
                    return;
                }
            }
            Request::Candidates { path, parent, count, .. } => {
                if self.mute_candidates {
                    return;
                }
                let index = path.clips.len();
                let candidates = (0..count)
                    .map(|n| {
                        let predictions = predictions(index, &[(0, (index * 100 + n) as u16)], 1);
                        let codes = predictions.iter().map(|p| p.code).collect();
                        self.coarse(job, &path.clone().then(codes, 7));
                        Candidate {
                            code: predictions[0].code,
                            probability: 0.6 / (n as f32 * 2.0 + 1.0),
                            predictions,
                            outcome: scene::frame(
                                ENVIRONMENT,
                                (index + n) as f32,
                                scene::SIZE,
                                true,
                            ),
                        }
                    })
                    .collect();
                self.events.push_back(Event::CandidatesReady { job, parent, candidates });
            }
            Request::Recall { keys } => {
                for key in keys {
                    if let Some(stored) = self.kept.get(&key).cloned() {
                        self.store.insert(key, stored);
                        let quality = ClipQuality::Refined;
                        self.events.push_back(Event::ClipReady { job, key, quality });
                    }
                }
            }
            Request::Verify => {
                let verified = Arc::new(verified());
                self.events.push_back(Event::Verified { job, verified });
            }
            Request::Encode { .. } => {}
        }
        self.open.remove(&job);
        self.events.push_back(Event::Finished { job });
    }

    fn open(&mut self, job: JobId) {
        let (pack, source) = (Arc::new(self.pack.clone()), self.source.clone());
        self.events.push_back(Event::PackOpened { job, pack, source });
    }

    /// Opens the pack again after a restart, as soon as openings are answered.
    pub fn reopen(&mut self) {
        let job = JobId::RESTART;
        if self.mute_openings {
            let progress = Progress { stage: Stage::ReadingWeights, done: 0, total: 1, left: None };
            self.events.push_back(Event::Progressed { job, progress });
        } else if let Some(reason) = self.pack_error.clone() {
            self.events.push_back(Event::Failed { job, reason });
        } else {
            self.open(job);
            self.events.push_back(Event::Finished { job });
        }
    }

    /// Throws all clips away, as a store does that is too small.
    pub fn forget_clips(&mut self) {
        self.store.clear();
    }

    /// The refined clips as a disk would have them at the next start.
    pub fn disk(&self) -> HashMap<ClipKey, StoredClip> {
        let refined = |stored: &StoredClip| stored.quality == ClipQuality::Refined;
        let clips = self.store.iter().filter(|(_, stored)| refined(stored));
        clips.map(|(key, stored)| (*key, stored.clone())).collect()
    }

    fn coarse(&mut self, job: JobId, path: &Path) {
        let key = ClipKey::coarse(&pack().id, path);
        if !self.store.contains_key(&key) {
            self.coarse_decodes += 1;
            let clip = scene::clip(ENVIRONMENT, path.clips.len() - 1, true);
            self.store.insert(key, StoredClip { clip, quality: ClipQuality::Coarse });
        }
        let quality = ClipQuality::Coarse;
        self.events.push_back(Event::ClipReady { job, key, quality });
    }

    /// Whether the job came to its end.
    fn refine(&mut self, job: JobId, path: &Path, sampling: &Sampling) -> bool {
        let key = ClipKey::refined(&pack().id, path, sampling);
        let quality = match self.refining {
            Refining::Done => ClipQuality::Refined,
            Refining::Stuck(step) => ClipQuality::Preview { step, of: 35 },
        };
        let known = self.store.get(&key).is_some_and(|stored| stored.quality >= quality);
        if !known {
            self.refined_decodes += 1;
            let mut clip = scene::clip(ENVIRONMENT, path.clips.len() - 1, false);
            if self.sketches && quality != ClipQuality::Refined {
                let small = |frame: &Frame| imageops::thumbnail(frame, 12, 8);
                clip = Arc::new(clip.iter().map(small).collect());
            }
            self.store.insert(key, StoredClip { clip, quality });
        }
        if let Refining::Stuck(done) = self.refining {
            let left = Some(Duration::from_secs(41));
            let progress = Progress { stage: Stage::Refining, done, total: 35, left };
            self.events.push_back(Event::Progressed { job, progress });
        }
        self.events.push_back(Event::Measured { job, taken: self.taken });
        self.events.push_back(Event::ClipReady { job, key, quality });
        self.refining == Refining::Done
    }

    /// Kills the engine: what it was asked for is never answered.
    pub fn die(&mut self) {
        self.open.clear();
        let reason = "the graphics device was lost".to_owned();
        self.events.push_back(Event::Died { reason });
    }
}

impl Engine for FakeEngine {
    fn send(&mut self, request: Request) -> JobId {
        let mut script = self.0.borrow_mut();
        script.next_job += 1;
        let job = JobId(script.next_job);
        script.requests.push(request.clone());
        script.answer(job, request);
        job
    }

    fn cancel(&mut self, job: JobId) {
        let mut script = self.0.borrow_mut();
        if script.open.remove(&job) {
            script.cancelled.insert(job);
            script.events.push_back(Event::Cancelled { job });
        }
    }

    fn cancel_all(&mut self) {
        let open: Vec<JobId> = self.0.borrow().open.iter().copied().collect();
        for job in open {
            self.cancel(job);
        }
    }

    fn set_paused(&mut self, paused: bool) {
        let mut script = self.0.borrow_mut();
        script.paused = paused;
        let running = script.open.iter().next().copied();
        if let Some(job) = running.filter(|_| paused) {
            script.events.push_back(Event::Held { job });
        }
    }

    fn poll(&mut self) -> Option<Event> {
        self.0.borrow_mut().events.pop_front()
    }

    fn clip(&self, key: ClipKey) -> Option<StoredClip> {
        self.0.borrow().store.get(&key).cloned()
    }

    fn keeps(&self, key: ClipKey) -> bool {
        self.0.borrow().store.contains_key(&key)
    }

    fn memory(&self) -> (usize, usize) {
        (38 << 20, 512 << 20)
    }

    fn restart(&mut self) -> bool {
        let mut script = self.0.borrow_mut();
        script.restarts += 1;
        script.reopen();
        true
    }
}
