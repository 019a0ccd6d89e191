//! Building blocks: norm, feed-forward and attention.

use burn::nn::RmsNormConfig;
use engine::policy::{AttentionConfig, FeedForward, KEYS, LayerCache, Mask};
use engine::weights::Weights;

use super::tables::compare_table;
use super::{compare_cache, mask, optional_size, rotary, start};
use crate::case::{Case, Checks, Failure};

pub(super) fn rms_norm(case: &Case, checks: &mut Checks) -> Result<(), Failure> {
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

pub(super) fn feed_forward(case: &Case, checks: &mut Checks) -> Result<(), Failure> {
    let (dim, hidden) = (case.size("dim")?, case.size("ffn_hidden_size")?);
    let network = FeedForward::new(dim, hidden, 1.0, case.device());
    let network = case.weights().load_into(network, &KEYS)?;
    checks.tensor(case, "out.y", network.forward(case.tensor("in.x")?))
}

pub(super) fn attention(case: &Case, checks: &mut Checks) -> Result<(), Failure> {
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
