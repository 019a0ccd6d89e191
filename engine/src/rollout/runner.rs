//! Computes the clips of a rollout, each of them once.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use burn::tensor::Tensor;

use super::{
    Candidate, ClipCache, ClipKey, ClipQuality, ClipStore, CodePrediction, HostVideo, Models,
    PackSummary, Path, RefineRequest, RefineStep, Sampling, Stage, Watch,
};
use crate::media::{self, Frame, FrameSize};
use crate::vdm::Sampler;

/// Why a rollout could not be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    #[error("cancelled")]
    Cancelled,
    #[error("this pack has no policy: choose codes or record them from a video")]
    NoPolicy,
    #[error("this pack has no diffusion model, so there is coarse video alone")]
    NoRefiner,
    #[error("this pack's policy reaches {max} clips and this rollout is that long already")]
    TooLong { max: usize },
    #[error("there is no clip to paint yet: predict one first")]
    NoClip,
    #[error("this pack does not know the task {0}")]
    UnknownTask(&'static str),
    #[error("the starting frame is {found}, this pack needs {wanted}: fit it first")]
    FrameSize { found: FrameSize, wanted: FrameSize },
    #[error("clip {clip} has {found} codes, this pack has {wanted} a clip")]
    CodeCount { clip: usize, found: usize, wanted: usize },
    #[error("code {code} of clip {clip} is outside this pack's vocabulary of {vocabulary}")]
    CodeRange { clip: usize, code: u16, vocabulary: usize },
    #[error("the diffusion model could not be loaded again: {0}")]
    Weights(String),
    #[error("the video has {found} frames, one clip takes {wanted}")]
    VideoTooShort { found: usize, wanted: usize },
}

/// The networks of a pack, and the clips they have painted.
///
/// The chain is the reference's: coarse clips go on from the last coarse frame, refined clips from
/// the last refined frame, neither clamped nor rounded in between. A clip whose refining was
/// cancelled or failed goes on where it stood when it is asked for again.
pub struct Runner {
    models: Box<dyn Models>,
    store: ClipStore,
    cache: Option<Arc<ClipCache>>,
    /// Previews decoded while one clip is sampled, evenly spread.
    previews_per_clip: usize,
    /// Stages whose kernels are compiled.
    warm: RefCell<HashSet<Stage>>,
    /// Clips that were begun and are not finished, the last one last.
    midway: RefCell<Vec<(ClipKey, Sampler)>>,
}

/// Clips that are kept to be gone on with. One of the release has latents, hint and context of about 35 MB.
const MIDWAY_CLIPS: usize = 3;

impl Runner {
    pub fn new(models: Box<dyn Models>, store: ClipStore, previews_per_clip: usize) -> Self {
        Self {
            models,
            store,
            cache: None,
            previews_per_clip,
            warm: RefCell::default(),
            midway: RefCell::default(),
        }
    }

    /// With a cache, in which refined clips are looked for before they are computed.
    pub fn keeping(self, cache: Option<Arc<ClipCache>>) -> Self {
        Self { cache, ..self }
    }

    /// Whether `stage` runs for the first time on a device that has to compile its kernels.
    fn is_cold(&self, stage: Stage) -> bool {
        self.models.compiles() && self.warm.borrow_mut().insert(stage)
    }

    /// Says that `stage` begins. Where it is cold, what is waited for until its first step is
    /// done is the warming up.
    fn begin(&self, watch: &mut dyn Watch, stage: Stage, total: usize) -> Result<(), RunError> {
        let (stage, total) =
            if self.is_cold(stage) { (Stage::WarmingUp, 1) } else { (stage, total) };
        progress(watch, stage, 0, total)
    }

    pub fn pack(&self) -> &Arc<PackSummary> {
        self.models.pack()
    }

    pub fn models(&self) -> &dyn Models {
        self.models.as_ref()
    }

    pub fn store(&self) -> &ClipStore {
        &self.store
    }

