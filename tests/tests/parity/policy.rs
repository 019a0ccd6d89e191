//! Kinds of the policy network (c14).

use std::ops::ControlFlow;

use burn::nn::RmsNormConfig;
use burn::tensor::{Bool, Int, Tensor, TensorData, bf16};
use engine::policy::{
    AttentionConfig, Choice, Context, CrossAttentionConfig, FeedForward, Filter, Grid, KEYS,
    KeyValues, KvCache, LayerCache, Mask, Policy, PolicyConfig, RotaryAxes, RotaryConfig,
    RotaryPairing, RotaryTable, Sampling, Yarn, generate,
};
use engine::weights::Weights;
use serde_json::Value;

use crate::Kind;
use crate::case::{Case, Checks, Failure};

pub fn kinds() -> Vec<Kind> {
    let kind = |class, run| Kind { class, also: "autoregressive", on_vulkan: false, run };
    vec![
        kind("Attention", attention),
        kind("MLP", feed_forward),
        kind("RMSNorm", rms_norm),
        kind("RotaryPositionEmbeddingPytorchV2", tables),
        kind("Transformer", transformer),
        kind("sample_top_p", sampling),
    ]
}

// Reading the configuration

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

// Building blocks

fn rms_norm(case: &Case, checks: &mut Checks) -> Result<(), Failure> {
    for name in case.names("out.y_").map(str::to_owned).collect::<Vec<_>>() {
        let (heads, epsilon) = match name.strip_prefix("heads_eps") {
            Some(epsilon) => (true, epsilon),
            None => (false, name.trim_start_matches("eps")),
        };
        let suffix = if heads { "_heads" } else { "" };
        let weight = case.weights();
        let weight = weight.get(&format!("weight{suffix}")).ok_or("the case has no weight")?;
        let mut renamed = Weights::default();
        renamed.insert("weight", weight.shape.clone(), weight.values.clone());
        let norm = RmsNormConfig::new(weight.shape[0]).with_epsilon(epsilon.parse()?);
        let norm = renamed.load_into(norm.init(case.device()), &KEYS)?;
        let output = format!("out.y_{name}");
        if heads {
            let found = norm.forward(case.tensor::<4>("in.x_heads")?);
            checks.tensor(case, &output, found)?;
        } else {
            let found = norm.forward(case.tensor::<3>("in.x")?);
            checks.tensor(case, &output, found)?;
        }
    }
    Ok(())
}

fn feed_forward(case: &Case, checks: &mut Checks) -> Result<(), Failure> {
    let (dim, hidden) = (case.size("dim")?, case.size("ffn_hidden_size")?);
    let network = FeedForward::new(dim, hidden, 1.0, case.device());
    let network = case.weights().load_into(network, &KEYS)?;
    checks.tensor(case, "out.y", network.forward(case.tensor("in.x")?))
}

