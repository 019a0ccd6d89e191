//! Finished clips, shared between the worker that paints them and whoever shows them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::tensor::{Device, Tensor, TensorData};

use super::{ClipKey, ClipQuality};
use crate::media::{Clip, Frame};

/// A video at full precision in host memory, as the next clip needs it to go on exactly.
#[derive(Debug, Clone, PartialEq)]
pub struct HostVideo {
    /// `[1, 3, time, height, width]`.
    shape: [usize; 5],
    values: Vec<f32>,
}

impl HostVideo {
    /// Reads a video `[1, 3, time, height, width]` back from its device.
    pub fn read(video: Tensor<5>) -> Self {
        let shape = video.dims();
        let values =
            video.into_data().convert::<f32>().try_into_vec().expect("converted to f32 just above");
        Self { shape, values }
    }

    /// A video `[1, 3, time, height, width]` from its numbers.
    pub(super) fn of(shape: [usize; 5], values: Vec<f32>) -> Self {
        Self { shape, values }
    }

    pub(super) fn shape(&self) -> [usize; 5] {
        self.shape
    }

    pub(super) fn values(&self) -> &[f32] {
        &self.values
    }

    /// The same video on a device.
    pub fn on(&self, device: &Device) -> Tensor<5> {
        Tensor::from_data(TensorData::new(self.values.clone(), self.shape.to_vec()), device)
    }

    fn bytes(&self) -> usize {
        self.values.len() * size_of::<f32>()
    }
}

/// What the store hands out: the best pixels it has under a key.
#[derive(Debug, Clone)]
pub struct StoredClip {
    pub clip: Clip,
    pub quality: ClipQuality,
}

/// How often something was computed rather than found, since the store was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Decodes {
    pub coarse: u64,
    pub refined: u64,
}

/// Finished clips under their keys, least recently used ones dropped beyond a memory budget.
///
/// Clones share the same clips. A slot holds the latest value alone: a preview is replaced by the
/// next one and at last by the refined clip, and never the other way round.
///
/// # Limitations
/// A single clip larger than the budget is kept until the next one arrives.
#[derive(Debug, Clone)]
pub struct ClipStore(Arc<Mutex<Slots>>);

#[derive(Debug)]
struct Slots {
    budget: usize,
    used: usize,
    clock: u64,
    clips: HashMap<ClipKey, Slot>,
    decodes: Decodes,
}

#[derive(Debug)]
struct Slot {
    clip: Clip,
    quality: ClipQuality,
    /// What the next clip goes on from: the whole coarse video (it is also the hint of the
    /// refined clip), or the last refined frame.
    video: Option<Arc<HostVideo>>,
    last_used: u64,
}

impl Slot {
    fn bytes(&self) -> usize {
        let pixels: usize = self.clip.iter().map(|frame| frame.as_raw().len()).sum();
        pixels + self.video.as_ref().map_or(0, |video| video.bytes())
    }
}

impl ClipStore {
    /// An empty store that keeps at most `budget` bytes of pixels.
    pub fn new(budget: usize) -> Self {
        Self(Arc::new(Mutex::new(Slots {
            budget,
            used: 0,
            clock: 0,
            clips: HashMap::new(),
            decodes: Decodes::default(),
        })))
    }

    /// The pixels under `key`, if they are there.
    pub fn get(&self, key: ClipKey) -> Option<StoredClip> {
        let mut slots = self.slots();
        let slot = slots.touch(key)?;
        Some(StoredClip { clip: slot.clip.clone(), quality: slot.quality })
    }

    /// Whether there are pixels under `key`; unlike [`Self::get`] this is no use of them.
    pub fn keeps(&self, key: ClipKey) -> bool {
        self.slots().clips.contains_key(&key)
    }

    /// Bytes in use and the budget.
    pub fn memory(&self) -> (usize, usize) {
        let slots = self.slots();
        (slots.used, slots.budget)
    }

    /// Changes the budget, dropping clips if they no longer fit.
    pub fn set_budget(&self, budget: usize) {
        let mut slots = self.slots();
        slots.budget = budget;
        slots.evict(None);
    }

    /// How many clips were computed rather than found.
    pub fn decodes(&self) -> Decodes {
        self.slots().decodes
    }

    /// Keeps a coarse clip and hands its exact video back, which the budget may already have
    /// dropped again.
    pub(crate) fn put_coarse(
        &self,
        key: ClipKey,
        clip: Vec<Frame>,
        video: HostVideo,
    ) -> Arc<HostVideo> {
        let video = Arc::new(video);
        let mut slots = self.slots();
        slots.decodes.coarse += 1;
        slots.put(key, Arc::new(clip), ClipQuality::Coarse, Some(video.clone()));
        video
    }

    pub(crate) fn put_preview(&self, key: ClipKey, clip: Vec<Frame>, step: usize, of: usize) {
        self.slots().put(key, Arc::new(clip), ClipQuality::Preview { step, of }, None);
    }

    pub(crate) fn put_refined(&self, key: ClipKey, clip: Clip, last: Arc<HostVideo>) {
        self.slots().decodes.refined += 1;
        self.put_kept(key, clip, last);
    }

