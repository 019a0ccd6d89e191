//! What the causal layers of the video VAE remember while a clip passes through in chunks.

use std::collections::VecDeque;

use burn::tensor::Tensor;

/// What every causal layer remembers, in the order in which the layers run, and in each of them its
/// bands.
///
/// A whole clip is a stream of a single chunk, so both ways run the same code.
#[derive(Debug)]
pub(super) struct Stream {
    past: VecDeque<Option<Tensor<5>>>,
    at_start: bool,
    keeps: bool,
    band: usize,
}

impl Stream {
    /// A clip that arrives in several chunks. Layers compute so many numbers of a frame at a time.
    pub(super) fn chunked(band: usize) -> Self {
        Self { past: VecDeque::new(), at_start: true, keeps: true, band }
    }

    /// A clip that arrives at once: nothing has to be remembered.
    pub(super) fn whole(band: usize) -> Self {
        Self { keeps: false, ..Self::chunked(band) }
    }

    /// Numbers of a frame that a layer computes at a time.
    pub(super) fn band(&self) -> usize {
        self.band
    }

    /// Whether the current chunk holds the first frame of the clip.
    pub(super) fn at_start(&self) -> bool {
        self.at_start
    }

    /// What the running layer remembered in the chunk before, `[batch, frames, channel, height, width]`.
    pub(super) fn recall(&mut self) -> Option<Tensor<5>> {
        if self.at_start {
            return None;
        }
        // Every band of a layer recalls and remembers once a chunk, so the oldest entry is its own.
        self.past.pop_front().flatten()
    }

    /// Keeps frames for the running layer's next chunk.
    pub(super) fn remember(&mut self, frames: impl FnOnce() -> Option<Tensor<5>>) {
        if self.keeps {
            self.past.push_back(frames());
        }
    }

    /// To be called when a chunk has passed all layers.
    pub(super) fn end_chunk(&mut self) {
        self.at_start = false;
    }
}