fn attention(case: &Case, checks: &mut Checks) -> Result<(), Failure> {
    let (dim, heads) = (case.size("dim")?, case.size("n_heads")?);
    let config = AttentionConfig {
        dim,
        context_dim: optional_size(case, "context_dim").unwrap_or(dim),
        heads,
        kv_heads: optional_size(case, "n_kv_heads").unwrap_or(heads),
        head_dim: optional_size(case, "head_dim").unwrap_or(dim / heads),
        qk_norm: case.config("use_qk_normalization") == true,
        projection_std: 1.0,
    };
    let network = config.init(case.device());
    let network = case.weights().load_into(network, &KEYS)?;
    if case.has("in.context") {
        let x = case.tensor::<3>("in.x")?;
        let keys = network.keys_values(case.tensor("in.context")?, None);
        let found = network.attend(x.clone(), None, keys.clone(), &Mask::All);
        checks.tensor(case, "out.y", found)?;
        let hidden = Mask::Hidden(Box::new(mask(case, "in.context_mask")?.bool_not()));
        let found = network.attend(x, None, keys, &hidden);
        return checks.tensor(case, "out.y_masked", found);
    }
    let max_tokens = case.size("max_seq_len")?;
    let rotary_config = rotary(case)?;
    let table = rotary_config.table(config.head_dim, max_tokens);
    compare_table(case, checks, "mid.cos", "mid.sin", &table)?;
    let rotary = rotary_config.init(config.head_dim, max_tokens, case.device());
    let batch = case.stored("in.x_prefill")?.shape[0];
    let shape = [batch, config.kv_heads, max_tokens, config.head_dim];
    let mut cache = LayerCache::empty(shape, case.device());
    for part in ["prefill", "next"] {
        let x = case.tensor::<3>(&format!("in.x_{part}"))?;
        let start = start(case, &format!("in.pos_{part}"))?;
        let mask = Mask::causal_after(start, x.dims()[1], case.device());
        let own = network.keys_values(x.clone(), Some((&rotary, start)));
        let turned = own.keys.clone().swap_dims(1, 2);
        checks.tensor(case, &format!("mid.k_rot_{part}"), turned)?;
        let seen = cache.extend(start, own);
        let found = network.attend(x, Some((&rotary, start)), seen, &mask);
        checks.tensor(case, &format!("out.y_{part}"), found)?;
    }
    compare_cache(case, checks, ["out.cache_k", "out.cache_v"], cache.slots())
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

// Tables

fn compare_table(
    case: &Case,
    checks: &mut Checks,
    cos: &str,
    sin: &str,
    table: &RotaryTable,
) -> Result<(), Failure> {
    for (name, values) in [(cos, &table.cos), (sin, &table.sin)] {
        let values: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
        // Stored with or without axes of size one around rows and channels.
        let shape = case.stored(name)?.shape.clone();
        let sizes: Vec<usize> = shape.iter().copied().filter(|s| *s != 1).collect();
        let shape = if sizes == [table.rows, table.head_dim] {
            shape
        } else {
            vec![table.rows, table.head_dim]
        };
        checks.values(case, name, &shape, &values)?;
    }
    Ok(())
}

/// The table a name such as `3d_official_bov` or `1d_yarn_v1` asks for.
fn named_table(
    case: &Case,
    name: &str,
    head_dim: usize,
    rows: usize,
) -> Result<RotaryTable, Failure> {
    let words: Vec<&str> = name.split('_').collect();
    let has = |word: &str| words.contains(&word);
    let on_grid = has("3d");
    let tiny = words.iter().any(|w| w.starts_with("hd"));
    let sizes = case.config(if tiny { "tiny" } else { "official" });
    let yarn = match (has("yarn"), on_grid) {
        (false, _) => None,
        (true, true) => {
            let config = case.config("yarn_12b");
            Some(yarn(config, shape3(&config["original_latent_shape"])?)?)
        }
        (true, false) => {
            let config = case.config("yarn_1d");
            let length = number(config, "original_seq_len")? as usize;
            Some(yarn(config, [length; 3])?)
        }
    };
    let axes = if on_grid {
        let shape = if tiny { "latent_shape" } else { "video_latent_shape" };
        RotaryAxes::Grid(Grid {
            shape: shape3(&sizes[shape])?,
            begin: has("bov"),
            pad_to_multiple_of: number(sizes, "pad_to_multiple_of")? as usize,
        })
    } else {
        RotaryAxes::Line
    };
    let config = RotaryConfig {
        theta: number(&case.json()["config"], "rope_theta")?,
        axes,
        pairing: if has("v1") { RotaryPairing::Neighbours } else { RotaryPairing::Halves },
        yarn,
    };
    Ok(config.table(head_dim, rows))
}

fn tables(case: &Case, checks: &mut Checks) -> Result<(), Failure> {
    for name in case.names("out.cos_").map(str::to_owned).collect::<Vec<_>>() {
        let (cos, sin) = (format!("out.cos_{name}"), format!("out.sin_{name}"));
        let [rows, head_dim] = case.stored(&cos)?.shape[..] else {
            return Err(format!("{cos} is not a table").into());
        };
        // Large tables are stored in part; a stretched one in the rows of its plain sibling.
        let own = format!("in.rows_{name}");
        let picked = if case.has(&own) {
            Some(own)
        } else {
            (name.contains("3d_yarn")).then(|| "in.rows_3d_official".to_owned())
        };
        let picked: Vec<usize> = match picked {
            Some(picked) => case.stored(&picked)?.i64().iter().map(|r| *r as usize).collect(),
            None => (0..rows).collect(),
        };
        let needed = picked.iter().max().map_or(0, |last| last + 1);
        let table = named_table(case, &name, head_dim, needed)?;
        let pick = |values: &[f32]| {
            let row = |r: &usize| values[r * head_dim..(r + 1) * head_dim].iter().copied();
            picked.iter().flat_map(row).collect()
        };
        let part = RotaryTable {
            rows: picked.len(),
            head_dim,
            cos: pick(&table.cos),
            sin: pick(&table.sin),
        };
        compare_table(case, checks, &cos, &sin, &part)?;
    }
    for name in case.names("out.abs_pos").map(str::to_owned).collect::<Vec<_>>() {
        let config = case.config("abs_pos");
        let grid = Grid {
            shape: shape3(&config["latent_shape"])?,
            begin: name.contains("bov"),
            pad_to_multiple_of: number(config, "pad_to_multiple_of")? as usize,
        };
        let dim = number(config, "dim")? as usize;
        let table = grid.additive_table(dim);
        let output = format!("out.abs_pos{name}");
        let shape = [grid.rows(), dim];
        if name.ends_with("bf16") {
            let rounded = table.iter().map(|v| bf16::from_f32(*v).to_f64());
            // Half a unit in the last place of bfloat16: neighbours may round apart.
            let values: Vec<f64> = rounded.collect();
            checks.within(case, &output, &shape, &values, 0.0, 1.0 / 128.0)?;
        } else {
            let values: Vec<f64> = table.iter().map(|v| f64::from(*v)).collect();
            checks.values(case, &output, &shape, &values)?;
        }
    }
    Ok(())
}

// The whole network

fn transformer(case: &Case, checks: &mut Checks) -> Result<(), Failure> {
    let config = policy_config(case)?;
    let policy = config.init(case.device());
    let policy = case.weights().load_into(policy, &KEYS)?;
    if case.has("mid.rope_cos") {
        let table = config.rotary.table(config.head_dim, config.max_tokens);
        compare_table(case, checks, "mid.rope_cos", "mid.rope_sin", &table)?;
    }
    let context = case.has("in.context").then(|| case.tensor::<3>("in.context"));
    let context = context.transpose()?.map(Context::from);
    if case.has("out.logits_steps") {
        return decoding(case, checks, &policy, context);
    }
    if start(case, "in.input_pos")? != 0 {
        return Err("a full forward starts at position 0".into());
    }
    let tokens = case.int_tensor::<2>("in.tokens")?;
    let found = policy.forward(tokens.clone(), context.as_ref());
    checks.tensor(case, "out.logits", found)?;
    for name in case.names("out.logits_").map(str::to_owned).collect::<Vec<_>>() {
        let visible = mask(case, &format!("in.context_{name}"))?;
        let context = context.as_ref().ok_or("a context mask without context")?;
        let context = Context { visible: Some(visible), ..context.clone() };
        let found = policy.forward(tokens.clone(), Some(&context));
        checks.tensor(case, &format!("out.logits_{name}"), found)?;
    }
    Ok(())
}

/// The context of the first `batch` sequences.
fn narrowed(context: Option<&Context>, batch: usize) -> Option<Context> {
    let Context { tokens, visible } = context?.clone();
    Some(Context {
        tokens: tokens.narrow(0, 0, batch),
        visible: visible.map(|v| v.narrow(0, 0, batch)),
    })
}

fn decoding(
    case: &Case,
    checks: &mut Checks,
    policy: &Policy,
    context: Option<Context>,
) -> Result<(), Failure> {
    let context = match context {
        Some(context) if case.has("in.context_mask") => {
            let visible = mask(case, "in.context_mask")?;
            let [_, _, batch, keys] = visible.dims();
            Some(Context { visible: Some(visible.reshape([batch, 1, 1, keys])), ..context })
        }
        other => other,
    };
    let tokens = case.int_tensor::<2>("in.tokens")?;
    let [batch, count] = tokens.dims();
    let (prompt, steps) = (case.size("prompt_len")?, case.size("steps")?);
    let full = policy.forward(tokens.clone(), context.as_ref());
    checks.tensor(case, "out.logits_full", full)?;

    let mut cache = policy.start(batch, context.as_ref());
    let found = policy.step(tokens.clone().narrow(1, 0, prompt), &mut cache);
    checks.tensor(case, "out.logits_prefill", found)?;
    compare_caches(case, checks, "prefill", &cache)?;
    let single = |position| tokens.clone().narrow(1, position, 1);
    let found = (prompt..count).map(|position| policy.step(single(position), &mut cache));
    let found = Tensor::cat(found.collect(), 1);
    checks.tensor(case, "out.logits_steps", found)?;
    compare_caches(case, checks, "steps", &cache)?;

    let prompts: Vec<Vec<u32>> = rows(tokens.narrow(1, 0, prompt))?;
    let stop = |name: &str| -> Result<Vec<u32>, Failure> {
        let stored = case.stored(name)?.i64();
        Ok(stored.iter().map(|t| *t as u32).collect())
    };
    for name in case.names("out.generate_").map(str::to_owned).collect::<Vec<_>>() {
        let (stop, count) = match name.trim_end_matches("_b1") {
            "echo" => (Vec::new(), steps),
            "stop" | "stop_batch" => (stop("in.stop_token")?, steps),
            "stop_is_first" => (stop("in.first_token")?, steps),
            "stop_both" => (stop("in.stop_tokens_both")?, steps),
            "too_long" => (Vec::new(), usize::MAX),
            other => return Err(format!("generation {other} is not known").into()),
        };
        let batch = if name.ends_with("_b1") { 1 } else { batch };
        let context = narrowed(context.as_ref(), batch);
        let mut found = greedy(policy, &prompts[..batch], context.as_ref(), count, &stop)?;
        if name == "echo" {
            compare_tokens(case, checks, "out.greedy_tokens", &found)?;
            for (tokens, prompt) in found.iter_mut().zip(&prompts) {
                *tokens = [prompt.as_slice(), tokens].concat();
            }
        }
        compare_tokens(case, checks, &format!("out.generate_{name}"), &found)?;
    }
    Ok(())
}

fn compare_caches(
    case: &Case,
    checks: &mut Checks,
    after: &str,
    cache: &KvCache,
) -> Result<(), Failure> {
    for (index, layer) in cache.layers().iter().enumerate() {
        let [keys, values] =
            ["k", "v"].map(|t| format!("mid.cache_{t}_layer{index}_after_{after}"));
        if case.has(&keys) {
            compare_cache(case, checks, [&keys, &values], layer.slots())?;
        }
    }
    Ok(())
}

fn rows(tokens: Tensor<2, Int>) -> Result<Vec<Vec<u32>>, Failure> {
    let [_, width] = tokens.dims();
    let values: Vec<i64> = tokens.into_data().convert::<i64>().try_into_vec()?;
    let row = |row: &[i64]| row.iter().map(|t| *t as u32).collect();
    Ok(values.chunks(width).map(row).collect())
}

fn greedy(
    policy: &Policy,
    prompts: &[Vec<u32>],
    context: Option<&Context>,
    count: usize,
    stop: &[u32],
) -> Result<Vec<Vec<u32>>, Failure> {
    let best = |choice: Choice<'_>| {
        let token = Sampling::GREEDY.draw(choice.logits, &[]);
        ControlFlow::Continue(token as u32)
    };
    let tokens = generate(policy, prompts, context, count, stop, best);
    tokens.ok_or_else(|| "generation broke off".into())
}

