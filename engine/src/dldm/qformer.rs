//! The query transformer: learned queries that read what happens between latent time steps.
//!
//! All variants of the reference differ only in which steps a query sees, so here each of them is a
//! list of visible steps and one masked attention. Mirrors `qformer_ldm.py`.

use std::f32::consts::TAU;
use std::ops::Range;

use burn::module::{Module, Param};
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Bool, Device, Distribution, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::attention::{hidden_unless, masked_softmax};

const DEPTH: usize = 2;
const HEADS: usize = 4;
/// The inner width of an attention is the model width divided by this.
const DOWNSAMPLE: usize = 2;

/// Which latent steps a query sees. The names are those of the reference's classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum QFormerKind {
    /// The same queries for every pair of neighbouring steps; the released one.
    QFormerAdjacentFSingleQ,
    /// One query an interval, seeing all steps up to its end.
    QFormerMF,
    /// One query an interval, seeing only the step at its end.
    QFormerMFAdjacent,
    /// As [`QFormerKind::QFormerMF`], with a transformer of its own for each query.
    QFormerMFSep,
    /// The same queries for every interval, seeing all steps up to its end.
    QFormerMFSingleQ,
}

impl QFormerKind {
    /// The steps that each row of queries sees, given `queries` learned ones and `steps` steps.
    fn views(self, queries: usize, steps: usize) -> Vec<Range<usize>> {
        let intervals = steps - 1;
        // Several queries may share the steps evenly instead of having one interval each.
        let end = |query: usize| match queries + 1 == steps {
            true => query + 2,
            false => steps / queries * (query + 1),
        };
        match self {
            Self::QFormerAdjacentFSingleQ => {
                (0..intervals).flat_map(|i| std::iter::repeat_n(i..i + 2, queries)).collect()
            }
            Self::QFormerMFSingleQ => {
                (0..intervals).flat_map(|i| std::iter::repeat_n(0..i + 2, queries)).collect()
            }
            Self::QFormerMF | Self::QFormerMFSep => (0..queries).map(|q| 0..end(q)).collect(),
            Self::QFormerMFAdjacent => (0..queries).map(|q| end(q) - 1..end(q)).collect(),
        }
    }
}

/// Random Fourier features of pixel positions.
#[derive(Module, Debug)]
pub struct PositionEmbedding {
    /// `[2, channel / 2]`; drawn once, never trained.
    positional_encoding_gaussian_matrix: Param<Tensor<2>>,
}

impl PositionEmbedding {
    pub fn new(channels: usize, device: &Device) -> Self {
        let matrix = Tensor::random([2, channels / 2], Distribution::Normal(0.0, 1.0), device);
        Self { positional_encoding_gaussian_matrix: Param::from_tensor(matrix).no_grad() }
    }

    /// Sines, then cosines, of `(x, y)` at the pixel centres of a `height` by `width` grid.
    ///
    /// # Shapes
    /// - result: `[height * width, channel]`
    pub fn forward(&self, height: usize, width: usize) -> Tensor<2> {
        let matrix = self.positional_encoding_gaussian_matrix.val().detach();
        let centre = |i: usize, n: usize| 2.0 * (i as f32 + 0.5) / n as f32 - 1.0;
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let places: Vec<f32> =
            pixels.flat_map(|(x, y)| [centre(x, width), centre(y, height)]).collect();
        let data = TensorData::new(places, [height * width, 2]);
        let places = Tensor::<2>::from_data(data, &matrix.device());
        let angles = places.matmul(matrix) * TAU;
        Tensor::cat(vec![angles.clone().sin(), angles.cos()], 1)
    }
}

/// Multi-head attention at half the model width.
#[derive(Module, Debug)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
}

impl Attention {
    fn new(channels: usize, device: &Device) -> Self {
        let inner = channels / DOWNSAMPLE;
        let project = || LinearConfig::new(channels, inner).init(device);
        Self {
            q_proj: project(),
            k_proj: project(),
            v_proj: project(),
            out_proj: LinearConfig::new(inner, channels).init(device),
        }
    }

    /// # Shapes
    /// - q: `[batch, query, channel]`; k, v: `[batch, key, channel]`
    /// - hidden: `[1, 1, query, key]`
    fn forward(&self, q: Tensor<3>, keys: &Keys, hidden: &Tensor<4, Bool>) -> Tensor<3> {
        let [batch, queries, _] = q.dims();
        let q = split_heads(self.q_proj.forward(q));
        let k = split_heads(self.k_proj.forward(keys.keys.clone()));
        let v = split_heads(self.v_proj.forward(keys.values.clone()));
        let width = q.dims()[3];
        let scores = (q * (width as f32).powf(-0.5)).matmul(k.swap_dims(2, 3));
        let seen = masked_softmax(scores, hidden.clone()).matmul(v);
        let seen: Tensor<3> = seen.swap_dims(1, 2).reshape([batch, queries, HEADS * width]);
        self.out_proj.forward(seen)
    }
}

