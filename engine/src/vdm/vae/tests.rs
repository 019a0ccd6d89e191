//! What the golden cases do not cover: patches, training and the small preset.

use burn::tensor::{Device, Distribution, Tensor};

use super::{VAE_KEYS, VideoVae, VideoVaeConfig};
use crate::weights::Weights;

fn tiny() -> VideoVaeConfig {
    VideoVaeConfig {
        dim: 4,
        z_dim: 4,
        temporal_window: 4,
        latent_mean: vec![0.1, -0.2, 0.3, 0.0],
        latent_std: vec![0.5, 1.5, 2.0, 1.0],
        ..VideoVaeConfig::craft_mini()
    }
}

fn video(shape: [usize; 5], device: &Device) -> Tensor<5> {
    Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), device)
}

fn largest(x: Tensor<5>) -> f32 {
    x.abs().max().into_scalar()
}

#[test]
fn chunks_and_the_whole_clip_agree() {
    let device = Device::flex();
    let vae = tiny().init(&device);
    let clip = video([2, 3, 13, 16, 24], &device);
    let latents = vae.encode(clip.clone());
    assert_eq!(latents.dims(), [2, 4, 4, 2, 3]);
    let difference = largest(latents.clone() - vae.encode_whole(clip));
    assert!(difference < 1e-4 * largest(latents.clone()), "{difference}");

    let decoded = vae.decode(latents.clone());
    assert_eq!(decoded.dims(), [2, 3, 13, 16, 24]);
    let difference = largest(decoded.clone() - vae.decode_whole(latents.clone()));
    assert!(difference < 1e-4 * largest(decoded.clone()), "{difference}");

    let first = vae.decode(latents.narrow(2, 0, 1));
    let difference = largest(decoded.clone().narrow(2, 0, 1) - first);
    assert!(difference < 1e-4 * largest(decoded), "a clip of one frame: {difference}");
}

#[test]
fn bands_of_rows_and_whole_frames_agree() {
    let device = Device::flex();
    let whole = tiny().init(&device);
    // Two rows at a time and more; 40 pixels are odd at the coarsest level.
    for band in [1, 4 * 24 * 3, 4 * 24 * 7] {
        let banded = VideoVae { band, ..whole.clone() };
        let clip = video([2, 3, 13, 40, 24], &device);
        let latents = whole.encode(clip.clone());
        for (name, found, wanted) in [
            ("chunks to latents", banded.encode(clip.clone()), latents.clone()),
            ("whole to latents", banded.encode_whole(clip), latents.clone()),
            ("latents to chunks", banded.decode(latents.clone()), whole.decode(latents.clone())),
            ("latents to whole", banded.decode_whole(latents.clone()), whole.decode(latents)),
        ] {
            let difference = largest(found - wanted.clone());
            assert!(difference < 1e-4 * largest(wanted), "{name}, {band}: {difference}");
        }
    }
}

#[test]
fn later_frames_do_not_change_earlier_latents() {
    let device = Device::flex();
    let vae = tiny().init(&device);
    let clip = video([1, 3, 9, 16, 16], &device);
    let start = vae.encode_whole(clip.clone().narrow(2, 0, 5));
    let both = vae.encode_whole(clip).narrow(2, 0, 2);
    assert!(largest(start - both) < 1e-5);
}

#[test]
fn patches_are_undone() {
    let device = Device::flex();
    let vae = tiny().init(&device);
    let clip = video([2, 3, 5, 16, 24], &device);
    let frames = vae.to_frames(clip.clone());
    assert_eq!(frames.dims(), [2, 5, 12, 8, 12]);
    assert_eq!(largest(vae.to_video(frames) - clip), 0.0);
}

#[test]
fn normalising_is_undone() {
    let device = Device::flex();
    let vae = tiny().init(&device);
    let latents = video([1, 4, 2, 3, 3], &device);
    let there = vae.normalise(latents.clone());
    assert!(largest(there.clone() - latents.clone()) > 0.1);
    assert!(largest(vae.denormalise(there) - latents) < 1e-6);
}

