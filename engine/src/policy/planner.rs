//! The policy in its world: from the first frame and the task to the codes of the whole task.

use std::ops::ControlFlow;

use burn::module::{Initializer, Module, Param};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::attention::{Context, INITIAL_STD};
use super::config::PolicyConfig;
use super::generate::{Choice, generate};
use super::sampling::{Filter, Sampling, descending, exponential_noise, softmax};
use super::transformer::Policy;
use crate::craft::Task;
use crate::rollout::CodePrediction;

/// Weight of the mean squared log-sum-exp of the scores in the loss, as in the reference.
const Z_LOSS: f64 = 1e-4;
/// How many of the most likely codes a prediction lists.
const ALTERNATIVES: usize = 8;

/// Sizes of a [`Planner`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannerConfig {
    pub policy: PolicyConfig,
    /// Channels of the first frame's dLDM features.
    pub feature_channels: usize,
    /// Height and width of those features.
    pub feature_size: [usize; 2],
    pub tasks: usize,
}

impl PlannerConfig {
    /// The small pack's; `feature_channels` as its dLDM has them.
    pub fn craft_mini(feature_channels: usize) -> Self {
        Self {
            policy: PolicyConfig::craft_mini(),
            feature_channels,
            feature_size: [4, 6],
            tasks: Task::ALL.len(),
        }
    }

    /// A planner of these sizes with fresh weights.
    ///
    /// # Panics
    /// Panics when the policy has no cross-attention, no begin token, or more codes than `u16`.
    pub fn init(&self, device: &Device) -> Planner {
        let cross = self.policy.cross_attention;
        let context_dim = cross.expect("a planner's policy needs cross-attention").context_dim;
        let PolicyConfig {
            vocabulary,
            embeddings,
            ..
        } = self.policy;
        assert!(
            embeddings > vocabulary && vocabulary <= 1 << 16,
            "a planner needs an embedding for its begin token and at most 65536 codes"
        );
        let normal = Initializer::Normal {
            mean: 0.0,
            std: INITIAL_STD,
        };
        let [height, width] = self.feature_size;
        Planner {
            transformer: self.policy.init(device),
            features: LinearConfig::new(self.feature_channels, context_dim).init(device),
            places: normal.init([height * width, context_dim], device),
            tasks: EmbeddingConfig::new(self.tasks, context_dim).init(device),
            config: self.clone(),
        }
    }
}

/// How codes are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CodeSampling {
    /// 0 always takes the most likely code.
    pub temperature: f32,
    /// The nucleus: codes are drawn as long as those before hold at most this probability.
    pub top_p: f32,
    /// The same seed draws the same codes.
    pub seed: u64,
}

/// A policy that looks at the first frame and knows its task.
///
/// Its context is one token a cell of the first frame's features and one for the task.
///
/// # Limitations
/// A task's codes must fit into the policy's `max_tokens`, see [`Planner::max_codes`].
#[derive(Module, Debug)]
pub struct Planner {
    transformer: Policy,
    features: Linear,
    places: Param<Tensor<2>>,
    tasks: Embedding,
    #[module(skip)]
    config: PlannerConfig,
}

impl Planner {
    pub fn config(&self) -> &PlannerConfig {
        &self.config
    }

    pub fn policy(&self) -> &Policy {
        &self.transformer
    }

    /// The most codes a task may have.
    pub fn max_codes(&self) -> usize {
        self.config.policy.max_tokens - 1
    }

    /// What the policy sees beside its own codes.
    ///
    /// # Shapes
    /// `features` `[batch, channels, 1, height, width]` of the first frame, `tasks` `[batch]` the
    /// tasks' places in [`Task::ALL`].
    pub fn context(&self, features: Tensor<5>, tasks: Tensor<1, Int>) -> Context {
        let [batch, channels, time, height, width] = features.dims();
        let wanted = (self.config.feature_channels, 1, self.config.feature_size);
        assert_eq!(
            (channels, time, [height, width]),
            wanted,
            "features of one frame"
        );
        let cells = features.reshape([batch, channels, height * width]);
        let cells = self.features.forward(cells.swap_dims(1, 2)); // [batch, cells, context_dim]
        let cells = cells + self.places.val().unsqueeze();
        let tasks = self.tasks.forward(tasks.unsqueeze_dim(1)); // [batch, 1, context_dim]
        Tensor::cat(vec![cells, tasks], 1).into()
    }

    /// Scores of every code given those before it, for training: position i of the result scores
    /// position i of `codes`.
    ///
    /// # Shapes
    /// `codes` `[batch, codes]`, others as in [`Planner::context`] -> `[batch, codes, vocabulary]`
    pub fn logits(
        &self,
        codes: Tensor<2, Int>,
        features: Tensor<5>,
        tasks: Tensor<1, Int>,
    ) -> Tensor<3> {
        let [batch, count] = codes.dims();
        let begin = Tensor::<2, Int>::full([batch, 1], self.begin(), &codes.device());
        let input = if count > 1 {
            Tensor::cat(vec![begin, codes.narrow(1, 0, count - 1)], 1)
        } else {
            begin
        };
        let context = self.context(features, tasks);
        self.transformer.forward(input, Some(&context))
    }

