//! Drawing tokens from scores.

use engine::policy::{Filter, Sampling};

use crate::case::{Case, Checks, Failure};

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

pub(super) fn sampling(case: &Case, checks: &mut Checks) -> Result<(), Failure> {
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
