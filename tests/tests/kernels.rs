//! Our own kernels of graphics cards beside what the processor computes, and their translations. They
//! run on the machine's Vulkan adapter, be it software; those on matrix units are ignored here, as
//! software has had such units only since Mesa 25: `tests/units.sh` runs them.

use burn::nn::{Initializer, LinearConfig};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Device, Distribution, Tensor, module};
use engine::gpu::{self, Chosen, ComputeChoice, DeviceChoice, PrecisionChoice};
use engine::kernels::{self, Convolution, FusedAttention, Kernel, MatrixUnits, Product};
use engine::vdm::attention;
use engine::weights::Precision;
use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};

/// Normally distributed numbers that `dtype` holds, `[batch, heads, tokens, head_dim]`.
fn draw(shape: [usize; 4], dtype: DType) -> Tensor<4> {
    let normal = Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex());
    normal.cast(dtype).cast(DType::F32)
}

/// The machine's Vulkan adapter, be it software, whose matrix units are in use.
fn card_in_halves() -> Device {
    let device = DeviceChoice::Vulkan;
    let chosen = gpu::choose(device).expect("a Vulkan adapter, software or not");
    let precision = PrecisionChoice::Exactly(Precision::F16);
    let chosen = chosen.computing(ComputeChoice { device, precision, eight_bit: false }, 0);
    let chosen = chosen.expect("an adapter that computes in halves");
    assert!(gpu::has_matrix_units(&chosen.device), "no matrix units: {}", chosen.description);
    chosen.device
}

/// The largest difference to the processor's attention in single precision. Values are at most five;
/// the result in halves is off by the half of their last digit.
fn difference(
    card: &Device,
    batch: usize,
    heads: usize,
    queries: usize,
    keys: usize,
    dim: usize,
    dtype: DType,
) -> f32 {
    let q = draw([batch, heads, queries, dim], dtype);
    let [k, v] = [(); 2].map(|()| draw([batch, heads, keys, dim], dtype));
    // Tensors as the transformer gives them: heads behind tokens in memory.
    let on_card = |x: &Tensor<4>| {
        let tokens_first = x.clone().swap_dims(1, 2).to_device(card).cast(dtype);
        (tokens_first * 1.0).swap_dims(1, 2)
    };
    let [cq, ck, cv] = [&q, &k, &v].map(on_card);
    assert!(FusedAttention::of(&cq, &ck, &cv).is_some(), "the kernel does not run on {card:?}");
    let found = attention(cq, ck, cv, None).cast(DType::F32).to_device(&Device::flex());
    let wanted = attention(q, k, v, None);
    (found - wanted).abs().max().into_scalar::<f32>()
}

#[test]
fn what_a_card_holds_is_not_free_and_software_holds_its_own_memory() {
    let software = gpu::choose(DeviceChoice::Vulkan).expect("a Vulkan adapter, software or not");
    let card = Chosen { in_own_memory: false, card_memory: Some(1 << 30), ..software.clone() };
    let before = card.free_memory().expect("it was told");
    let taken = Tensor::<1>::ones([16 << 20], &card.device);
    card.device.sync().expect("the device is there");
    let after = card.free_memory().expect("it was told");
    assert!(before - after >= 64 << 20, "{before} {after}");
    assert!(card.taken().card.is_some_and(|held| held >= 64 << 20));
    drop(taken);
    let software = Chosen { in_own_memory: true, ..software };
    assert_eq!(software.taken().card, None);
}

