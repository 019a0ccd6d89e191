//! Kinds of the policy network (c14).

mod blocks;
mod network;
mod sampling;
mod tables;

use burn::tensor::{Bool, Tensor, TensorData};
use engine::policy::{
    CrossAttentionConfig, Grid, KeyValues, PolicyConfig, RotaryAxes, RotaryConfig, RotaryPairing,
    Yarn,
};
use serde_json::Value;

use crate::Kind;
use crate::case::{Case, Checks, Failure};

pub fn kinds() -> Vec<Kind> {
    let kind = |class, run| Kind { class, also: "autoregressive", on_vulkan: false, run };
    vec![
        kind("Attention", blocks::attention),
        kind("MLP", blocks::feed_forward),
        kind("RMSNorm", blocks::rms_norm),
        kind("RotaryPositionEmbeddingPytorchV2", tables::tables),
        kind("Transformer", network::transformer),
        kind("sample_top_p", sampling::sampling),
    ]
}

fn optional_size(case: &Case, name: &str) -> Option<usize> {
    case.config(name).as_u64().map(|v| v as usize)
}

fn number(value: &Value, name: &str) -> Result<f64, Failure> {
    Ok(value[name].as_f64().ok_or_else(|| format!("config has no number {name}"))?)
}

fn shape3(value: &Value) -> Result<[usize; 3], Failure> {
    let wrong = || Failure::from(format!("{value} is not a shape of three axes"));
    let sizes = value.as_array().ok_or_else(wrong)?;
    let sizes: Vec<usize> = sizes.iter().filter_map(|v| Some(v.as_u64()? as usize)).collect();
    sizes.try_into().map_err(|_| wrong())
}

fn yarn(value: &Value, original: [usize; 3]) -> Result<Yarn, Failure> {
    Ok(Yarn {
        original,
        beta_fast: number(value, "yarn_beta_fast")?,
        beta_slow: number(value, "yarn_beta_slow")?,
        scale: number(value, "yarn_scale")?,
    })
}

fn rotary(case: &Case) -> Result<RotaryConfig, Failure> {
    let config = &case.json()["config"];
    let on_grid = case.config("rope_dim") == "3D";
    let grid_shape = ["video_latent_shape", "latent_shape"];
    let grid_shape = grid_shape.into_iter().find(|n| case.config(n).is_array());
    let grid = match grid_shape {
        Some(name) => Some(Grid {
            shape: shape3(case.config(name))?,
            begin: case.config("training_type") == "text_to_video",
            pad_to_multiple_of: optional_size(case, "pad_to_multiple_of").unwrap_or(1),
        }),
        None => None,
    };
    let stretched = case.config("apply_yarn") == true;
    let yarn = match (stretched, on_grid) {
        (false, _) => None,
        (true, true) => Some(yarn(config, shape3(case.config("original_latent_shape"))?)?),
        (true, false) => Some(yarn(config, [case.size("original_seq_len")?; 3])?),
    };
    Ok(RotaryConfig {
        theta: number(config, "rope_theta")?,
        axes: match (on_grid, grid) {
            (true, Some(grid)) => RotaryAxes::Grid(grid),
            (true, None) => return Err("a 3D rotary embedding without a latent shape".into()),
            (false, _) => RotaryAxes::Line,
        },
        pairing: match case.config("pytorch_rope_version").as_str() {
            Some("v1") => RotaryPairing::Neighbours,
            Some("v2") => RotaryPairing::Halves,
            other => return Err(format!("rotary version {other:?} is not known").into()),
        },
        yarn,
    })
}

fn policy_config(case: &Case) -> Result<PolicyConfig, Failure> {
    let config = &case.json()["config"];
    for (name, supported) in [
        ("norm_type", Value::from("rmsnorm")),
        ("causal_mask", Value::from(true)),
        ("fuse_qkv", Value::from(false)),
    ] {
        if config[name] != supported {
            return Err(format!("{name} {} is not supported", config[name]).into());
        }
    }
    let rotary = rotary(case)?;
    let additive_positions = match (case.config("apply_abs_pos_emb") == true, rotary.axes) {
        (false, _) => None,
        (true, RotaryAxes::Grid(grid)) => Some(grid),
        (true, RotaryAxes::Line) => return Err("additive positions without a grid".into()),
    };
    let cross_attention = if case.config("insert_cross_attn") == true {
        Some(CrossAttentionConfig {
            every: case.size("insert_cross_attn_every_k_layers")?,
            context_dim: case.size("context_dim")?,
        })
    } else {
        None
    };
    let (dim, heads) = (case.size("dim")?, case.size("n_heads")?);
    Ok(PolicyConfig {
        vocabulary: case.size("output_rows")?,
        embeddings: case.size("tok_embeddings_rows")?,
        layers: case.size("n_layers")?,
        dim,
        heads,
        kv_heads: optional_size(case, "n_kv_heads").unwrap_or(heads),
        head_dim: optional_size(case, "head_dim").unwrap_or(dim / heads),
        feed_forward_dim: case.size("ffn_hidden_size")?,
        norm_epsilon: number(config, "norm_eps")?,
        qk_norm: case.config("use_qk_normalization") == true,
        max_tokens: case.size("max_seq_len")?,
        rotary,
        additive_positions,
        cross_attention,
    })
}

/// The first of stored positions, which must follow each other.
fn start(case: &Case, name: &str) -> Result<usize, Failure> {
    let positions = case.stored(name)?.i64();
    let first = positions[0];
    let in_order = positions.iter().zip(first..).all(|(p, wanted)| *p == wanted);
    if !in_order {
        return Err(format!("{name} is not a run of positions").into());
    }
    Ok(first as usize)
}

/// A stored mask, true where something may be seen, on four axes.
fn mask(case: &Case, name: &str) -> Result<Tensor<4, Bool>, Failure> {
    let stored = case.stored(name)?;
    let shape: [usize; 4] = match stored.shape[..] {
        // What the bare network makes of a mask of two axes.
        [queries, keys] => [1, 1, queries, keys],
        [batch, heads, queries, keys] => [batch, heads, queries, keys],
        _ => return Err(format!("{name} has shape {:?}", stored.shape).into()),
    };
    let values: Vec<bool> = stored.values.iter().map(|v| *v != 0.0).collect();
    Ok(Tensor::from_data(TensorData::new(values, shape), case.device()))
}

/// Compares a cache with a stored one that may have room for more sequences, which stay zero.
fn compare_cache(
    case: &Case,
    checks: &mut Checks,
    names: [&str; 2],
    found: &KeyValues,
) -> Result<(), Failure> {
    for (name, found) in names.into_iter().zip([&found.keys, &found.values]) {
        let [batch, heads, tokens, head_dim] = found.dims();
        let rows = case.stored(name)?.shape[0];
        let all = Tensor::zeros([rows, heads, tokens, head_dim], &found.device());
        let all = all.slice_assign([0..batch, 0..heads], found.clone());
        checks.tensor(case, name, all)?;
    }
    Ok(())
}
