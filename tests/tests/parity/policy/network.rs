//! The whole network: full forwards, decoding with a cache, generation.

use std::ops::ControlFlow;

use burn::tensor::{Int, Tensor};
use engine::policy::{Choice, Context, KEYS, KvCache, Policy, Sampling, generate};

use super::tables::compare_table;
use super::{compare_cache, mask, policy_config, start};
use crate::case::{Case, Checks, Failure};

pub(super) fn transformer(case: &Case, checks: &mut Checks) -> Result<(), Failure> {
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
