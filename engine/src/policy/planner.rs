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
    /// The most codes a task may have.
    pub fn max_codes(&self) -> usize {
        self.policy.max_tokens - 1
    }

    /// Tokens that the policy sees beside its codes: one a feature of the first frame, and the task.
    pub fn context_tokens(&self) -> usize {
        self.feature_size[0] * self.feature_size[1] + 1
    }

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
        let PolicyConfig { vocabulary, embeddings, .. } = self.policy;
        assert!(
            embeddings > vocabulary && vocabulary <= 1 << 16,
            "a planner needs an embedding for its begin token and at most 65536 codes"
        );
        let normal = Initializer::Normal { mean: 0.0, std: INITIAL_STD };
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
/// A task's codes must fit into the policy's `max_tokens`, see [`PlannerConfig::max_codes`].
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

    /// What the policy sees beside its own codes.
    ///
    /// # Shapes
    /// `features` `[batch, channels, 1, height, width]` of the first frame, `tasks` `[batch]` the
    /// tasks' places in [`Task::ALL`].
    pub fn context(&self, features: Tensor<5>, tasks: Tensor<1, Int>) -> Context {
        let [batch, channels, time, height, width] = features.dims();
        let wanted = (self.config.feature_channels, 1, self.config.feature_size);
        assert_eq!((channels, time, [height, width]), wanted, "features of one frame");
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
    /// Panics when prefix and new codes together exceed [`PlannerConfig::max_codes`].
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
        let max = self.config.max_codes();
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
        let draw =
            Sampling { temperature: sampling.temperature, filter: Filter::TopP(sampling.top_p) };
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
        alternatives: alternatives.map(|token| (token as u16, probabilities[token])).collect(),
    }
}

