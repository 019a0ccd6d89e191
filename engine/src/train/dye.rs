//! Other colours for the clips of an episode.
//!
//! The training split has few palettes. A decoder that knows them by heart paints their colours on
//! tables that it never saw; one whose blocks can have any colour has to look at the frame. Codes
//! are always those of the undyed clip: they must not carry colours.

use burn::tensor::Tensor;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

/// Share of the episodes whose channels are put in any order, one of six being their own.
const SWAPPED_SHARE: f64 = 0.5;
/// How far gain and offset of a channel go from 1 and 0.
const SHIFT: f32 = 0.1;

/// What becomes of the three channels; the same for all frames of an episode.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dye {
    /// Where each channel comes from.
    channels: [usize; 3],
    gain: [f32; 3],
    offset: [f32; 3],
}

impl Dye {
    /// Leaves the colours as they are.
    pub const NONE: Self = Self { channels: [0, 1, 2], gain: [1.0; 3], offset: [0.0; 3] };

    pub fn draw(rng: &mut ChaCha8Rng) -> Self {
        let mut channels = Self::NONE.channels;
        if rng.random_bool(SWAPPED_SHARE) {
            channels.swap(0, rng.random_range(0..3));
            channels.swap(1, rng.random_range(1..3));
        }
        let mut around = |middle: f32| [(); 3].map(|()| middle + rng.random_range(-SHIFT..=SHIFT));
        Self { channels, gain: around(1.0), offset: around(0.0) }
    }

    /// Moves every channel by its offset.
    #[cfg(test)]
    pub fn shifting(offset: [f32; 3]) -> Self {
        Self { offset, ..Self::NONE }
    }

    /// # Shapes
    /// - video: `[batch, 3, time, height, width]` in -1 to 1, result: the same
    pub fn apply(&self, video: Tensor<5>) -> Tensor<5> {
        let channel = |to: usize| {
            video.clone().narrow(1, self.channels[to], 1) * self.gain[to] + self.offset[to]
        };
        Tensor::cat((0..3).map(channel).collect(), 1).clamp(-1.0, 1.0)
    }
}

/// Each clip of a batch, `[batch, 3, time, height, width]`, in its own colours.
pub fn dyed(video: &Tensor<5>, dyes: &[Dye]) -> Tensor<5> {
    let rows = dyes.iter().enumerate().map(|(row, dye)| dye.apply(video.clone().narrow(0, row, 1)));
    Tensor::cat(rows.collect(), 0)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn a_dye_moves_channels_and_every_clip_has_its_own() {
        let device = Device::flex();
        let video = TensorData::new(vec![0.1_f32, 0.2, 0.3, 0.1, 0.2, 0.3], [2, 3, 1, 1, 1]);
        let video = Tensor::<5>::from_data(video, &device);
        let other = Dye { channels: [2, 0, 1], gain: [1.0, 1.0, 2.0], offset: [0.0, 0.5, 0.9] };
        let values: Vec<f32> =
            dyed(&video, &[Dye::NONE, other]).into_data().try_into_vec().unwrap();
        let wanted = [0.1, 0.2, 0.3, 0.3, 0.6, 1.0];
        assert!(values.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{values:?}");
    }

    #[test]
    fn all_orders_of_the_channels_are_drawn_and_none_loses_one() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut orders: Vec<[usize; 3]> = (0..200).map(|_| Dye::draw(&mut rng).channels).collect();
        orders.sort_unstable();
        orders.dedup();
        assert_eq!(orders.len(), 6);
        assert!(orders.iter().all(|order| (0..3).all(|channel| order.contains(&channel))));
    }
}