/// `[batch, token, channel]` as `[batch, head, token, channel / head]`.
fn split_heads(x: Tensor<3>) -> Tensor<4> {
    let [batch, tokens, channels] = x.dims();
    x.reshape([batch, tokens, HEADS, channels / HEADS]).swap_dims(1, 2)
}

/// What queries attend to: keys know where they are, values do not.
struct Keys {
    /// `[batch, key, channel]`
    keys: Tensor<3>,
    /// `[batch, key, channel]`
    values: Tensor<3>,
}

/// The two-layer perceptron of a layer.
#[derive(Module, Debug)]
struct Mlp {
    lin1: Linear,
    lin2: Linear,
}

/// Cross attention and perceptron, each followed by a layer norm.
#[derive(Module, Debug)]
struct Layer {
    cross_attn_token_to_image: Attention,
    norm2: LayerNorm,
    mlp: Mlp,
    norm3: LayerNorm,
}

impl Layer {
    fn forward(&self, queries: Tensor<3>, keys: &Keys, hidden: &Tensor<4, Bool>) -> Tensor<3> {
        let seen = self.cross_attn_token_to_image.forward(queries.clone(), keys, hidden);
        let queries = self.norm2.forward(queries + seen);
        let inner = self.mlp.lin2.forward(relu(self.mlp.lin1.forward(queries.clone())));
        self.norm3.forward(queries + inner)
    }
}

/// One query transformer.
#[derive(Module, Debug)]
struct QueryTransformer {
    layers: Vec<Layer>,
    final_attn_token_to_image: Attention,
    norm_final_attn: LayerNorm,
}

impl QueryTransformer {
    fn new(channels: usize, device: &Device) -> Self {
        let linear = || LinearConfig::new(channels, channels).init(device);
        let norm = || LayerNormConfig::new(channels).init(device);
        let layer = |_| Layer {
            cross_attn_token_to_image: Attention::new(channels, device),
            norm2: norm(),
            mlp: Mlp { lin1: linear(), lin2: linear() },
            norm3: norm(),
        };
        Self {
            layers: (0..DEPTH).map(layer).collect(),
            final_attn_token_to_image: Attention::new(channels, device),
            norm_final_attn: norm(),
        }
    }

    fn forward(&self, queries: Tensor<3>, keys: &Keys, hidden: &Tensor<4, Bool>) -> Tensor<3> {
        let read = |q: Tensor<3>, layer: &Layer| layer.forward(q, keys, hidden);
        let queries = self.layers.iter().fold(queries, read);
        // The reference adds the queries to themselves here, where others add their positions.
        let doubled = queries.clone() * 2.0;
        let seen = self.final_attn_token_to_image.forward(doubled, keys, hidden);
        self.norm_final_attn.forward(queries + seen)
    }
}

/// The query transformer(s) of a variant.
#[derive(Module, Debug)]
pub struct QFormer {
    qformer: Option<QueryTransformer>,
    qformers: Vec<QueryTransformer>,
    #[module(skip)]
    kind: QFormerKind,
}

impl QFormer {
    pub fn new(kind: QFormerKind, channels: usize, queries: usize, device: &Device) -> Self {
        let separate = kind == QFormerKind::QFormerMFSep;
        let transformer = || QueryTransformer::new(channels, device);
        Self {
            qformer: (!separate).then(transformer),
            qformers: (0..if separate { queries } else { 0 }).map(|_| transformer()).collect(),
            kind,
        }
    }

    /// # Shapes
    /// - features: `[batch, step, channel, height, width]`, at least two steps
    /// - positions: `[height * width, channel]`
    /// - queries: `[batch, query, channel]`, the learned ones
    /// - result: `[batch, token, channel]`, tokens in the order of the intervals
    pub fn forward(
        &self,
        features: Tensor<5>,
        positions: Tensor<2>,
        queries: Tensor<3>,
    ) -> Tensor<3> {
        let [batch, steps, channels, height, width] = features.dims();
        assert!(steps > 1, "queries need at least two latent time steps");
        let device = features.device();
        let pixels = height * width;
        let values: Tensor<4> = features.reshape([batch, steps, channels, pixels]);
        let values = values.swap_dims(2, 3); // [batch, step, pixel, channel]
        let keys = values.clone() + positions.reshape([1, 1, pixels, channels]);
        let flat = [batch, steps * pixels, channels];
        let keys = Keys { keys: keys.reshape(flat), values: values.reshape(flat) };

        let learned = queries.dims()[1];
        let views = self.kind.views(learned, steps);
        let visible = |query: usize, key: usize| views[query].contains(&(key / pixels));
        let hidden = hidden_unless(views.len(), steps * pixels, visible, &device).swap_dims(1, 2);
        let queries = queries.repeat_dim(1, views.len() / learned);
        match &self.qformer {
            Some(transformer) => transformer.forward(queries, &keys, &hidden),
            None => {
                let rows =
                    self.qformers.iter().take(learned).enumerate().map(|(i, transformer)| {
                        let row = queries.clone().narrow(1, i, 1);
                        transformer.forward(row, &keys, &hidden.clone().narrow(2, i, 1))
                    });
                Tensor::cat(rows.collect(), 1)
            }
        }
    }
}