/// 1 for the codes of each task, 0 for the padding behind them: `[batch, codes]`.
fn code_mask(lengths: &[usize], count: usize, device: &Device) -> Tensor<2> {
    let row = |length: &usize| (0..count).map(|i| f32::from(u8::from(i < *length))).collect();
    let mask: Vec<Vec<f32>> = lengths.iter().map(row).collect();
    Tensor::from_data(TensorData::new(mask.concat(), [lengths.len(), count]), device)
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

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    const SAMPLING: CodeSampling = CodeSampling { temperature: 1.0, top_p: 0.9, seed: 11 };

    fn small(device: &Device) -> Planner {
        let mut config = PlannerConfig::craft_mini(8);
        config.policy.layers = 2;
        device.seed(5);
        config.init(device)
    }

    fn features(device: &Device) -> Tensor<5> {
        Tensor::random([1, 8, 1, 4, 6], Distribution::Default, device)
    }

    fn go_on(_: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn codes(predictions: &[CodePrediction]) -> Vec<u16> {
        predictions.iter().map(|p| p.code).collect()
    }

    #[test]
    fn the_same_seed_draws_the_same_codes_and_fixed_ones_are_kept() {
        let device = Device::flex();
        let planner = small(&device);
        let features = features(&device);
        let draw = |prefix: &[u16], fixed: &[(usize, u16)], count, seed| {
            let sampling = CodeSampling { seed, ..SAMPLING };
            let features = features.clone();
            planner
                .predict(features, Task::Boat, prefix, fixed, count, sampling, go_on)
                .expect("nothing breaks off")
        };
        let whole = codes(&draw(&[], &[], 32, 11));
        assert_eq!(whole, codes(&draw(&[], &[], 32, 11)));
        assert_ne!(whole, codes(&draw(&[], &[], 32, 12)));
        // Going on from a prefix draws what the whole would have drawn.
        assert_eq!(whole[16..], codes(&draw(&whole[..16], &[], 16, 11)));
        let fixed = [(3, 999), (0, 1)];
        let changed = draw(&whole[..16], &fixed, 16, 11);
        assert_eq!((changed[0].code, changed[3].code), (1, 999));
        assert_ne!((whole[16], whole[19]), (1, 999));
    }

    #[test]
    fn a_prediction_describes_the_distribution_at_temperature_one() {
        let device = Device::flex();
        let planner = small(&device);
        let features = features(&device);
        let sampling = CodeSampling { temperature: 0.0, ..SAMPLING };
        let predictions = planner
            .predict(features.clone(), Task::Horse, &[], &[(1, 40)], 3, sampling, go_on)
            .expect("nothing breaks off");
        let fed = codes(&predictions).iter().map(|c| i32::from(*c)).collect();
        let fed: Vec<i32> = fed;
        let fed = Tensor::from_data(TensorData::new(fed, [1, 3]), &device);
        let task = Tensor::from_data([3], &device);
        let logits = planner.logits(fed, features, task);
        let rows: Vec<f32> = logits.into_data().try_into_vec().expect("f32");
        for (prediction, row) in predictions.iter().zip(rows.chunks(1000)) {
            let probabilities = softmax(row, 1.0);
            let own = probabilities[usize::from(prediction.code)];
            assert!((prediction.probability - own).abs() < 1e-6);
            let entropy: f32 = probabilities.iter().map(|p| -p * p.log2()).sum();
            assert!((prediction.entropy_bits - entropy).abs() < 1e-3);
            assert_eq!(prediction.alternatives.len(), 8);
            let first = prediction.alternatives[0];
            assert_eq!(usize::from(first.0), crate::policy::sampling::best(row));
            assert!(prediction.alternatives.is_sorted_by(|a, b| a.1 >= b.1));
        }
        assert_eq!(predictions[0].code, predictions[0].alternatives[0].0);
    }

    #[test]
    fn breaking_off_leaves_nothing() {
        let device = Device::flex();
        let planner = small(&device);
        let mut heard = Vec::new();
        let stop = |index| {
            heard.push(index);
            if index == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let none = planner.predict(features(&device), Task::Tower, &[], &[], 16, SAMPLING, stop);
        assert!(none.is_none());
        assert_eq!(heard, [0, 1, 2]);
    }

    #[test]
    fn the_loss_leaves_padding_out() {
        let device = Device::flex();
        // Two classes; probability 0.75 for class 0 everywhere.
        let row = [3_f32.ln(), 0.0];
        let logits = Tensor::<3>::from_data([[row, row, row], [row, row, row]], &device);
        let codes = Tensor::<2, Int>::from_data([[0, 1, 1], [0, 0, 1]], &device);
        let loss: f32 = next_code_loss(logits.clone(), codes.clone(), &[2, 1]).into_scalar();
        let entropy = -(0.75_f32.ln() + 0.25_f32.ln() + 0.75_f32.ln()) / 3.0;
        let pull = 1e-4 * 4_f32.ln().powi(2);
        assert!((loss - entropy - pull).abs() < 1e-6, "{loss}");
        let accuracy = next_code_accuracy(logits, codes, &[2, 1]);
        assert!((accuracy - 2.0 / 3.0).abs() < 1e-6);
    }

    #[test]
    fn training_makes_a_code_sequence_likely_for_its_own_task_only() {
        use burn::optim::{AdamWConfig, GradientsParams};
        let device = Device::flex().autodiff();
        let mut config = PlannerConfig::craft_mini(8);
        config.policy.layers = 1;
        device.seed(6);
        let mut planner = config.init(&device);
        let features = features(&device).repeat_dim(0, 2);
        let tasks = Tensor::<1, Int>::from_data([0, 1], &device);
        let rows = [[5, 6, 7, 8, 9, 10], [15, 16, 17, 18, 19, 20]];
        let codes = Tensor::<2, Int>::from_data(rows, &device);
        let mut optimizer = AdamWConfig::new().init();
        // Tests beside this one draw from the same numbers, so weights begin differently each time:
        // it trains until it has learned, far below the 7 it begins with.
        for _ in 0..400 {
            let logits = planner.logits(codes.clone(), features.clone(), tasks.clone());
            let loss = next_code_loss(logits, codes.clone(), &[6, 6]);
            if loss.clone().into_scalar::<f32>() < 0.02 {
                break;
            }
            let gradients = GradientsParams::from_grads(loss.backward(), &planner);
            planner = optimizer.step(3e-3, planner, gradients);
        }
        let planner = planner.valid();
        let features = features.narrow(0, 0, 1).without_autodiff();
        for (task, row) in Task::ALL.into_iter().zip(rows) {
            let sampling = CodeSampling { temperature: 0.0, ..SAMPLING };
            let predictions = planner
                .predict(features.clone(), task, &[], &[], 6, sampling, go_on)
                .expect("nothing breaks off");
            assert_eq!(codes_as_i32(&predictions), row, "{task:?}");
        }
    }

    fn codes_as_i32(predictions: &[CodePrediction]) -> Vec<i32> {
        predictions.iter().map(|p| i32::from(p.code)).collect()
    }
}
