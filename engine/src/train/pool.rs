//! Clips for training, drawn by a thread of their own while the networks learn.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use burn::tensor::{Device, Tensor};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::craft::{Episode, Split, Task};
use crate::media::{Frame, FrameSize, tensor_from_frames};

/// What a pool draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Key steps of the five tasks.
    Tasks,
    /// Other motions and scenes: the same appearance, none of the tasks.
    OtherMotions,
}

/// One clip of a pool.
pub struct PoolClip {
    pub frames: Vec<Frame>,
    /// Its place in its episode, from 0.
    pub step: usize,
    /// What is made in it, or none for other motions.
    pub task: Option<Task>,
}

/// Clips of training environments, growing in the background up to a capacity.
pub struct ClipPool {
    clips: Arc<Mutex<Vec<Arc<PoolClip>>>>,
    stop: Arc<AtomicBool>,
    painter: Option<JoinHandle<()>>,
}

impl ClipPool {
    /// Starts drawing episodes from `first_seed` on and waits for the first `wait_for` clips.
    pub fn start(
        subject: Subject,
        size: FrameSize,
        first_seed: u64,
        capacity: usize,
        wait_for: usize,
    ) -> Self {
        let clips = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let painter = {
            let (clips, stop) = (clips.clone(), stop.clone());
            thread::Builder::new()
                .name("clip painter".into())
                .spawn(move || paint(subject, size, first_seed, capacity, &clips, &stop))
                .expect("the system has a thread to spare at the start of training")
        };
        let pool = Self { clips, stop, painter: Some(painter) };
        while pool.len() < wait_for.min(capacity) {
            thread::sleep(Duration::from_millis(20));
        }
        pool
    }

    pub fn len(&self) -> usize {
        self.clips.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `count` clips drawn with replacement.
    pub fn sample(&self, count: usize, rng: &mut ChaCha8Rng) -> Vec<Arc<PoolClip>> {
        let clips = self.clips.lock().unwrap_or_else(PoisonError::into_inner);
        (0..count).map(|_| clips[rng.random_range(0..clips.len())].clone()).collect()
    }

    /// The clip after each of `places` in its episode, or the first of an episode drawn with
    /// replacement where there is none; `places` become those of the result.
    pub fn walk(&self, places: &mut [Option<usize>], rng: &mut ChaCha8Rng) -> Vec<Arc<PoolClip>> {
        let clips = self.clips.lock().unwrap_or_else(PoisonError::into_inner);
        let step = |place: &mut Option<usize>| {
            let next = place.map(|at| at + 1);
            let at = next.filter(|at| clips.get(*at).is_some_and(|clip| clip.step > 0));
            let at = at.unwrap_or_else(|| {
                let drawn = rng.random_range(0..clips.len());
                drawn - clips[drawn].step
            });
            *place = Some(at);
            clips[at].clone()
        };
        places.iter_mut().map(step).collect()
    }
}

impl Drop for ClipPool {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(painter) = self.painter.take() {
            painter.join().ok();
        }
    }
}

fn paint(
    subject: Subject,
    size: FrameSize,
    first_seed: u64,
    capacity: usize,
    clips: &Mutex<Vec<Arc<PoolClip>>>,
    stop: &AtomicBool,
) {
    let mut painted = 0;
    for seed in first_seed.. {
        let task = Task::ALL[(seed % Task::ALL.len() as u64) as usize];
        let episode = match subject {
            Subject::Tasks => Episode::sample(task, Split::Train, seed),
            Subject::OtherMotions => Episode::free(Split::Train, seed),
        };
        for k in 0..episode.num_clips() {
            if painted == capacity || stop.load(Ordering::Relaxed) {
                return;
            }
            let (frames, task) = (episode.clip(k, size).frames, episode.task);
            let clip = Arc::new(PoolClip { frames, step: k, task });
            clips.lock().unwrap_or_else(PoisonError::into_inner).push(clip);
            painted += 1;
        }
    }
}

/// Clips of equal size and length as one tensor `[batch, 3, time, height, width]` in `[-1, 1]`.
pub fn stack(clips: &[&[Frame]], device: &Device) -> Tensor<5> {
    let clips = clips.iter().map(|clip| {
        let frames: Vec<&Frame> = clip.iter().collect();
        tensor_from_frames(&frames, device)
    });
    Tensor::cat(clips.collect(), 0)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn a_walk_goes_through_episodes_from_their_first_clip_to_their_last() {
        let size = FrameSize { height: 16, width: 24 };
        let pool = ClipPool::start(Subject::Tasks, size, 0, 18, 18);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut places = [None; 2];
        let mut before: Option<Vec<Arc<PoolClip>>> = None;
        for _ in 0..40 {
            let clips = pool.walk(&mut places, &mut rng);
            for (row, clip) in clips.iter().enumerate() {
                match &before {
                    Some(before) if clip.step > 0 => {
                        assert_eq!(clip.step, before[row].step + 1);
                        assert_eq!(clip.frames.first(), before[row].frames.last());
                    }
                    _ => assert_eq!(clip.step, 0),
                }
            }
            before = Some(clips);
        }
    }
}
