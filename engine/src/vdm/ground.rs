//! What a clip changes: the frame it begins with, carried along wherever the coarse video rests.
//!
//! Not in the release, whose model lays out every clip from noise. A small model need not paint
//! again what does not move, nor what the coarse video shows well enough: only the change that it
//! makes passes through its small autoencoder. What it leaves alone stays sharp through all clips
//! of a rollout.

use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Tensor, TensorData};

use super::VideoVae;
use crate::media::{FrameSize, resize_bilinear};

/// Changes of a coarse pixel, on the scale -1..=1, up to which the frame's details stay whole and
/// from which on they are gone. Of five pairs the one with the best SSIM on 80 unseen frames.
const STILL: f32 = 0.1;
const MOVED: f32 = 0.3;
/// Frames until colours that the frame has and the coarse video has not are gone. They are the
/// painter's mistakes in the clip before: at once would be a jump, never lets them add up.
const DRIFT_FRAMES: f32 = 8.0;

/// Of the noise over the ground: as much as shows that a seed was drawn, too little to be seen where
/// the network does not remove it.
pub(crate) const NOISE_SHARE: f64 = 0.2;

/// How much of the painter's change is taken. What it adds on unseen tables is as often wrong as
/// right, so half of it is nearer to the truth than all or none.
const PAINTED_SHARE: f64 = 0.5;

/// What sampling with [`Beginning::Coarse`](super::schedule::Beginning::Coarse) begins with, and
/// what it takes up again at its end.
#[derive(Debug, Clone)]
pub struct Ground {
    /// Latents of the changed frame, which lie under the first noise,
    /// `[batch, channel, step, height, width]`.
    pub latents: Tensor<5>,
    /// The changed frame, and what the autoencoder makes of it, `[batch, 3, frames, height, width]`.
    pub changed: Tensor<5>,
    pub rebuilt: Tensor<5>,
    /// 1 where the coarse video changes and the painter may paint, 0 where the frame stays as it is,
    /// `[batch, 1, frames, height, width]`.
    pub moves: Tensor<5>,
}

impl Ground {
    /// The ground of a clip that begins with `frame`, `[batch, 3, 1, height, width]`, and changes
    /// it as `coarse` changes, `[batch, 3, frames, any, any]`.
    pub fn new(vae: &VideoVae, frame: Tensor<5>, coarse: Tensor<5>) -> Self {
        let (changed, moves) = changed_frame(frame, coarse);
        let latents = vae.encode(changed.clone());
        let rebuilt = vae.decode(latents.clone());
        Self { latents, changed, rebuilt, moves }
    }

    /// Sampled latents, `[batch, channel, step, height, width]`, led back towards the ground's.
    pub fn temper(&self, latents: Tensor<5>) -> Tensor<5> {
        self.latents.clone() + (latents - self.latents.clone()) * PAINTED_SHARE
    }

    /// The changed frame with what a decoded clip, `[batch, 3, frames, height, width]`, has of its
    /// own. Where nothing moves that is left out: it would only be the seams of the painter's patches.
    pub fn restore(&self, video: Tensor<5>) -> Tensor<5> {
        self.changed.clone() + (video - self.rebuilt.clone()) * self.moves.clone()
    }

    /// The changed frame itself, `[batch, 3, frames, height, width]`: what a painter that does
    /// nothing leaves.
    pub fn untouched(&self) -> Tensor<5> {
        self.changed.clone()
    }
}

/// A coarse video, as sharp as the frame it begins with wherever it shows no change. Where it does
/// change, the frame's details would be those of what was there before. Colours come from the
/// coarse video in the end: in a rollout it goes its own way, and the frame that the painter ended
/// with may have drifted from it.
///
/// Also says where it changes, from 0 to 1, `[batch, 1, frames, height, width]`.
///
/// # Shapes
/// `frame` `[batch, 3, 1, height, width]`, `coarse` `[batch, 3, frames, any, any]`
fn changed_frame(frame: Tensor<5>, coarse: Tensor<5>) -> (Tensor<5>, Tensor<5>) {
    let size = FrameSize::of_video(&frame);
    let start = coarse.clone().narrow(2, 0, 1);
    let change = (coarse.clone() - start.clone()).abs().max_dim(1);
    let [batch, _, frames, height, width] = change.dims();
    // A pixel beside one that changes may belong to the same edge.
    let options = MaxPoolOptions::new([3, 3]).with_stride([1, 1]).with_padding([1, 1]);
    let change = max_pool2d(change.reshape([batch * frames, 1, height, width]), options);
    let change: Tensor<5> = change.reshape([batch, 1, frames, height, width]);
    let rests = ((-change + MOVED) / (MOVED - STILL)).clamp(0.0, 1.0);
    let small = resize_bilinear(frame.clone(), FrameSize::of_video(&coarse));
    let details = frame - resize_bilinear(small.clone(), size);
    let drift = resize_bilinear(small - start, size) * fading(frames, &coarse.device());
    let rests = resize_bilinear(rests, size);
    let kept = rests.clone() * (details + drift);
    ((resize_bilinear(coarse, size) + kept).clamp(-1.0, 1.0), -rests + 1.0)
}

