//! Kinds of the latent dynamics model (c01 to c05): the network and its building blocks.

use burn::tensor::{Device, Int, Tensor};
use engine::dldm::attention::{CrossAttention, SelfAttention};
use engine::dldm::conv::CausalConv3dConfig;
use engine::dldm::norm::CausalNormalize;
use engine::dldm::patcher::HaarPatcher;
use engine::dldm::qformer::{PositionEmbedding, QFormer};
use engine::dldm::resample::{HybridDownsample, HybridUpsample};
use engine::dldm::resnet::ResnetBlock;
use engine::dldm::{DldmConfig, Fsq, KEYS, LAYER_RENAMES, QFormerKind};
use engine::weights::KeyTable;
use serde_json::Value;

use crate::Kind;
use crate::case::{Case, Checks, Failure};

type Outcome = Result<(), Failure>;

pub fn kinds() -> Vec<Kind> {
    let block = |class, run| Kind { class, also: "", on_vulkan: true, run };
    let patcher = Kind { class: "Patcher3D", also: "", on_vulkan: false, run: patcher };
    let qformer = |class| Kind { class, also: "", on_vulkan: false, run: qformer };
    vec![
        patcher,
        block("CausalConv3d", conv),
        block("CausalNormalize", normalize),
        block("CausalHybridDownsample3d", downsample),
        block("CausalHybridUpsample3d", upsample),
        block("CausalResnetBlockFactorized3d", resnet),
        block("CausalAttnBlock", spatial_attention),
        block("CausalTemporalAttnBlock", temporal_attention),
        block("CausalCrossAttention", cross_attention),
        block("FSQuantizer", quantizer),
        qformer("QFormerAdjacentFSingleQ"),
        qformer("QFormerMF"),
        qformer("QFormerMFAdjacent"),
        qformer("QFormerMFSep"),
        qformer("QFormerMFSingleQ"),
        block("CausalDiscreteVideoLatentDynamicTokenizer", tokenizer),
    ]
}

/// Keys of a part of the network, below `prefix`.
pub fn part(prefix: &'static str) -> KeyTable {
    KeyTable { prefix, renames: LAYER_RENAMES, ignored: &[] }
}

/// Channel and time exchanged: the network's blocks keep time before the channels.
fn swap(x: Tensor<5>) -> Tensor<5> {
    x.swap_dims(1, 2)
}

/// Runs a block on every `in.x_*` and compares with the `out.y_*` of the same ending.
fn every_x(case: &Case, checks: &mut Checks, run: impl Fn(Tensor<5>) -> Tensor<5>) -> Outcome {
    for ending in case.names("in.x_") {
        let y = run(swap(case.tensor(&format!("in.x_{ending}"))?));
        checks.tensor(case, &format!("out.y_{ending}"), swap(y))?;
    }
    Ok(())
}

fn patcher(case: &Case, checks: &mut Checks) -> Outcome {
    let patcher = HaarPatcher::new(case.size("patch_size")?);
    for ending in case.names("in.x_") {
        let bands = patcher.patch(case.tensor(&format!("in.x_{ending}"))?);
        checks.tensor(case, &format!("out.patched_{ending}"), swap(bands.clone()))?;
        checks.tensor(case, &format!("out.roundtrip_{ending}"), patcher.unpatch(bands))?;
    }
    for ending in case.names("in.coef_") {
        let bands = case.tensor(&format!("in.coef_{ending}"))?;
        let video = patcher.unpatch(swap(bands));
        checks.tensor(case, &format!("out.unpatched_{ending}"), video)?;
    }
    Ok(())
}

fn conv(case: &Case, checks: &mut Checks) -> Outcome {
    let or = |name: &str, default| case.size(name).unwrap_or(default);
    let kernel = match case.config("kernel_size") {
        Value::Array(sizes) => {
            let sizes: Vec<u64> = sizes.iter().filter_map(Value::as_u64).collect();
            <[u64; 3]>::try_from(sizes).map_err(|s| format!("kernel_size {s:?}"))?
        }
        size => [size.as_u64().ok_or("kernel_size is no number")?; 3],
    };
    let kernel = kernel.map(|k| k as usize);
    let config = CausalConv3dConfig {
        stride: or("stride", 1),
        time_stride: or("time_stride", 1),
        padding: or("padding", 1),
        ..CausalConv3dConfig::new(case.size("chan_in")?, case.size("chan_out")?, kernel)
    };
    let conv = case.weights().load_into(config.init(case.device()), &part(""))?;
    every_x(case, checks, |x| conv.forward(x))
}