#[test]
fn the_kernel_agrees_with_the_processor() {
    let card = gpu::choose(DeviceChoice::Vulkan).expect("a Vulkan adapter, software or not").device;
    // Heads of the small pack, of golden cases and of the release; tokens that fill no workgroup,
    // exactly one, and several with a rest.
    for (batch, heads, queries, keys, dim) in [
        (1, 6, 75, 75, 32),
        (2, 2, 10, 7, 12),
        (1, 1, 64, 64, 128),
        (1, 3, 130, 200, 64),
        (1, 2, 65, 512, 128),
    ] {
        let apart = difference(&card, batch, heads, queries, keys, dim, DType::F32);
        assert!(apart < 2e-5, "{heads} heads of {dim}, {queries} x {keys}: {apart}");
        let apart = difference(&card, batch, heads, queries, keys, dim, DType::F16);
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
#[ignore = "needs matrix units; run by tests/units.sh"]
fn attention_on_matrix_units_agrees_with_the_processor() {
    let card = card_in_halves();
    for (batch, heads, queries, keys, dim) in
        [(1, 6, 75, 75, 32), (2, 2, 10, 7, 16), (1, 3, 130, 200, 64), (1, 2, 65, 512, 128)]
    {
        let apart = difference(&card, batch, heads, queries, keys, dim, DType::F16);
        assert!(apart < 2e-3, "{heads} heads of {dim}, {queries} x {keys}: {apart}");
    }
}

#[test]
#[ignore = "needs matrix units; run by tests/units.sh"]
fn attention_on_matrix_units_follows_rising_scores() {
    let card = card_in_halves();
    // Later keys score higher, up to some hundreds: what was summed before fades out, often by much.
    let tokens = 160;
    let rising = Tensor::<1, burn::tensor::Int>::arange(1..1 + tokens, &Device::flex()).float();
    let half = |x: Tensor<4>| x.cast(DType::F16).cast(DType::F32);
    let q = half(draw([1, 1, 70, 64], DType::F32).abs() * 2.0);
    let k = half(draw([1, 1, 160, 64], DType::F32).abs() * rising.reshape([1, 1, 160, 1]) / 8.0);
    let v = draw([1, 1, 160, 64], DType::F16);
    let [cq, ck, cv] = [&q, &k, &v].map(|x| x.clone().to_device(&card).cast(DType::F16));
    let kernel = FusedAttention::of(&cq, &ck, &cv).expect("small heads");
    assert!(kernel.units.is_some(), "{kernel:?}");
    let found = attention(cq, ck, cv, None).cast(DType::F32).to_device(&Device::flex());
    let scores = q.clone().matmul(k.clone().swap_dims(2, 3)) / 8.0;
    let highest = scores.max().into_scalar::<f32>();
    assert!(highest > 200.0, "scores do not rise: {highest}");
    let apart = (found - attention(q, k, v, None)).abs().max().into_scalar::<f32>();
    assert!(apart < 4e-3, "{apart}");
}

#[test]
#[ignore = "needs matrix units; run by tests/units.sh"]
fn linear_layers_on_matrix_units_agree_with_the_processor() {
    let card = card_in_halves();
    // Rows, inputs and outputs that fill workgroups and strips, and such that do not.
    for (rows, inputs, outputs, bias) in
        [(64, 32, 64, false), (3, 4, 4, true), (130, 100, 36, true), (65, 384, 200, false)]
    {
        let normal = Initializer::Normal { mean: 0.0, std: 1.0 / (inputs as f64).sqrt() };
        let layer = LinearConfig::new(inputs, outputs).with_bias(bias).with_initializer(normal);
        let layer = layer.init(&card);
        let halves = |x: Tensor<2>| x.cast(DType::F16);
        let half = burn::nn::Linear {
            weight: layer.weight.clone().map(halves),
            bias: layer.bias.clone().map(|bias| bias.map(|bias| bias.cast(DType::F16))),
        };
        let x = draw([1, 2, rows, inputs], DType::F16);
        let on_card = x.clone().to_device(&card);
        let found = kernels::linear(&half, &on_card.clone().cast(DType::F16)).expect("halves");
        assert_eq!(found.dims(), [1, 2, rows, outputs]);
        let wanted = layer.forward(on_card.clone());
        let apart = (found.cast(DType::F32) - wanted).abs().max().into_scalar::<f32>();
        assert!(apart < 1e-2, "{rows} x {inputs} x {outputs}: {apart}");
        assert!(kernels::linear(&layer, &on_card).is_none(), "single precision goes elsewhere");
    }
}

#[test]
#[ignore = "needs matrix units; run by tests/units.sh"]
fn convolutions_on_matrix_units_agree_with_the_processor() {
    let card = card_in_halves();
    // Pictures, inputs, outputs, height, width and kernel: edges in the midst of a workgroup's
    // pixels, more outputs than a workgroup has, kernels without neighbours, along one axis.
    for (pictures, inputs, outputs, height, width, kernel) in [
        (2, 8, 16, 6, 12, [3, 3]),
        (1, 24, 72, 16, 24, [3, 3]),
        (3, 12, 20, 5, 8, [1, 1]),
        (1, 4, 3, 7, 20, [3, 1]),
    ] {
        let [kh, kw] = kernel;
        let x = draw([pictures, inputs, height, width], DType::F16);
        let weight = draw([outputs, inputs, kh, kw], DType::F16);
        let found = kernels::convolve(
            &x.clone().to_device(&card),
            &weight.clone().to_device(&card).cast(DType::F16),
        );
        let found = found.expect("sizes in fours").to_device(&Device::flex());
        let options = ConvOptions::new([1, 1], [kh / 2, kw / 2], [1, 1], 1);
        let wanted = module::conv2d(x, weight, None, options);
        let largest = wanted.clone().abs().max().into_scalar::<f32>();
        let apart = (found - wanted).abs().max().into_scalar::<f32>();
        // Numbers are halves already: only the order of the sums differs.
        assert!(apart < 1e-5 * largest, "{inputs} of {height} x {width}: {apart} of {largest}");
    }
}

#[test]
#[ignore = "needs matrix units; run by tests/units.sh"]
fn convolutions_that_matrix_units_do_not_fit_go_another_way() {
    let card = card_in_halves();
    let x = |shape: [usize; 4]| Tensor::<4>::ones(shape, &card);
    let half = |shape| x(shape).cast(DType::F16);
    assert!(kernels::convolve(&x([1, 4, 4, 8]), &half([2, 4, 3, 3])).is_some());
    assert!(kernels::convolve(&x([1, 3, 4, 8]), &half([2, 3, 3, 3])).is_none(), "27 taps");
    assert!(kernels::convolve(&x([1, 4, 4, 6]), &half([2, 4, 3, 3])).is_none(), "6 pixels a row");
    assert!(kernels::convolve(&x([1, 4, 4, 8]), &x([2, 4, 3, 3])).is_none(), "single precision");
    let huge = kernels::convolve(&(x([1, 4, 4, 8]) * 1e6), &half([1, 4, 1, 1])).expect("fits");
    let sums: Vec<f32> = huge.into_data().try_into_vec().expect("floats");
    assert!(sums.iter().all(|sum| *sum == 4.0 * 65504.0), "{sums:?}");
}

/// The module of a kernel's source, and what the validator found out about it.
fn parsed(source: &str, capabilities: Capabilities) -> (naga::Module, naga::valid::ModuleInfo) {
    let module = naga::front::wgsl::parse_str(source)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string(source)));
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
        .subgroup_operations(naga::valid::SubgroupOperationSet::all())
        .validate(&module)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string(source)));
    let words = spv::write_vec(&module, &info, &spv::Options::default(), None);
    assert_eq!(words.expect("SPIR-V")[0], 0x0723_0203);
    (module, info)
}

