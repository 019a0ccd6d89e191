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
            let clip = Arc::new(PoolClip { frames: episode.clip(k, size).frames });
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