fn compare_tokens(
    case: &Case,
    checks: &mut Checks,
    name: &str,
    found: &[Vec<u32>],
) -> Result<(), Failure> {
    let shape = [found.len(), found[0].len()];
    let values: Vec<f64> = found.iter().flatten().map(|t| f64::from(*t)).collect();
    checks.values(case, name, &shape, &values)
}

// Sampling

/// What a name such as `top_p_probs_p0.9_t0.6` asks for.
struct Question {
    sampling: Sampling,
    ties: bool,
    draws: bool,
}

fn question(name: &str) -> Result<Question, Failure> {
    let unknown = || Failure::from(format!("sampling result {name} is not known"));
    let mut question = Question { sampling: Sampling::GREEDY, ties: false, draws: true };
    let words = match name.strip_prefix("greedy") {
        Some(words) => words,
        None => {
            let words = name.strip_prefix("top_").ok_or_else(unknown)?;
            question.sampling.temperature = 1.0;
            words.trim_start_matches(['p', 'k'])
        }
    };
    for word in words.split('_').filter(|w| !w.is_empty()) {
        let sampling = &mut question.sampling;
        match word {
            "ties" => question.ties = true,
            "probs" => question.draws = false,
            "token" => question.draws = true,
            "knone" => sampling.filter = Filter::All,
            _ if word.starts_with('p') => sampling.filter = Filter::TopP(word[1..].parse()?),
            _ if word.starts_with('k') => sampling.filter = Filter::TopK(word[1..].parse()?),
            _ if word.starts_with('t') => sampling.temperature = word[1..].parse()?,
            _ => return Err(unknown()),
        }
    }
    Ok(question)
}

