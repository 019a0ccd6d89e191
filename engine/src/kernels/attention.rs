//! Attention in one kernel that never holds its scores, for graphics cards: `shaders/attention.wgsl`,
//! and `shaders/attention_units.wgsl` where halves go through matrix units.

use burn::tensor::{DType, Tensor};
use burn_wgpu::{CubeBackend, CubeDim};

use super::MatrixUnits;
use super::launch::{Kernel, launch, on_card, room_beside, with_constants};

const SHADER: &str = include_str!("../../../shaders/attention.wgsl");
const SHADER_ON_UNITS: &str = include_str!("../../../shaders/attention_units.wgsl");

/// What a workgroup of the shaders has: queries; threads along each side, without matrix units; and
/// bytes that its threads share.
const QUERIES: usize = 64;
const SIDE: u32 = 16;
const SHARED_BYTES: usize = 32 << 10;

/// The widest head whose values for 16 keys fit into the shared memory.
const MAX_HEAD_DIM: usize = 128;

/// Scores that one launch computes. Graphics systems stop a card that does not answer for a second
/// or two, and a window waits for what is on the card: with heads of 128 channels this is 0.55 TFLOP,
/// and of the release's clips 448 workgroups. Each launch is submitted by itself, as a number is
/// written to the card before it.
pub(crate) const SCORES_OF_A_LAUNCH: usize = 1 << 30;

/// The kernel for tensors of one size.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FusedAttention {
    /// Whether the tensors hold half precision; sums are always in single precision.
    pub half: bool,
    /// Of a head.
    pub queries: usize,
    pub keys: usize,
    /// A multiple of four up to 128.
    pub head_dim: usize,
    /// What multiplies, if not the units that do everything else. Only for halves, and heads whose
    /// channels their matrices divide.
    pub units: Option<MatrixUnits>,
}

impl FusedAttention {
    /// The kernel for `q`, `k` and `v`, `[batch, heads, tokens, head_dim]`, or nothing where it
    /// cannot run: tensors that are not on a card of this machine or whose gradients are wanted,
    /// wide or odd heads, tensors that do not go together, a card with little shared memory.
    pub fn of(q: &Tensor<4>, k: &Tensor<4>, v: &Tensor<4>) -> Option<Self> {
        let float = [DType::F16, DType::F32].contains(&q.dtype());
        let ([batch, heads, queries, head_dim], keys) = (q.dims(), k.dims()[2]);
        let alike = [k, v].iter().all(|x| {
            x.dims() == [batch, heads, keys, head_dim]
                && x.dtype() == q.dtype()
                && x.device() == q.device()
        });
        let tensor = q.clone().try_into_primitive::<CubeBackend>().ok()?;
        let card = &tensor.client.properties().hardware;
        let runs = float
            && alike
            && queries > 0
            && keys > 0
            && head_dim.is_multiple_of(4)
            && (1..=MAX_HEAD_DIM).contains(&head_dim)
            && card.max_shared_memory_size >= SHARED_BYTES
            && card.max_units_per_cube >= SIDE * SIDE;
        runs.then(|| {
            let plain = Self::sized(q, k);
            let divides = |units: &MatrixUnits| head_dim.is_multiple_of(units.edge as usize);
            let units = MatrixUnits::of(&q.device()).filter(|units| plain.half && divides(units));
            Self { units, ..plain }
        })
    }

    /// The kernel without matrix units for tensors of these sizes.
    pub(crate) fn sized(q: &Tensor<4>, k: &Tensor<4>) -> Self {
        let [_, _, queries, head_dim] = q.dims();
        let (half, keys) = (q.dtype() == DType::F16, k.dims()[2]);
        Self { half, queries, keys, head_dim, units: None }
    }

    /// Attention of `q` to `k` and `v` as in [`crate::vdm::attention`]. A launch computes no more than
    /// so many scores, or one workgroup a head.
    ///
    /// # Panics
    /// When the kernel was made for other tensors, or they are not on one card.
    pub fn run(
        &self,
        q: Tensor<4>,
        k: Tensor<4>,
        v: Tensor<4>,
        scores_of_launch: usize,
    ) -> Tensor<4> {
        assert_eq!(
            Self { units: self.units, ..Self::sized(&q, &k) },
            *self,
            "made for other tensors"
        );
        let [batch, heads, queries, head_dim] = q.dims();
        let [q, k, v] = [q, k, v].map(on_card);
        let mixed = room_beside(&q, [batch, heads, queries, head_dim]);
        let all = queries.div_ceil(QUERIES);
        let scores_of_group = QUERIES * self.keys * batch * heads;
        let launches = all.div_ceil((scores_of_launch / scores_of_group).clamp(1, all));
        let at_a_time = all.div_ceil(launches);
        for before in (0..all).step_by(at_a_time) {
            let first = mixed.client.create_from_slice(&(before as u32).to_ne_bytes());
            let tensors = [&q, &k, &v, &mixed].map(|tensor| tensor.handle.clone());
            let groups = [at_a_time.min(all - before) as u32, (batch * heads) as u32, 1];
            launch(self, &mixed.client, groups, tensors.into_iter().chain([first]));
        }
        Tensor::from_primitive::<CubeBackend>(mixed)
    }
}

impl Kernel for FusedAttention {
    fn wgsl(&self) -> String {
        let Self { half, queries, keys, head_dim, units } = self;
        let shader = if units.is_some() { SHADER_ON_UNITS } else { SHADER };
        let constants = [("QUERY_COUNT", *queries), ("KEY_COUNT", *keys), ("HEAD_DIM", *head_dim)];
        let source = with_constants(shader, &constants);
        match units {
            Some(units) => units.tailored(&source, &[("{d}", *head_dim as u32 / units.edge)]),
            None if *half => {
                "enable f16;\n".to_owned()
                    + &source.replace("alias Number = f32;", "alias Number = f16;")
            }
            None => source,
        }
    }

    fn threads(&self) -> CubeDim {
        match self.units {
            Some(units) => CubeDim::new_1d(QUERIES as u32 / units.edge * units.lanes),
            None => CubeDim::new_2d(SIDE, SIDE),
        }
    }
}