    /// Predicts `count` codes behind `prefix`, drawing those that are not `fixed`.
    ///
    /// `features` are those of the first frame, `[1, channels, 1, height, width]`; `fixed` holds
    /// `(position, code)`, counted from the first new code. `on_code` hears the index of each code
    /// as it is decided and may break off, which makes the result `None`. Probabilities are those
    /// at temperature 1 without filter, whatever was drawn from.
    ///
    /// # Panics
    /// Panics when prefix and new codes together exceed [`Planner::max_codes`].
    #[expect(clippy::too_many_arguments, reason = "each is a thing of its own")]
    pub fn predict(
        &self,
        features: Tensor<5>,
        task: Task,
        prefix: &[u16],
        fixed: &[(usize, u16)],
        count: usize,
        sampling: CodeSampling,
        mut on_code: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Option<Vec<CodePrediction>> {
        let max = self.max_codes();
        assert!(
            prefix.len() + count <= max,
            "{count} codes after {} exceed the {max} this policy can hold",
            prefix.len()
        );
        let device = features.device();
        let index = Task::ALL.iter().position(|t| *t == task);
        let index = index.expect("Task::ALL lists every task") as i32;
        let task = Tensor::from_data(TensorData::new(vec![index], [1]), &device);
        let context = self.context(features, task);
        let mut prompt = vec![self.begin()];
        prompt.extend(prefix.iter().map(|code| u32::from(*code)));
        let draw = Sampling {
            temperature: sampling.temperature,
            filter: Filter::TopP(sampling.top_p),
        };
        let mut predictions = Vec::with_capacity(count);
        let choose = |Choice { index, logits, .. }: Choice<'_>| {
            let chosen = fixed.iter().find(|(position, _)| *position == index);
            let code = match chosen {
                Some((_, code)) => *code,
                None => {
                    let position = prefix.len() + index;
                    let noise = exponential_noise(sampling.seed, position, logits.len());
                    draw.draw(logits, &noise) as u16
                }
            };
            predictions.push(prediction(code, logits));
            on_code(index)?;
            ControlFlow::Continue(u32::from(code))
        };
        generate(&self.transformer, &[prompt], Some(&context), count, &[], choose)?;
        Some(predictions)
    }

    /// The begin token is the first one behind the codes.
    fn begin(&self) -> u32 {
        self.config.policy.vocabulary as u32
    }
}

fn prediction(code: u16, logits: &[f32]) -> CodePrediction {
    let probabilities = softmax(logits, 1.0);
    let bits = |p: &f32| match f64::from(*p) {
        0.0 => 0.0,
        p => -p * p.log2(),
    };
    let order = descending(&probabilities);
    let alternatives = order.into_iter().take(ALTERNATIVES);
    CodePrediction {
        code,
        probability: probabilities[usize::from(code)],
        entropy_bits: probabilities.iter().map(bits).sum::<f64>() as f32,
        alternatives: alternatives
            .map(|token| (token as u16, probabilities[token]))
            .collect(),
    }
}

/// 1 for the codes of each task, 0 for the padding behind them: `[batch, codes]`.
fn code_mask(lengths: &[usize], count: usize, device: &Device) -> Tensor<2> {
    let row = |length: &usize| (0..count).map(|i| f32::from(u8::from(i < *length))).collect();
    let mask: Vec<Vec<f32>> = lengths.iter().map(row).collect();
    Tensor::from_data(
        TensorData::new(mask.concat(), [lengths.len(), count]),
        device,
    )
}

/// Next-code cross-entropy in nats, averaged over the first `lengths[b]` codes of each row (what
/// follows is padding, any valid code), plus a small pull on the log-sum-exp over all positions.
///
/// # Shapes
/// `logits` `[batch, codes, vocabulary]`, `codes` `[batch, codes]` -> `[1]`
pub fn next_code_loss(logits: Tensor<3>, codes: Tensor<2, Int>, lengths: &[usize]) -> Tensor<1> {
    let [_, count] = codes.dims();
    let mask = code_mask(lengths, count, &logits.device());
    let highest = logits.clone().max_dim(2).detach();
    let sum = (logits.clone() - highest.clone()).exp().sum_dim(2);
    let log_sum: Tensor<2> = (sum.log() + highest).squeeze_dim(2);
    let picked: Tensor<2> = logits.gather(2, codes.unsqueeze_dim(2)).squeeze_dim(2);
    let codes_of_tasks = lengths.iter().sum::<usize>().max(1) as f64;
    let entropy = ((log_sum.clone() - picked) * mask).sum() / codes_of_tasks;
    entropy + log_sum.square().mean() * Z_LOSS
}

/// Share of codes whose best-scored prediction is right, padding left out.
pub fn next_code_accuracy(logits: Tensor<3>, codes: Tensor<2, Int>, lengths: &[usize]) -> f32 {
    let [_, count] = codes.dims();
    let mask = code_mask(lengths, count, &logits.device());
    let best: Tensor<2, Int> = logits.argmax(2).squeeze_dim(2);
    let right = (best.equal(codes).float() * mask).sum();
    right.into_scalar::<f32>() / lengths.iter().sum::<usize>().max(1) as f32
}