    /// Predicts the codes of the clip after `path`, with those in `fixed` set at their positions.
    ///
    /// # Errors
    /// Fails without a policy, on a path that is not of this pack, and when cancelled.
    pub fn predict(
        &self,
        path: &Path,
        fixed: &[(usize, u16)],
        sampling: &Sampling,
        watch: &mut dyn Watch,
    ) -> Result<Vec<CodePrediction>, RunError> {
        let pack = self.pack().clone();
        self.check(path)?;
        if !pack.has_policy {
            return Err(RunError::NoPolicy);
        }
        if !pack.tasks.contains(&path.task) {
            return Err(RunError::UnknownTask(path.task.label()));
        }
        for (_, code) in fixed {
            check_code(path.clips.len(), *code, pack.vocabulary())?;
        }
        if path.clips.len() >= pack.max_clips {
            return Err(RunError::TooLong { max: pack.max_clips });
        }
        let total = pack.codes_per_clip();
        let prefix: Vec<u16> = path.clips.iter().flat_map(|c| c.codes.iter().copied()).collect();
        self.begin(watch, Stage::PredictingCodes, total)?;
        let first = self.coarse_start(path);
        let mut on_code = |idx| watch.step(Stage::PredictingCodes, idx + 1, total);
        self.models
            .predict(first, path.task, &prefix, fixed, sampling, &mut on_code)
            .ok_or(RunError::Cancelled)
    }

    /// Paints the last clip of `path` coarsely, and the clips before it that are not in the store.
    ///
    /// # Errors
    /// Fails on a path that is not of this pack or has no clip, and when cancelled.
    pub fn coarse(&self, path: &Path, watch: &mut dyn Watch) -> Result<ClipKey, RunError> {
        self.check(path)?;
        let key = ClipKey::coarse(&self.pack().id, path);
        if self.store.video(key).is_some() {
            watch.clip_ready(key, ClipQuality::Coarse);
        } else {
            self.coarse_chain(path, watch)?;
        }
        Ok(key)
    }

    /// Puts those refined clips into the store that the cache has. Nothing is computed.
    ///
    /// # Errors
    /// Fails when cancelled.
    pub fn recall(&self, keys: &[ClipKey], watch: &mut dyn Watch) -> Result<(), RunError> {
        progress(watch, Stage::ReadingClips, 0, keys.len())?;
        for (done, key) in keys.iter().enumerate() {
            if self.store.video(*key).is_some() {
                watch.clip_ready(*key, ClipQuality::Refined);
            } else {
                self.recall_one(*key, watch);
            }
            progress(watch, Stage::ReadingClips, done + 1, keys.len())?;
        }
        Ok(())
    }

    /// What the clip after a refined one goes on from, if the cache has it.
    fn recall_one(&self, key: ClipKey, watch: &mut dyn Watch) -> Option<Arc<HostVideo>> {
        let (clip, last) = self.cache.as_ref()?.read(key, &self.pack().device)?;
        // Nobody goes on with what is finished.
        drop(self.take_midway(key));
        let last = Arc::new(last);
        self.store.put_kept(key, Arc::new(clip), last.clone());
        watch.clip_ready(key, ClipQuality::Refined);
        Some(last)
    }

    /// Refines the last clip of `path`, and the clips before it that are in neither store nor
    /// cache.
    ///
    /// # Errors
    /// Fails without a refiner, on a path that is not of this pack or has no clip, and when
    /// cancelled; clips that are finished by then stay in the store.
    pub fn refine(
        &self,
        path: &Path,
        sampling: &Sampling,
        watch: &mut dyn Watch,
    ) -> Result<ClipKey, RunError> {
        self.check(path)?;
        if !self.pack().has_refiner {
            return Err(RunError::NoRefiner);
        }
        let count = path.clips.len();
        let keys: Vec<ClipKey> = (1..=count)
            .map(|n| ClipKey::refined(&self.pack().id, &path.first_clips(n), sampling))
            .collect();
        let key = *keys.last().ok_or(RunError::NoClip)?;
        if self.store.video(key).is_some() {
            watch.clip_ready(key, ClipQuality::Refined);
            return Ok(key);
        }
        let found = (1..=count).rev().find_map(|n| {
            let key = keys[n - 1];
            let last = self.store.video(key).or_else(|| self.recall_one(key, watch));
            Some((n, last?))
        });
        let (done, mut first) = match found {
            Some((n, _)) if n == count => return Ok(key),
            Some((n, last)) => (n, last.on(self.models.device())),
            None => {
                let start = media::tensor_from_frames(&[&path.start], self.models.device());
                (0, media::resize_bilinear(start, self.pack().refined_size(sampling.scale)))
            }
        };
        for n in done + 1..=count {
            let prefix = path.first_clips(n);
            let coarse = self.coarse_chain(&prefix, watch)?;
            let mut midway = self.take_midway(keys[n - 1]);
            let video = self.refine_clip(
                keys[n - 1],
                RefineRequest {
                    first,
                    coarse: coarse.on(self.models.device()),
                    codes: &path.clips[n - 1].codes,
                    seed: path.clips[n - 1].seed,
                    steps: sampling.refine_steps,
                    guidance: sampling.guidance,
                    midway: &mut midway,
                },
                watch,
            );
            if let Some(sampler) = midway {
                self.keep_midway(keys[n - 1], sampler);
            }
            let video = video?;
            first = media::last_frame(video.clone());
            let clip = Arc::new(media::frames_from_tensor(video));
            let last = Arc::new(HostVideo::read(first.clone()));
            self.store.put_refined(keys[n - 1], clip.clone(), last.clone());
            if let Some(cache) = &self.cache {
                cache.write(keys[n - 1], &self.pack().device, clip, last);
            }
            watch.clip_ready(keys[n - 1], ClipQuality::Refined);
        }
        Ok(key)
    }

