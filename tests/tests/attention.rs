//! The attention kernel of graphics cards beside the processor's attention, and its translations.
//! It runs on the machine's Vulkan adapter, be it software.

use burn::tensor::{DType, Device, Distribution, Tensor};
use engine::fused_attention::FusedAttention;
use engine::gpu::{self, DeviceChoice};
use engine::vdm::attention;
use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};

/// Normally distributed numbers that `dtype` holds, `[batch, heads, tokens, head_dim]`.
fn draw(shape: [usize; 4], dtype: DType) -> Tensor<4> {
    let normal = Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex());
    normal.cast(dtype).cast(DType::F32)
}

/// The largest difference to the processor's attention in single precision. Values are at most five;
/// the result in halves is off by the half of their last digit.
fn difference(
    batch: usize,
    heads: usize,
    queries: usize,
    keys: usize,
    dim: usize,
    dtype: DType,
) -> f32 {
    let card = gpu::choose(DeviceChoice::Vulkan).expect("a Vulkan adapter, software or not").device;
    let q = draw([batch, heads, queries, dim], dtype);
    let [k, v] = [(); 2].map(|()| draw([batch, heads, keys, dim], dtype));
    // Tensors as the transformer gives them: heads behind tokens in memory.
    let on_card = |x: &Tensor<4>| {
        let tokens_first = x.clone().swap_dims(1, 2).to_device(&card).cast(dtype);
        (tokens_first * 1.0).swap_dims(1, 2)
    };
    let [cq, ck, cv] = [&q, &k, &v].map(on_card);
    assert!(FusedAttention::of(&cq, &ck, &cv).is_some(), "the kernel does not run on {card:?}");
    let found = attention(cq, ck, cv, None).cast(DType::F32).to_device(&Device::flex());
    let wanted = attention(q, k, v, None);
    (found - wanted).abs().max().into_scalar::<f32>()
}

#[test]
fn the_kernel_agrees_with_the_processor() {
    // Heads of the small pack, of golden cases and of the release; tokens that fill no workgroup,
    // exactly one, and several with a rest.
    for (batch, heads, queries, keys, dim) in [
        (1, 6, 75, 75, 32),
        (2, 2, 10, 7, 12),
        (1, 1, 64, 64, 128),
        (1, 3, 130, 200, 64),
        (1, 2, 65, 512, 128),
    ] {
        let apart = difference(batch, heads, queries, keys, dim, DType::F32);
        assert!(apart < 2e-5, "{heads} heads of {dim}, {queries} x {keys}: {apart}");
        let apart = difference(batch, heads, queries, keys, dim, DType::F16);
        assert!(apart < 2e-3, "{heads} heads of {dim}, {queries} x {keys} in halves: {apart}");
    }
}

#[test]
fn launches_add_up_to_the_whole() {
    let card = gpu::choose(DeviceChoice::Vulkan).expect("a Vulkan adapter, software or not").device;
    let [q, k, v] = [300, 90, 90].map(|tokens| draw([1, 2, tokens, 32], DType::F32));
    let wanted = attention(q.clone(), k.clone(), v.clone(), None);
    let [q, k, v] = [q, k, v].map(|x| x.to_device(&card));
    let kernel = FusedAttention::of(&q, &k, &v).expect("small heads");
    // One workgroup of 64 queries a launch; two.
    for scores in [1, 2 * 2 * 64 * 90] {
        let found = kernel.run(q.clone(), k.clone(), v.clone(), scores).to_device(&Device::flex());
        let apart = (found - wanted.clone()).abs().max().into_scalar::<f32>();
        assert!(apart < 2e-5, "{scores} scores a launch: {apart}");
    }
}

#[test]
fn gradients_and_the_processor_do_without_the_kernel() {
    let q = draw([1, 1, 8, 32], DType::F32);
    assert!(FusedAttention::of(&q, &q, &q).is_none());
    let card = gpu::choose(DeviceChoice::Vulkan).expect("a Vulkan adapter, software or not").device;
    let q = q.to_device(&card);
    assert!(FusedAttention::of(&q, &q, &q).is_some());
    let trained = Tensor::ones([1, 1, 8, 32], &card.autodiff());
    assert!(FusedAttention::of(&trained, &trained, &trained).is_none());
}

#[test]
fn its_source_is_valid_and_translates_for_every_interface() {
    for half in [false, true] {
        let kernel = FusedAttention { half, queries: 37_440, keys: 512, head_dim: 96 };
        let source = kernel.wgsl();
        let number = if half { "alias Number = f16;" } else { "alias Number = f32;" };
        for line in [number, "QUERY_COUNT = 37440u", "KEY_COUNT = 512u", "HEAD_DIM = 96u"] {
            assert!(source.contains(line), "{line} is not in the source");
        }
        let module = naga::front::wgsl::parse_str(&source)
            .unwrap_or_else(|error| panic!("{}", error.emit_to_string(&source)));
        let info = Validator::new(ValidationFlags::all(), Capabilities::SHADER_FLOAT16)
            .validate(&module)
            .unwrap_or_else(|error| panic!("{}", error.emit_to_string(&source)));
        let words = spv::write_vec(&module, &info, &spv::Options::default(), None);
        assert_eq!(words.expect("SPIR-V")[0], 0x0723_0203);
        let (text, _) = msl::write_string(
            &module,
            &info,
            &msl::Options::default(),
            &msl::PipelineOptions::default(),
        )
        .expect("Metal");
        assert!(text.contains("kernel void"));
        let mut text = String::new();
        let options = hlsl::Options { shader_model: hlsl::ShaderModel::V6_2, ..Default::default() };
        hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default())
            .write(&module, &info, None)
            .expect("HLSL");
        assert!(text.contains("numthreads(16, 16, 1)"));
    }
}