#[test]
#[should_panic(expected = "frames must be one more than a multiple of 4")]
fn a_clip_of_the_wrong_length_is_refused() {
    let device = Device::flex();
    let clip = Tensor::zeros([1, 3, 6, 16, 16], &device);
    let _ = tiny().init(&device).encode(clip);
}

#[test]
fn components_make_fresh_weights_an_autoencoder() {
    let device = Device::flex();
    // Four patterns that come and go: what four latents can say of a clip.
    let patterns = video([4, 1, 1, 8, 8], &device).repeat_dim(1, 3);
    let strengths = video([4, 1, 5, 2, 3], &device);
    let cell = |row: usize, column: usize| {
        let clip = |p: usize| {
            let pattern = patterns.clone().narrow(0, p, 1);
            let strength = strengths.clone().narrow(0, p, 1);
            let steps = strength.narrow(3, row, 1).narrow(4, column, 1);
            // The first frame is a step alone, every later step is four equal frames.
            let first = steps.clone().narrow(2, 0, 1);
            let rest = steps.narrow(2, 1, 4).repeat_dim(3, 4).reshape([1, 1, 16, 1, 1]);
            pattern * Tensor::cat(vec![first, rest], 2)
        };
        (1..4).fold(clip(0), |sum, p| sum + clip(p))
    };
    let row = |r: usize| Tensor::cat((0..3).map(|c| cell(r, c)).collect(), 4);
    let clip = Tensor::cat(vec![row(0), row(1)], 3) * 0.5;
    let fresh = tiny().init(&device);
    let before = largest(fresh.decode(fresh.encode(clip.clone())) - clip.clone());
    let begun = fresh.begin_with_components(clip.clone()).unwrap();
    let weights = begun.channel_weights();
    assert!((weights.iter().sum::<f32>() / 4.0 - 1.0).abs() < 1e-4, "{weights:?}");
    assert!(weights[0] > weights[3], "the first component moves the most: {weights:?}");
    let after = largest(begun.decode(begun.encode(clip.clone())) - clip);
    assert!(before > 0.3 && after < 1e-2, "{before} {after}");
}

#[test]
fn gradients_reach_every_weight_in_bands_as_well() {
    let device = Device::flex().autodiff();
    let whole: VideoVae = tiny().init(&device);
    let banded = VideoVae { band: 4 * 8 * 2, ..whole.clone() };
    let clip = video([1, 3, 5, 16, 16], &device);
    let gradients = [whole, banded].map(|vae| {
        let moments = vae.whole_moments(clip.clone());
        let rebuilt = vae.decode_whole(vae.normalise(moments.mean));
        let loss = (rebuilt - clip.clone()).square().mean() + moments.log_variance.square().mean();
        Weights::of_gradients(&vae, &loss.backward(), &VAE_KEYS)
    });
    let all = Weights::of(&tiny().init(&device), &VAE_KEYS);
    assert_eq!(gradients[0].len(), all.len());
    assert_eq!(gradients[1].len(), all.len());
    for ((key, a), (_, b)) in gradients[0].iter().zip(gradients[1].iter()) {
        let size = a.values.iter().fold(1e-3_f32, |size, v| size.max(v.abs()));
        let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-3 * size;
        assert!(a.values.iter().all(|v| v.is_finite()), "{key}");
        assert!(a.values.iter().zip(&b.values).all(close), "{key}");
    }
}

#[test]
fn the_small_preset_makes_five_by_eight_by_twelve_latents() {
    let device = Device::flex();
    let config = VideoVaeConfig::craft_mini();
    assert_eq!(config.spatial_compression(), 8);
    assert_eq!(config.latent_steps(17), 5);
    let vae = config.init(&device);
    let latents = vae.encode_whole(video([1, 3, 17, 64, 96], &device));
    assert_eq!(latents.dims(), [1, 32, 5, 8, 12]);
    assert_eq!(vae.decode_whole(latents).dims(), [1, 3, 17, 64, 96]);
}