fn in_metal(module: &naga::Module, info: &naga::valid::ModuleInfo) {
    let options = msl::Options { lang_version: (2, 4), ..Default::default() };
    let (text, _) =
        msl::write_string(module, info, &options, &msl::PipelineOptions::default()).expect("Metal");
    assert!(text.contains("kernel void"));
}

#[test]
fn sources_for_matrix_units_are_valid_and_translate_for_vulkan() {
    // Of other interfaces wgpu 30 shows none, or cannot translate them.
    for (edge, lanes) in [(16, 16), (16, 32), (16, 64), (8, 8), (8, 32)] {
        let units = MatrixUnits { edge, lanes };
        let attention = FusedAttention {
            half: true,
            queries: 37_440,
            keys: 512,
            head_dim: 128,
            units: Some(units),
        };
        let product = Product { units, rows: 37_440, depth: 2048, columns: 8192 };
        let convolution = Convolution {
            units,
            outputs: 1152,
            inputs: 384,
            height: 60,
            width: 104,
            kernel: [3, 1],
        };
        for (source, lines) in [
            (attention.wgsl(), ["QUERY_COUNT = 37440u", "KEY_COUNT = 512u", "HEAD_DIM = 128u"]),
            (product.wgsl(), ["ROWS = 37440u", "DEPTH = 2048u", "COLUMNS = 8192u"]),
            (convolution.wgsl(), ["OUTPUTS = 1152u", "const HEIGHT = 60u", "KERNEL_HEIGHT = 3u"]),
            (convolution.wgsl(), ["INPUTS = 384u", "const WIDTH = 104u", "KERNEL_WIDTH = 1u"]),
        ] {
            let driven = [format!("EDGE = {edge}u"), format!("coop_mat{edge}x{edge}<f32, C>")];
            for line in lines.into_iter().chain(driven.iter().map(String::as_str)) {
                assert!(source.contains(line), "{line} is not in the source");
            }
            let needed = Capabilities::SHADER_FLOAT16
                | Capabilities::COOPERATIVE_MATRIX
                | Capabilities::SUBGROUP;
            parsed(&source, needed);
        }
    }
}

#[test]
fn the_source_without_units_is_valid_and_translates_for_every_interface() {
    for half in [false, true] {
        let kernel = FusedAttention { half, queries: 37_440, keys: 512, head_dim: 96, units: None };
        let source = kernel.wgsl();
        let number = if half { "alias Number = f16;" } else { "alias Number = f32;" };
        for line in [number, "QUERY_COUNT = 37440u", "KEY_COUNT = 512u", "HEAD_DIM = 96u"] {
            assert!(source.contains(line), "{line} is not in the source");
        }
        let (module, info) = parsed(&source, Capabilities::SHADER_FLOAT16);
        in_metal(&module, &info);
        let mut text = String::new();
        let options = hlsl::Options { shader_model: hlsl::ShaderModel::V6_2, ..Default::default() };
        hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default())
            .write(&module, &info, None)
            .expect("HLSL");
        assert!(text.contains("numthreads(16, 16, 1)"));
    }
}