    /// The `count` most likely first codes of the clip after `path`, each followed by the most
    /// likely rest and painted coarsely.
    ///
    /// # Errors
    /// As [`Self::predict`] and [`Self::coarse`].
    pub fn candidates(
        &self,
        path: &Path,
        count: usize,
        sampling: &Sampling,
        watch: &mut dyn Watch,
    ) -> Result<Vec<Candidate>, RunError> {
        let greedy = Sampling { temperature: 0.0, ..sampling.clone() };
        let best = self.predict(path, &[], &greedy, watch)?;
        let mut candidates = Vec::with_capacity(count);
        for (code, probability) in best[0].alternatives.clone().into_iter().take(count) {
            let predictions = if code == best[0].code {
                best.clone()
            } else {
                self.predict(path, &[(0, code)], &greedy, watch)?
            };
            let codes = predictions.iter().map(|p| p.code).collect();
            let path = path.then(codes, sampling.seed);
            let video = self.coarse_chain(&path, watch)?;
            let last = media::last_frame(video.on(self.models.device()));
            let outcome = media::frames_from_tensor(last).remove(0);
            candidates.push(Candidate { code, probability, predictions, outcome });
        }
        Ok(candidates)
    }

    /// The codes of a video, clip after clip; neighbouring clips share a frame.
    ///
    /// A last clip that lacks less than half of its frames is completed by holding its last frame,
    /// otherwise it is left out.
    ///
    /// # Errors
    /// Fails on frames of the wrong size, on a video shorter than one clip, and when cancelled.
    pub fn encode(
        &self,
        frames: &[Frame],
        watch: &mut dyn Watch,
    ) -> Result<Vec<Vec<u16>>, RunError> {
        let pack = self.pack().clone();
        for frame in frames {
            self.check_frame(frame)?;
        }
        let clips = media::split_clips(frames, pack.frames_per_clip);
        if clips.is_empty() {
            let wanted = pack.frames_per_clip;
            return Err(RunError::VideoTooShort { found: frames.len(), wanted });
        }
        let mut codes = Vec::with_capacity(clips.len());
        self.begin(watch, Stage::EncodingVideo, clips.len())?;
        for clip in &clips {
            let video = media::tensor_from_frames(clip, self.models.device());
            codes.push(self.models.encode(media::resize_bilinear(video, pack.coarse_size())));
            progress(watch, Stage::EncodingVideo, codes.len(), clips.len())?;
        }
        Ok(codes)
    }