/// From 1 down to 0 over [`DRIFT_FRAMES`], `[1, 1, frames, 1, 1]`.
fn fading(frames: usize, device: &Device) -> Tensor<5> {
    let left = |t: usize| (1.0 - t as f32 / DRIFT_FRAMES).max(0.0);
    let left: Vec<f32> = (0..frames).map(left).collect();
    Tensor::from_data(TensorData::new(left, [1, 1, frames, 1, 1]), device)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;
    use crate::vdm::VideoVaeConfig;

    fn largest(difference: Tensor<5>) -> f32 {
        difference.abs().max().into_scalar()
    }

    /// A frame of details, and a coarse video of it whose right half changes in its last frame.
    fn scene(device: &Device) -> (Tensor<5>, Tensor<5>) {
        let frame = Tensor::random([1, 3, 1, 16, 24], Distribution::Uniform(-0.5, 0.5), device);
        let still = resize_bilinear(frame.clone(), FrameSize { height: 8, width: 12 });
        let moved = still.clone().slice_fill([0..1, 0..3, 0..1, 0..8, 6..12], 0.8);
        (frame, Tensor::cat(vec![still.clone(), still, moved], 2))
    }

    #[test]
    fn details_stay_where_the_coarse_video_rests_and_go_where_it_changes() {
        let (frame, coarse) = scene(&Device::flex());
        let (painted, _) = changed_frame(frame.clone(), coarse);
        assert!(largest(painted.clone().narrow(2, 1, 1) - frame.clone()) < 1e-6);
        let last = painted.narrow(2, 2, 1);
        let (left, right) = (last.clone().narrow(4, 0, 8), last.narrow(4, 14, 10));
        assert!(largest(left - frame.narrow(4, 0, 8)) < 1e-6, "nothing moves there");
        assert!(largest(right - 0.8) < 1e-6);
    }

    #[test]
    fn colours_that_drifted_from_the_coarse_video_give_way_to_it_and_details_stay() {
        let device = Device::flex();
        // Stripes one pixel wide, which no coarse pixel shows.
        let stripes: Vec<f32> = (0..24).map(|x| if x % 2 == 0 { 0.2 } else { -0.2 }).collect();
        let stripes = Tensor::<5>::from_data(TensorData::new(stripes, [1, 1, 1, 1, 24]), &device);
        let stripes = stripes.expand([1, 3, 1, 16, 24]);
        let frame = stripes.clone() + 0.5;
        let coarse = Tensor::<5>::zeros([1, 3, 17, 8, 12], &device);
        let (painted, _) = changed_frame(frame.clone(), coarse);
        let at = |t: usize| painted.clone().narrow(2, t, 1);
        assert!(largest(at(0) - frame) < 1e-6, "a clip begins with the frame that it is given");
        assert!(largest(at(4) - stripes.clone() - 0.25) < 1e-6, "no jump on the way");
        for t in [8, 16] {
            assert!(largest(at(t) - stripes.clone()) < 1e-6);
        }
    }

    #[test]
    fn only_what_moves_is_painted_and_the_rest_stays_as_it_is() {
        let device = Device::flex();
        let vae = VideoVaeConfig::craft_mini().init(&device);
        let (frame, coarse) = scene(&device);
        let coarse = Tensor::cat(vec![coarse.clone(), coarse.clone().narrow(2, 1, 2)], 2);
        let ground = Ground::new(&vae, frame, coarse);
        assert!(largest(ground.rebuilt.clone() - ground.changed.clone()) > 0.01);
        let unpainted = ground.restore(ground.rebuilt.clone());
        assert!(largest(unpainted - ground.untouched()) < 1e-6);
        assert!(largest(ground.temper(ground.latents.clone()) - ground.latents.clone()) < 1e-6);
        let painted = ground.temper(ground.latents.clone() + 1.0) - ground.latents.clone();
        assert!(largest(painted - PAINTED_SHARE as f32) < 1e-5);

        let painted = ground.restore(ground.rebuilt.clone() + 1.0) - ground.untouched();
        let last = painted.clone().narrow(2, 4, 1);
        assert!(largest(painted.narrow(2, 0, 1)) < 1e-6, "nothing has moved yet");
        assert!(largest(last.clone().narrow(4, 0, 8)) < 1e-6, "nothing moves there");
        assert!(largest(last.narrow(4, 14, 10) - 1.0) < 1e-6);
    }
}