fn normalize(case: &Case, checks: &mut Checks) -> Outcome {
    let (channels, groups) = (case.size("in_channels")?, case.size("num_groups")?);
    let norm = CausalNormalize::new(channels, groups, case.device());
    let norm = case.weights().load_into(norm, &part(""))?;
    every_x(case, checks, |x| norm.forward(x))
}

fn flag(case: &Case, name: &str) -> Result<bool, Failure> {
    Ok(case.config(name).as_bool().ok_or_else(|| format!("config has no flag {name}"))?)
}

fn downsample(case: &Case, checks: &mut Checks) -> Outcome {
    let (space, time) = (flag(case, "spatial_down")?, flag(case, "temporal_down")?);
    let block = HybridDownsample::new(case.size("in_channels")?, space, time, case.device());
    let block = case.weights().load_into(block, &part(""))?;
    every_x(case, checks, |x| block.forward(x))
}

fn upsample(case: &Case, checks: &mut Checks) -> Outcome {
    let (space, time) = (flag(case, "spatial_up")?, flag(case, "temporal_up")?);
    let block = HybridUpsample::new(case.size("in_channels")?, space, time, case.device());
    let block = case.weights().load_into(block, &part(""))?;
    every_x(case, checks, |x| block.forward(x))
}

/// The network's blocks normalise in one group.
fn single_group(case: &Case) -> Outcome {
    match case.size("num_groups")? {
        1 => Ok(()),
        groups => Err(format!("{groups} groups: only one is built").into()),
    }
}

fn resnet(case: &Case, checks: &mut Checks) -> Outcome {
    single_group(case)?;
    let (channels_in, channels_out) = (case.size("in_channels")?, case.size("out_channels")?);
    let block = ResnetBlock::new(channels_in, channels_out, case.device());
    let block = case.weights().load_into(block, &part(""))?;
    every_x(case, checks, |x| block.forward(x))
}

fn spatial_attention(case: &Case, checks: &mut Checks) -> Outcome {
    single_group(case)?;
    let block = SelfAttention::spatial(case.size("in_channels")?, case.device());
    let block = case.weights().load_into(block, &part(""))?;
    every_x(case, checks, |x| block.forward(x))
}

fn temporal_attention(case: &Case, checks: &mut Checks) -> Outcome {
    single_group(case)?;
    let block = SelfAttention::temporal(case.size("in_channels")?, case.device());
    let block = case.weights().load_into(block, &part(""))?;
    every_x(case, checks, |x| block.forward(x))
}

fn cross_attention(case: &Case, checks: &mut Checks) -> Outcome {
    single_group(case)?;
    let (channels, context) = (case.size("in_channels")?, case.size("context_dim")?);
    let block = CrossAttention::new(channels, context, case.device());
    let block = case.weights().load_into(block, &part(""))?;
    for x_ending in case.names("in.x_") {
        let x: Tensor<5> = case.tensor(&format!("in.x_{x_ending}"))?;
        let time = x.dims()[2];
        for context_ending in case.names("in.ctx") {
            let context: Tensor<3> = case.tensor(&format!("in.ctx{context_ending}"))?;
            let y = block.forward(swap(x.clone()), context.clone());
            checks.tensor(case, &format!("out.y_n{}", context.dims()[1] / time), swap(y))?;
        }
    }
    Ok(())
}

/// A stored tensor `[batch, dimension, ...]` as `[batch, dimension, token]`.
fn channel_first(case: &Case, name: &str) -> Result<Tensor<3>, Failure> {
    let shape = &case.stored(name)?.shape;
    Ok(match shape.len() {
        5 => case.tensor::<5>(name)?.reshape([shape[0] as i32, shape[1] as i32, -1]),
        _ => case.tensor::<3>(name)?.swap_dims(1, 2),
    })
}

/// Row-major numbers of a float tensor.
fn floats<const D: usize>(x: Tensor<D>) -> Result<Vec<f64>, Failure> {
    let values: Vec<f32> = x.into_data().convert::<f32>().try_into_vec()?;
    Ok(values.into_iter().map(f64::from).collect())
}