    /// The coarse video of the last clip of `path`, painting what is missing up to it.
    fn coarse_chain(&self, path: &Path, watch: &mut dyn Watch) -> Result<Arc<HostVideo>, RunError> {
        let count = path.clips.len();
        let keys: Vec<ClipKey> =
            (1..=count).map(|n| ClipKey::coarse(&self.pack().id, &path.first_clips(n))).collect();
        let found = (1..=count).rev().find_map(|n| Some((n, self.store.video(keys[n - 1])?)));
        let (done, mut first) = match found {
            Some((n, video)) if n == count => return Ok(video),
            Some((n, video)) => (n, media::last_frame(video.on(self.models.device()))),
            None => (0, self.coarse_start(path)),
        };
        let total = count - done;
        self.begin(watch, Stage::PaintingCoarse, total)?;
        let mut painted = None;
        for n in done + 1..=count {
            let video = self.models.coarse(first, &path.clips[n - 1].codes);
            first = media::last_frame(video.clone());
            let host = HostVideo::read(video.clone());
            let frames = media::frames_from_tensor(video);
            painted = Some(self.store.put_coarse(keys[n - 1], frames, host));
            watch.clip_ready(keys[n - 1], ClipQuality::Coarse);
            progress(watch, Stage::PaintingCoarse, n - done, total)?;
        }
        painted.ok_or(RunError::NoClip)
    }

    fn take_midway(&self, key: ClipKey) -> Option<Sampler> {
        let mut kept = self.midway.borrow_mut();
        let at = kept.iter().position(|(of, _)| *of == key)?;
        Some(kept.remove(at).1)
    }

    fn keep_midway(&self, key: ClipKey, sampler: Sampler) {
        let mut kept = self.midway.borrow_mut();
        if kept.len() == MIDWAY_CLIPS {
            kept.remove(0);
        }
        kept.push((key, sampler));
    }

    fn refine_clip(
        &self,
        key: ClipKey,
        request: RefineRequest<'_>,
        watch: &mut dyn Watch,
    ) -> Result<Tensor<5>, RunError> {
        self.begin(watch, Stage::Refining, request.steps)?;
        let previews = self.previews_per_clip;
        self.models.refine(request, &mut |step| match step {
            RefineStep::Sampled { done, of, sketched, preview } => {
                watch.step(Stage::Refining, done, of)?;
                // The last step's estimate is about to be decoded as the clip itself.
                if done < of && (done * (previews + 1)) / of > ((done - 1) * (previews + 1)) / of {
                    if !sketched && self.is_cold(Stage::DecodingVideo) {
                        watch.step(Stage::WarmingUp, 0, 1)?;
                    }
                    let Some(video) = preview(&mut || watch.step(Stage::Refining, done, of)) else {
                        return ControlFlow::Break(());
                    };
                    self.store.put_preview(key, media::frames_from_tensor(video), done, of);
                    watch.clip_ready(key, ClipQuality::Preview { step: done, of });
                }
                ControlFlow::Continue(())
            }
            RefineStep::Decoded { done: 0, .. } if self.is_cold(Stage::DecodingVideo) => {
                watch.step(Stage::WarmingUp, 0, 1)
            }
            RefineStep::Decoded { done, of } => watch.step(Stage::DecodingVideo, done, of),
        })
    }

    /// The starting frame as the dLDM sees it, `[1, 3, 1, coarse height, coarse width]`.
    fn coarse_start(&self, path: &Path) -> Tensor<5> {
        let frame = media::tensor_from_frames(&[&path.start], self.models.device());
        media::resize_bilinear(frame, self.pack().coarse_size())
    }

    fn check(&self, path: &Path) -> Result<(), RunError> {
        let pack = self.pack();
        self.check_frame(&path.start)?;
        for (clip, choice) in path.clips.iter().enumerate() {
            let (found, wanted) = (choice.codes.len(), pack.codes_per_clip());
            if found != wanted {
                return Err(RunError::CodeCount { clip, found, wanted });
            }
            for code in &choice.codes {
                check_code(clip, *code, pack.vocabulary())?;
            }
        }
        Ok(())
    }

    fn check_frame(&self, frame: &Frame) -> Result<(), RunError> {
        let (found, wanted) = (FrameSize::of(frame), self.pack().frame_size());
        if found == wanted { Ok(()) } else { Err(RunError::FrameSize { found, wanted }) }
    }
}

fn check_code(clip: usize, code: u16, vocabulary: usize) -> Result<(), RunError> {
    if usize::from(code) < vocabulary {
        Ok(())
    } else {
        Err(RunError::CodeRange { clip, code, vocabulary })
    }
}

fn progress(
    watch: &mut dyn Watch,
    stage: Stage,
    done: usize,
    total: usize,
) -> Result<(), RunError> {
    match watch.step(stage, done, total) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(RunError::Cancelled),
    }
}
