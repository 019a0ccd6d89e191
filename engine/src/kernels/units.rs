//! Matrix units of graphics cards, called tensor cores by some: products of halves, summed in single
//! precision, at several times the speed of the other units. wgpu counts them as experimental, and no
//! two drivers do alike, so they are used where they answered a small test rightly.

use std::sync::Mutex;

use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Device, Int, Tensor, TensorData, module};
use half::f16;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::launch::with_constants;
use super::{Convolution, FusedAttention, Product};
use crate::vdm;

/// Set to `off`, no card's matrix units are used; set to `on`, those that software plays are, too.
pub const SWITCH: &str = "VIDEOWORLD_MATRIX_UNITS";

/// What is known of devices: burn's tensors know theirs, but not what it can do.
static KNOWN: Mutex<Vec<(Device, State)>> = Mutex::new(Vec::new());

#[derive(Debug, Clone)]
enum State {
    /// Ways to drive the units, the likeliest first, of which none was tried.
    Offered(Vec<MatrixUnits>),
    Passed(MatrixUnits),
    Failed,
}

/// How the matrix units of a card are driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MatrixUnits {
    /// Rows and columns of the matrices that they multiply.
    pub edge: u32,
    /// Threads of the subgroups that drive them.
    pub lanes: u32,
}

impl MatrixUnits {
    /// Those of a device that passed their test.
    pub fn of(device: &Device) -> Option<Self> {
        match state(device)? {
            State::Passed(units) => Some(units),
            State::Offered(_) | State::Failed => None,
        }
    }

    /// How those of an adapter may be driven, the likeliest first. Drivers choose the size of
    /// subgroups where they have several.
    pub(crate) fn candidates(adapter: &wgpu::Adapter) -> Vec<Self> {
        let needed = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
            | wgpu::Features::SHADER_F16
            | wgpu::Features::SUBGROUP;
        let info = adapter.get_info();
        let wanted = match std::env::var(SWITCH).as_deref() {
            Ok("off") => false,
            Ok("on") => true,
            _ => info.device_type != wgpu::DeviceType::Cpu,
        };
        // Metal has such units, but naga 30 hands its functions pointers to groups of four numbers there,
        // which it does not take.
        let vulkan = info.backend == wgpu::Backend::Vulkan;
        if !wanted || !vulkan || !adapter.features().contains(needed) {
            return Vec::new();
        }
        let known = adapter.cooperative_matrix_properties();
        let has = |edge: u32| {
            known.iter().any(|p| {
                [p.m_size, p.n_size, p.k_size] == [edge; 3]
                    && p.ab_type == wgpu::CooperativeScalarType::F16
                    && p.cr_type == wgpu::CooperativeScalarType::F32
            })
        };
        let mut sizes = vec![info.subgroup_max_size, info.subgroup_min_size];
        sizes.dedup();
        sizes.retain(|lanes| lanes.is_power_of_two() && *lanes >= 8);
        let edges = [16, 8].into_iter().filter(|edge| has(*edge));
        edges.flat_map(|edge| sizes.iter().map(move |&lanes| Self { edge, lanes })).collect()
    }

    /// Notes how those of a device may be driven, once it is asked to compute in halves.
    pub(crate) fn offer(candidates: Vec<Self>, device: &Device) {
        set_state(device, State::Offered(candidates));
    }

    /// Tests those of a device, unless that was done, and says whether they passed; nothing where
    /// there are none. A driver that chooses subgroups of another size for a kernel that was not part
    /// of the test would leave its answer unwritten: `verify` compares all of a pack's.
    pub(crate) fn test(device: &Device) -> Option<bool> {
        let tested = match state(device)? {
            State::Offered(candidates) => candidates
                .into_iter()
                .find(|units| units.answer_rightly(device))
                .map_or(State::Failed, State::Passed),
            tested => tested,
        };
        let passed = matches!(tested, State::Passed(_));
        set_state(device, tested);
        Some(passed)
    }

    /// Whether a product, a convolution and an attention that fill no workgroup are what the processor
    /// says.
    fn answer_rightly(self, device: &Device) -> bool {
        let cpu = Device::flex();
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut draw = |shape: [usize; 4]| {
            let mut half = || f16::from_f32(rng.random_range(-1.0_f32..1.0)).to_f32();
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| half()).collect();
            Tensor::<4>::from_data(TensorData::new(values, shape), &cpu)
        };
        let on_card = |x: &Tensor<4>| x.clone().to_device(device).cast(DType::F16);
        let agree = |found: Tensor<4>, wanted: Tensor<4>| {
            let Ok(found) = found.cast(DType::F32).try_into_data() else { return false };
            let apart = (Tensor::<4>::from_data(found, &cpu) - wanted.clone()).abs().max();
            // Written so that what is not a number does not agree.
            apart.into_scalar::<f32>() <= 2e-3 * wanted.abs().max().into_scalar::<f32>()
        };
        let (x, w) = (draw([1, 1, 150, 72]), draw([1, 1, 72, 132]));
        let product = Product { units: self, rows: 150, depth: 72, columns: 132 };
        let found = product.run(on_card(&x).reshape([150, 72]), on_card(&w).reshape([72, 132]));
        if !agree(found.reshape([1, 1, 150, 132]), x.matmul(w)) {
            return false;
        }
        let (x, w) = (draw([2, 8, 9, 12]), draw([40, 8, 3, 3]));
        let convolution = Convolution {
            units: self,
            outputs: 40,
            inputs: 8,
            height: 9,
            width: 12,
            kernel: [3, 3],
        };
        let found = convolution.run(x.clone().to_device(device), on_card(&w));
        let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
        if !agree(found, module::conv2d(x, w, None, options)) {
            return false;
        }
        // Later keys score higher, so that sums must be scaled on the way.
        let (q, k, v) = (draw([1, 1, 70, 128]), draw([1, 1, 90, 128]), draw([1, 1, 90, 128]));
        let rising = Tensor::<1, Int>::arange(0..90, &cpu).float().reshape([1, 1, 90, 1]);
        let half = |x: Tensor<4>| x.cast(DType::F16).cast(DType::F32);
        let (q, k) = (half(q.abs()), half(k.abs() * rising / 16.0));
        let [cq, ck, cv] = [&q, &k, &v].map(on_card);
        let attention = FusedAttention { units: Some(self), ..FusedAttention::sized(&cq, &ck) };
        agree(attention.run(cq, ck, cv, usize::MAX), vdm::attention(q, k, v, None))
    }

    /// A shader's source for these units. Every line with one of the `repeated` names stands for as
    /// many lines as the number beside it, in which the name is counted up.
    pub(crate) fn tailored(self, source: &str, repeated: &[(&str, u32)]) -> String {
        let Self { edge, lanes } = self;
        let constants = [("EDGE", edge as usize), ("LANES", lanes as usize)];
        let source = with_constants(source, &constants)
            .replace("coop_mat16x16", &format!("coop_mat{edge}x{edge}"));
        repeated.iter().fold(source, |source, (name, times)| {
            let lines = source.lines().flat_map(|line| {
                let times = if line.contains(name) { *times } else { 1 };
                (0..times).map(move |i| line.replace(name, &i.to_string()) + "\n")
            });
            lines.collect()
        })
    }
}

fn state(device: &Device) -> Option<State> {
    let known = KNOWN.lock().ok()?;
    known.iter().find(|(of, _)| of == device).map(|(_, state)| state.clone())
}

fn set_state(device: &Device, state: State) {
    if let Ok(mut known) = KNOWN.lock() {
        known.retain(|(of, _)| of != device);
        known.push((device.clone(), state));
    }
}