/// Row-major numbers of an integer tensor.
fn integers<const D: usize>(x: Tensor<D, Int>) -> Result<Vec<f64>, Failure> {
    let values: Vec<i64> = x.into_data().convert::<i64>().try_into_vec()?;
    Ok(values.into_iter().map(|v| v as f64).collect())
}

/// Compares numbers with a stored tensor of whatever shape holds as many.
fn flat(case: &Case, checks: &mut Checks, name: &str, found: &[f64]) -> Outcome {
    let shape = case.stored(name)?.shape.clone();
    if shape.iter().product::<usize>() != found.len() {
        return Err(format!("{name}: {} numbers for shape {shape:?}", found.len()).into());
    }
    checks.values(case, name, &shape, found)
}

fn quantizer(case: &Case, checks: &mut Checks) -> Outcome {
    let levels = levels(case.config("levels"))?;
    let fsq = Fsq::new(&levels);
    for ending in case.names("in.z_") {
        let name = format!("in.z_{ending}");
        // Stored as [batch, dimension, time, height, width] or as [batch, token, dimension];
        // codes come back likewise, bounded values always with the dimension last.
        let channel_is_second = case.stored(&name)?.shape.len() == 5;
        let z = channel_first(case, &name)?;
        let bounded = fsq.bound(z.clone()).swap_dims(1, 2);
        flat(case, checks, &format!("mid.bound_{ending}"), &floats(bounded)?)?;
        if !case.has(&format!("out.indices_{ending}")) {
            continue;
        }
        let quantized = fsq.quantize(z);
        let again = fsq.indices(quantized.codes.clone());
        flat(case, checks, &format!("out.indices_{ending}"), &integers(again)?)?;
        flat(case, checks, &format!("out.indices_{ending}"), &integers(quantized.indices)?)?;
        let codes = match channel_is_second {
            true => quantized.codes,
            false => quantized.codes.swap_dims(1, 2),
        };
        flat(case, checks, &format!("out.codes_{ending}"), &floats(codes)?)?;
        no_loss(case, checks, &format!("out.loss_{ending}"))?;
    }
    let all: Tensor<2, Int> = case.int_tensor::<1>("in.all_indices")?.unsqueeze_dim(0);
    let codes = fsq.codes(all);
    flat(case, checks, "out.all_codes", &floats(codes.clone().swap_dims(1, 2))?)?;
    flat(case, checks, "out.all_indices_roundtrip", &integers(fsq.indices(codes))?)?;
    let some: Tensor<4, Int> = case.int_tensor("in.indices_1N11")?;
    let [batch, tokens, _, _] = some.dims();
    let codes = fsq.codes(some.reshape([batch, tokens]));
    flat(case, checks, "out.codes_from_1N11", &floats(codes)?)
}

/// This quantiser has no loss of its own; the reference returns zeros for it.
fn no_loss(case: &Case, checks: &mut Checks, name: &str) -> Outcome {
    let count = case.stored(name)?.values.len();
    flat(case, checks, name, &vec![0.0; count])
}

fn levels(value: &Value) -> Result<Vec<usize>, Failure> {
    let list = value.as_array().ok_or("levels is no list")?;
    let numbers = list.iter().map(|l| l.as_u64().map(|l| l as usize));
    Ok(numbers.collect::<Option<_>>().ok_or("levels are no numbers")?)
}

fn qformer(case: &Case, checks: &mut Checks) -> Outcome {
    let kind: QFormerKind = serde_json::from_value(Value::from(case.class()))?;
    let channels = case.size("embedding_dim")?;
    let qformer = QFormer::new(kind, channels, case.size("qformer_num")?, case.device());
    let qformer = case.weights().load_into(qformer, &part("qformer_ldm."))?;
    let positions = PositionEmbedding::new(channels, case.device());
    let positions = case.weights().load_into(positions, &part("pos_embedding."))?;

    let features: Tensor<5> = case.tensor("in.h")?;
    let [batch, _, steps, height, width] = features.dims();
    let positions = positions.forward(height, width);
    let map: Tensor<5> = positions.clone().transpose().reshape([1, channels, 1, height, width]);
    let map = map.expand([batch, channels, steps, height, width]);
    checks.tensor(case, "mid.dense_pe", map)?;
    for ending in case.names("in.queries") {
        let queries = case.tensor(&format!("in.queries{ending}"))?;
        let y = qformer.forward(swap(features.clone()), positions.clone(), queries);
        checks.tensor(case, &format!("out.y{ending}"), y)?;
    }
    Ok(())
}