fn sampling(case: &Case, checks: &mut Checks) -> Result<(), Failure> {
    let noise = case.stored("in.q")?.f32();
    for name in case.names("out.").map(str::to_owned).collect::<Vec<_>>() {
        let question = question(&name)?;
        let logits = case.stored(if question.ties { "in.logits_ties" } else { "in.logits" })?;
        let [batch, tokens, vocabulary] = logits.shape[..] else {
            return Err("logits are not batch x token x vocabulary".into());
        };
        // Only the last token counts.
        let values = logits.f32();
        let last = |b: usize| &values[(b * tokens + tokens - 1) * vocabulary..][..vocabulary];
        let output = format!("out.{name}");
        if question.draws {
            let draw = |b: usize| {
                let noise = &noise[b * vocabulary..][..vocabulary];
                question.sampling.draw(last(b), noise) as f64
            };
            let found: Vec<f64> = (0..batch).map(draw).collect();
            checks.values(case, &output, &[batch, 1], &found)?;
        } else {
            let probabilities = |b| question.sampling.probabilities(last(b));
            let found = (0..batch).flat_map(probabilities).map(f64::from);
            let found: Vec<f64> = found.collect();
            checks.values(case, &output, &[batch, vocabulary], &found)?;
        }
    }
    Ok(())
}
