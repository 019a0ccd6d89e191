//! The small model as a whole: what the golden cases, which know only the release, do not cover.

use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, Distribution, Tensor};

use super::standardize::Standardize;
use super::{Dldm, DldmConfig, KEYS};
use crate::checkpoint::{Source, StateDict};
use crate::weights::{self, Precision, Weights};

fn tiny() -> DldmConfig {
    DldmConfig { channels: 4, z_channels: 8, connector_channels: 8, ..DldmConfig::craft_mini() }
}

/// Two clips of noise that is smooth in time.
fn clips(device: &Device) -> Tensor<5> {
    let noise = Tensor::random([2, 3, 17, 16, 16], Distribution::Uniform(-1.0, 1.0), device);
    noise.cumsum(2) * 0.2
}

fn largest_difference<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    (a - b).abs().max().into_scalar()
}

fn model(config: &DldmConfig, device: &Device) -> Dldm {
    device.seed(7);
    config.init(device)
}

#[test]
fn a_small_clip_has_five_steps_and_sixteen_codes() {
    let device = Device::flex();
    let model = model(&DldmConfig::craft_mini(), &device);
    let video = Tensor::zeros([1, 3, 17, 32, 48], &device);
    let encoded = model.encode(video.clone());
    let [_, channels, steps, height, width] = encoded.features.dims();
    assert_eq!([channels, steps, height, width], [48, 5, 4, 6]);
    assert_eq!(encoded.z.dims(), [1, 4, 16]);
    let quantized = model.quantize(encoded.z);
    assert_eq!(quantized.indices.dims(), [1, 16]);
    assert_eq!(model.connect(quantized.codes.clone()).dims(), [1, 16, 128]);
    let frame = video.clone().narrow(2, 0, 1);
    assert_eq!(model.decode_from_frame(frame, quantized.codes).dims(), video.dims());
}

#[test]
fn later_frames_change_neither_earlier_features_nor_earlier_codes() {
    let device = Device::flex();
    let model = model(&tiny(), &device);
    let video = clips(&device);
    let other = Tensor::cat(vec![video.clone().narrow(2, 0, 9), clips(&device).narrow(2, 9, 8)], 2);
    let (a, b) = (model.encode(video), model.encode(other));
    let early = |x: &Tensor<5>| x.clone().narrow(2, 0, 3);
    assert!(largest_difference(early(&a.features), early(&b.features)) < 1e-5);
    assert!(largest_difference(a.z.clone().narrow(2, 0, 8), b.z.clone().narrow(2, 0, 8)) < 1e-6);
    assert!(largest_difference(a.z, b.z) > 1e-5, "later codes must see later frames");
}

#[test]
fn standardised_queries_have_deviation_one_and_settle_there() {
    let device = Device::flex();
    let layer = Standardize::new(4, 4, &device);
    let z = Tensor::random([8, 4, 16], Distribution::Normal(0.5, 0.01), &device);
    let deviation = |z: Tensor<3>| z.square().mean().sqrt().into_scalar::<f32>();
    assert!((deviation(layer.forward_train(z.clone())) - 1.0).abs() < 0.01);
    assert!(deviation(layer.forward(z.clone())) < 0.9, "one batch is not yet the running mean");
    for _ in 0..300 {
        layer.forward_train(z.clone());
    }
    assert!((deviation(layer.forward(z)) - 1.0).abs() < 0.05);
}

#[test]
fn running_statistics_are_saved_with_the_weights() {
    let device = Device::flex();
    let model = model(&tiny(), &device);
    let video = clips(&device);
    model.forward_train(video.clone());
    let z = model.encode(video.clone()).z;
    let saved = Weights::of(&model, &KEYS).to_safetensors(Precision::F32).expect("to file");
    let source = Source::Memory(saved.into());
    let again = StateDict::safetensors("saved".to_owned(), source).expect("from file");
    let again = weights::load(&again, tiny().init(&device), &KEYS, Precision::F32).expect("fits");
    assert!(largest_difference(again.encode(video).z, z) < 1e-6);
}

#[test]
fn a_fresh_model_that_covers_the_first_frame_nearly_repeats_it() {
    let device = Device::flex();
    let model = model(&DldmConfig { covers_first_frame: true, ..tiny() }, &device);
    let video = clips(&device);
    let frame = video.clone().narrow(2, 0, 1);
    let codes = model.quantize(model.encode(video.clone()).z).codes;
    let painted = model.decode_from_frame(frame.clone(), codes);
    let change = (painted - frame).square().mean().sqrt().into_scalar::<f32>();
    assert!(change < 0.1, "{change}");
}

#[test]
fn another_start_changes_the_picture_and_not_the_codes() {
    let device = Device::flex();
    let model = model(&DldmConfig { covers_first_frame: true, ..tiny() }, &device);
    let video = clips(&device);
    let own = model.forward_train(video.clone());
    let codes = model.codes_in_training(video.clone());
    assert_eq!(largest_difference(codes.clone(), own.codes), 0.0);
    let painted = model.decode_from_frame(video.clone().narrow(2, 0, 1), codes.clone());
    assert!(largest_difference(own.recon.clone(), painted) < 1e-5);
    let start = video.narrow(2, 0, 1) * 0.0 + 0.7;
    assert!(largest_difference(own.recon, model.decode_from_frame(start, codes)) > 0.1);
}

#[test]
fn fixed_codes_stay_and_the_decoder_learns() {
    let device = Device::flex().autodiff();
    let config = DldmConfig { covers_first_frame: true, ..tiny() };
    let mut model = model(&config, &device).with_fixed_codes();
    let video = clips(&device);
    let codes_of = |model: &Dldm| model.quantize(model.encode(video.clone()).z).codes;
    let before = (codes_of(&model).inner(), queries(&model));
    let mut optimizer = AdamWConfig::new().init();
    let mut errors = Vec::new();
    for _ in 0..15 {
        let painted = model.paint(video.clone().narrow(2, 0, 1), codes_of(&model));
        let loss = (painted.video - video.clone()).square().mean();
        errors.push(loss.clone().inner().into_scalar::<f32>());
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(3e-4, model, gradients);
    }
    assert!(errors[14] < 0.9 * errors[0], "{errors:?}");
    assert_eq!(before.1, queries(&model));
    assert_eq!(largest_difference(codes_of(&model).inner(), before.0), 0.0);
}

#[test]
fn training_lowers_the_error_and_moves_the_queries() {
    let device = Device::flex().autodiff();
    let mut model = model(&tiny(), &device);
    let before = queries(&model);
    let video = clips(&device);
    let mut optimizer = AdamWConfig::new().init();
    let mut errors = Vec::new();
    for _ in 0..15 {
        let out = model.forward_train(video.clone());
        let loss = (out.recon - video.clone()).square().mean();
        errors.push(loss.clone().inner().into_scalar::<f32>());
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(3e-4, model, gradients);
    }
    assert!(errors[14] < 0.9 * errors[0], "{errors:?}");
    assert_ne!(before, queries(&model));
}

fn queries(model: &Dldm) -> Vec<f32> {
    let weights = Weights::of(&model.valid(), &KEYS);
    weights.get("network.encoder.act.weight").expect("the learned queries").values.clone()
}