/// Our configuration of the reference's, whose entries we must all understand.
pub fn dldm_config(config: &Value) -> Result<DldmConfig, Failure> {
    let size = |name: &str| -> Result<usize, Failure> {
        let number = config[name].as_u64();
        Ok(number.ok_or_else(|| format!("the dLDM config has no number {name}"))? as usize)
    };
    let fixed = [("in_channels", 3), ("out_channels", 3), ("num_groups", 1), ("z_factor", 1)];
    for (name, wanted) in fixed {
        if size(name)? != wanted {
            return Err(format!("{name} is {}, only {wanted} is built", config[name]).into());
        }
    }
    let named = [("quantizer", "FSQ"), ("decoder", "LDM_V2"), ("connector_type", "conv")];
    for (name, wanted) in named {
        if config[name] != wanted {
            return Err(format!("{name} is {}, only {wanted} is built", config[name]).into());
        }
    }
    if size("temporal_compression")? != size("patch_size")? {
        return Err("levels that compress time are not built".into());
    }
    let ours = DldmConfig {
        channels: size("channels")?,
        channels_mult: levels(&config["channels_mult"])?,
        num_res_blocks: size("num_res_blocks")?,
        patch_size: size("patch_size")?,
        spatial_compression: size("spatial_compression")?,
        z_channels: size("z_channels")?,
        levels: levels(&config["levels"])?,
        num_queries: size("act_embedding_num")?,
        qformer: serde_json::from_value(config["qformer_type"].clone())?,
        connector_channels: size("connector_out_channels")?,
        resolution: size("resolution")?,
        attention_resolutions: levels(&config["attn_resolutions"])?,
        standardize_z: false,
        decoder_places: None,
        residual_from_first_frame: false,
    };
    if ours.feature_channels() != size("encoder_out_dim")? {
        return Err("encoder_out_dim is not the width of the innermost level".into());
    }
    Ok(ours)
}

fn tokenizer(case: &Case, checks: &mut Checks) -> Outcome {
    let device: &Device = case.device();
    let config = dldm_config(&case.json()["config"])?;
    let dldm = case.weights().load_into(config.init(device), &KEYS)?;

    let video: Tensor<5> = case.tensor("in.video")?;
    let encoded = dldm.encode(video.clone());
    checks.tensor(case, "out.h", encoded.features.clone())?;
    flat(case, checks, "mid.query_prequant", &floats(encoded.z.clone())?)?;
    let quantized = dldm.quantize(encoded.z);
    flat(case, checks, "out.indices", &integers(quantized.indices)?)?;
    flat(case, checks, "out.quant_codes", &floats(quantized.codes.clone())?)?;
    no_loss(case, checks, "out.quant_loss")?;
    let recon = dldm.decode(encoded.features.clone(), quantized.codes.clone());
    checks.tensor(case, "out.recon", recon)?;
    checks.tensor(case, "out.connector", dldm.connect(quantized.codes))?;

    let first = dldm.encode_frame(video.narrow(2, 0, 1));
    checks.tensor(case, "out.h_first_frame", first.clone())?;
    let given = dldm.codes_from_indices(case.int_tensor("in.codes")?);
    flat(case, checks, "mid.codes_from_indices", &floats(given.clone())?)?;
    let scene = first.narrow(0, 0, given.dims()[0]);
    checks.tensor(case, "out.decode_code", dldm.decode(scene, given.clone()))?;
    checks.tensor(case, "out.connector_given_codes", dldm.connect(given))?;

    // Two views: the codes come from one, the scene from the other.
    let other = dldm.encode(case.tensor("in.video_aug")?);
    let quantized = dldm.quantize(other.z);
    flat(case, checks, "out.aug_indices", &integers(quantized.indices)?)?;
    let recon = dldm.decode(encoded.features, quantized.codes);
    checks.tensor(case, "out.aug_recon", recon)
}
