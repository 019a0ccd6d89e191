//! Standardising the queries before the quantiser, for training from scratch.
//!
//! Fresh queries vary far less than one step of the quantiser, so all codes would be equal and
//! nothing would ever change that. The release has no such layer because it starts from trained
//! weights. With it, each query's dimensions are brought to mean 0 and deviation 1 over the batch
//! while training, and by running statistics afterwards.

use burn::module::{Module, RunningState};
use burn::tensor::{Device, Tensor};

/// Share of a batch in the running statistics.
const MOMENTUM: f32 = 0.05;
/// Small beside the variance of fresh queries, which is far below that of trained ones.
const EPSILON: f32 = 1e-9;

/// Running mean and variance a query and code dimension.
#[derive(Module, Debug)]
pub struct Standardize {
    /// `[dimension, query]`
    mean: RunningState<Tensor<2>>,
    /// `[dimension, query]`
    variance: RunningState<Tensor<2>>,
}

impl Standardize {
    pub fn new(dimensions: usize, queries: usize, device: &Device) -> Self {
        let shape = [dimensions, queries];
        Self {
            mean: RunningState::new(Tensor::zeros(shape, device)),
            variance: RunningState::new(Tensor::ones(shape, device)),
        }
    }

    /// Standardises with the running statistics.
    ///
    /// # Shapes
    /// - z, result: `[batch, dimension, interval * query]`
    pub fn forward(&self, z: Tensor<3>) -> Tensor<3> {
        let shape = z.dims();
        let z = self.by_query(z);
        let mean = self.mean.value_sync().unsqueeze_dims(&[0, 2]);
        let variance = self.variance.value_sync().unsqueeze_dims(&[0, 2]);
        scale(z, mean, variance).reshape(shape)
    }

    /// Standardises with the statistics of this batch, and adds them to the running ones.
    ///
    /// # Shapes
    /// - z, result: `[batch, dimension, interval * query]`
    pub fn forward_train(&self, z: Tensor<3>) -> Tensor<3> {
        let shape @ [_, dimensions, _] = z.dims();
        let z = self.by_query(z);
        let queries = z.dims()[3];
        let mean = z.clone().mean_dim(0).mean_dim(2);
        let variance = (z.clone() - mean.clone()).square().mean_dim(0).mean_dim(2);
        let update = |running: &RunningState<Tensor<2>>, batch: &Tensor<4>| {
            let batch: Tensor<2> = batch.clone().detach().reshape([dimensions, queries]);
            running.update(running.value_sync() * (1.0 - MOMENTUM) + batch * MOMENTUM);
        };
        update(&self.mean, &mean);
        update(&self.variance, &variance);
        scale(z, mean, variance).reshape(shape)
    }

    /// `[batch, dimension, interval, query]`
    fn by_query(&self, z: Tensor<3>) -> Tensor<4> {
        let [batch, dimensions, tokens] = z.dims();
        let queries = self.mean.value().dims()[1];
        z.reshape([batch, dimensions, tokens / queries, queries])
    }
}

fn scale(z: Tensor<4>, mean: Tensor<4>, variance: Tensor<4>) -> Tensor<4> {
    (z - mean) * (variance + EPSILON).sqrt().recip()
}