    /// Puts a refined clip back that was computed another time.
    pub(crate) fn put_kept(&self, key: ClipKey, clip: Clip, last: Arc<HostVideo>) {
        self.slots().put(key, clip, ClipQuality::Refined, Some(last));
    }

    /// What the next clip goes on from, if the clip under `key` is finished and still there.
    pub(crate) fn video(&self, key: ClipKey) -> Option<Arc<HostVideo>> {
        self.slots().touch(key)?.video.clone()
    }

    // A panic elsewhere leaves whole clips behind: every change below is complete before it shows.
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    fn touch(&mut self, key: ClipKey) -> Option<&Slot> {
        self.clock += 1;
        let slot = self.clips.get_mut(&key)?;
        slot.last_used = self.clock;
        Some(slot)
    }

    fn put(
        &mut self,
        key: ClipKey,
        clip: Clip,
        quality: ClipQuality,
        video: Option<Arc<HostVideo>>,
    ) {
        let better = self.clips.get(&key).is_some_and(|s| s.quality > quality);
        if better {
            return;
        }
        self.clock += 1;
        let slot = Slot { clip, quality, video, last_used: self.clock };
        self.used += slot.bytes();
        if let Some(old) = self.clips.insert(key, slot) {
            self.used -= old.bytes();
        }
        self.evict(Some(key));
    }

    fn evict(&mut self, keep: Option<ClipKey>) {
        while self.used > self.budget {
            let oldest = self
                .clips
                .iter()
                .filter(|(key, _)| Some(**key) != keep)
                .min_by_key(|(_, slot)| slot.last_used)
                .map(|(key, _)| *key);
            let Some(oldest) = oldest else { return };
            if let Some(slot) = self.clips.remove(&oldest) {
                self.used -= slot.bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::FrameSize;
    use crate::pack::{Estimate, Job};

    const FRAME_BYTES: usize = 4 * 2 * 3;

    fn key(n: u8) -> ClipKey {
        ClipKey([n; 16])
    }

    fn frames(n: usize) -> Vec<Frame> {
        vec![Frame::new(4, 2); n]
    }

    fn video() -> HostVideo {
        HostVideo { shape: [1, 3, 1, 1, 1], values: vec![0.0; 3] }
    }

    #[test]
    fn the_least_recently_used_clip_goes_first() {
        let store = ClipStore::new(2 * FRAME_BYTES + 40);
        store.put_coarse(key(1), frames(1), video());
        store.put_coarse(key(2), frames(1), video());
        assert!(store.get(key(1)).is_some());
        store.put_coarse(key(3), frames(1), video());
        assert!(store.get(key(1)).is_some());
        assert!(store.get(key(2)).is_none());
        assert!(store.get(key(3)).is_some());
        let (used, budget) = store.memory();
        assert!(used <= budget, "{used} bytes over the budget of {budget}");
    }

    #[test]
    fn a_late_preview_never_replaces_the_refined_clip() {
        let store = ClipStore::new(1 << 20);
        store.put_preview(key(1), frames(1), 2, 8);
        assert!(store.video(key(1)).is_none(), "a preview ends no clip");
        store.put_refined(key(1), Arc::new(frames(2)), Arc::new(video()));
        store.put_preview(key(1), frames(1), 4, 8);
        let stored = store.get(key(1)).expect("was put");
        assert_eq!(stored.quality, ClipQuality::Refined);
        assert_eq!(stored.clip.len(), 2);
    }

    /// A rollout keeps all of its clips and trusts the estimate to have counted them.
    #[test]
    fn an_estimate_counts_what_is_kept() {
        let manifest = crate::pack::tests::tiny_parts().0;
        let (store, count) = (ClipStore::new(usize::MAX), manifest.frames_per_clip);
        let clip = |size: FrameSize| vec![Frame::new(size.width, size.height); count];
        let video = |frames, size: FrameSize| {
            let shape = [1, 3, frames, size.height as usize, size.width as usize];
            HostVideo { shape, values: vec![0.0; shape.iter().product()] }
        };
        let clips = 16;
        for n in 0..clips {
            let (small, large) = (manifest.coarse_size, manifest.frame_size);
            store.put_coarse(key(2 * n), clip(small), video(count, small));
            store.put_refined(key(2 * n + 1), Arc::new(clip(large)), Arc::new(video(1, large)));
        }
        let (kept, _) = store.memory();
        assert!((0..2 * clips).all(|n| store.get(key(n)).is_some()));
        let job = Job { clips: clips.into(), ..Job::default() };
        let estimated = Estimate::of(&manifest, job).clips;
        assert!(estimated >= kept as u64 && estimated < 2 * kept as u64, "{estimated} {kept}");
    }

    #[test]
    fn replacing_a_clip_gives_its_memory_back() {
        let store = ClipStore::new(1 << 20);
        for step in 0..50 {
            store.put_preview(key(1), frames(3), step, 50);
        }
        assert_eq!(store.memory().0, 3 * FRAME_BYTES);
        store.set_budget(0);
        assert_eq!(store.memory().0, 0);
    }
}
