//! Choosing the device that computes and in what numbers, and describing it in words.
//!
//! The window has a device of its own, so a saturated engine never stalls it.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;

use crate::remote::{self, Remote, RemoteError};
use crate::weights::{Numbers, Precision};

/// Numbers in transformer and control branch from which on half precision is taken by itself: 1 GB
/// in single precision. Below there is little to save.
const HALF_PRECISION_FROM: u64 = 250_000_000;

/// Where the networks run, as a person asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The best graphics card; the processor where there is none.
    #[default]
    Auto,
    Vulkan,
    Metal,
    Dx12,
    Cpu,
    /// The device that another machine lends.
    Remote(Remote),
}

impl DeviceChoice {
    /// Those of this machine.
    pub const ALL: [Self; 5] = [Self::Auto, Self::Vulkan, Self::Metal, Self::Dx12, Self::Cpu];

    pub fn is_remote(self) -> bool {
        matches!(self, Self::Remote(_))
    }
}

/// What a person types.
impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Vulkan => f.write_str("vulkan"),
            Self::Metal => f.write_str("metal"),
            Self::Dx12 => f.write_str("dx12"),
            Self::Cpu => f.write_str("cpu"),
            Self::Remote(remote) => remote.fmt(f),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if name.starts_with(remote::SCHEME) {
            return name.parse().map(Self::Remote);
        }
        Self::ALL.into_iter().find(|choice| choice.to_string() == name).ok_or_else(|| {
            let names = Self::ALL.map(|choice| choice.to_string());
            format!(
                "there is no device '{name}'; choose one of {}, or another machine's with {}HOST:PORT",
                names.join(", "),
                remote::SCHEME
            )
        })
    }
}

/// In what transformer and control branch compute, as a person asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PrecisionChoice {
    /// Half precision where a graphics card has it and the pack is large.
    #[default]
    Auto,
    Exactly(Precision),
}

impl PrecisionChoice {
    pub const ALL: [Self; 3] =
        [Self::Auto, Self::Exactly(Precision::F16), Self::Exactly(Precision::F32)];

    /// What a person types.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Exactly(precision) => precision.name(),
        }
    }
}

impl fmt::Display for PrecisionChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for PrecisionChoice {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|choice| choice.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|choice| choice.name()).collect();
            format!("there is no precision '{name}'; choose one of {}", names.join(", "))
        })
    }
}

/// What is to compute and in what numbers, as a person asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ComputeChoice {
    pub device: DeviceChoice,
    pub precision: PrecisionChoice,
    /// Whether linear weights of transformer and control branch are kept in 8 bits.
    pub eight_bit: bool,
}

impl From<DeviceChoice> for ComputeChoice {
    fn from(device: DeviceChoice) -> Self {
        Self { device, ..Self::default() }
    }
}

/// A device ready to compute.
///
/// Half precision is for transformer and control branch, nine tenths of the release's weights. What
/// stays in single precision was measured to need it: a golden code of the dLDM becomes another one
/// in half precision; and convolutions of burn 0.22 on graphics cards sum in the numbers they are
/// given, which puts the video autoencoder off by 2.4 % of its largest value at the width of the
/// golden cases already. On matrix units, which sum in single precision, its kernels are in halves
/// all the same. The policy is too small to gain anything.
#[derive(Debug, Clone)]
pub struct Chosen {
    pub device: Device,
    /// Those of transformer and control branch on it; single precision until [`Chosen::computing`].
    pub numbers: Numbers,
    /// A graphics card that computes in half precision.
    pub half_card: bool,
    /// For people: adapter, interface and driver.
    pub description: String,
    /// What it takes is memory of this process: the processor, or software that plays a card.
    pub in_own_memory: bool,
    /// Another machine's.
    pub elsewhere: bool,
    /// Kernels are compiled when they first run, which can take longer than the work itself.
    pub compiles: bool,
    /// The transformer's attention runs in the kernel of `kernels/attention.rs`.
    pub fused_attention: bool,
}

impl Chosen {
    /// Whether the transformer's attention among a clip's tokens holds scores: on cards whose
    /// attention is not fused. burn's attention on the processor never does.
    pub fn holds_scores(&self) -> bool {
        self.compiles && !self.fused_attention
    }

    /// The same device computing as asked for, with a pack whose transformer and control branch
    /// have `count` numbers.
    ///
    /// # Errors
    /// Says why a device asked to compute in half precision does not.
    pub fn computing(mut self, choice: ComputeChoice, count: u64) -> Result<Self, GpuError> {
        // burn 0.22 has no 8-bit weights there: its client panics where they are made.
        if choice.eight_bit && choice.device.is_remote() {
            return Err(GpuError::EightBitElsewhere);
        }
        let large = count >= HALF_PRECISION_FROM;
        let precision = match choice.precision {
            PrecisionChoice::Auto if self.half_card && large => Precision::F16,
            PrecisionChoice::Auto => Precision::F32,
            PrecisionChoice::Exactly(precision) => precision,
        };
        if precision == Precision::F16 {
            if !self.compiles {
                return Err(GpuError::HalfOnProcessor);
            }
            if !self.device.supports_dtype(precision.dtype()) {
                return Err(GpuError::NoHalf { adapter: self.description });
            }
            self = with_tested_units(self, choice.device)?;
        }
        self.numbers = Numbers { precision, eight_bit: choice.eight_bit };
        if self.numbers != Numbers::default() {
            self.description += &format!(", {}", self.numbers);
        }
        Ok(self)
    }
}

/// Why no device could be had.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    #[error("no {0} adapter was found; use --device auto or --device cpu")]
    NoAdapter(DeviceChoice),
    #[error("this build has no graphics interface; use --device cpu")]
    NotBuilt,
    #[error("{adapter} does not compute in half precision; use --precision f32")]
    NoHalf { adapter: String },
    #[error(
        "half precision is for graphics cards, a processor only converts it back and forth; use --precision f32"
    )]
    HalfOnProcessor,
    #[error("{adapter} could not be opened: {reason}; use --device cpu")]
    Refused { adapter: String, reason: String },
    #[error("another machine's device does not take 8-bit weights; leave out --eight-bit")]
    EightBitElsewhere,
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

/// One adapter as `info` lists it.
#[derive(Debug, Clone)]
pub struct Adapter {
    pub description: String,
    /// Runs on the processor; never chosen by [`DeviceChoice::Auto`], burn's own CPU backend is faster.
    pub is_software: bool,
    /// Whether it computes in half precision.
    pub half: bool,
    /// Largest storage binding in bytes: no single tensor may be larger.
    pub max_binding_bytes: u64,
}

/// Opens the device asked for, another machine's by a new connection.
///
/// A software adapter is only taken when its interface is named: it is slower than the CPU backend.
///
/// # Errors
/// Fails when the interface asked for has no adapter or the adapter cannot be opened.
pub fn choose(choice: DeviceChoice) -> Result<Chosen, GpuError> {
    match choice {
        DeviceChoice::Cpu => return Ok(cpu()),
        DeviceChoice::Remote(remote) => return Ok(remote::connect(remote)?),
        _ => {}
    }
    match open_adapter(choice) {
        Err(GpuError::NoAdapter(DeviceChoice::Auto) | GpuError::NotBuilt)
            if choice == DeviceChoice::Auto =>
        {
            Ok(cpu())
        }
        Err(GpuError::Refused { adapter, reason }) if choice == DeviceChoice::Auto => {
            let cpu = cpu();
            let refused = format!("as {adapter} could not be opened: {reason}");
            Ok(Chosen { description: format!("{}, {refused}", cpu.description), ..cpu })
        }
        opened => opened,
    }
}

#[cfg(not(feature = "libtorch"))]
fn cpu() -> Chosen {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    processor(Device::flex(), format!("CPU, {cores} cores"))
}

/// With PyTorch's kernels built in, the processor computes through them: training is about four
/// times faster than on burn's own CPU backend.
#[cfg(feature = "libtorch")]
#[expect(
    deprecated,
    reason = "burn 0.22 still ships LibTorch and nothing else trains as fast on a CPU"
)]
fn cpu() -> Chosen {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    processor(Device::libtorch(), format!("CPU through LibTorch, {cores} cores"))
}

fn processor(device: Device, description: String) -> Chosen {
    let numbers = Numbers::default();
    Chosen {
        device,
        numbers,
        half_card: false,
        description,
        in_own_memory: true,
        elsewhere: false,
        compiles: false,
        fused_attention: false,
    }
}

/// Whether a device multiplies matrices of halves in units of its own, which passed their test when
/// it was first to compute in halves.
#[cfg(feature = "gpu")]
pub fn has_matrix_units(device: &Device) -> bool {
    crate::kernels::MatrixUnits::of(device).is_some()
}

#[cfg(not(feature = "gpu"))]
pub fn has_matrix_units(_device: &Device) -> bool {
    false
}

#[cfg(not(feature = "gpu"))]
fn open_adapter(_choice: DeviceChoice) -> Result<Chosen, GpuError> {
    Err(GpuError::NotBuilt)
}

#[cfg(not(feature = "gpu"))]
fn with_tested_units(chosen: Chosen, _choice: DeviceChoice) -> Result<Chosen, GpuError> {
    Ok(chosen)
}

/// The adapters of this machine.
#[cfg(not(feature = "gpu"))]
pub fn adapters() -> Vec<Adapter> {
    Vec::new()
}

#[cfg(feature = "gpu")]
pub use with_wgpu::adapters;
#[cfg(feature = "gpu")]
use with_wgpu::{open_adapter, with_tested_units};

#[cfg(feature = "gpu")]
mod with_wgpu {
    use burn::tensor::{Device, Tensor};
    use burn_wgpu::WgpuSetup;
    use wgpu::{Backends, DeviceType};

    use super::{Adapter, Chosen, DeviceChoice, GpuError};
    use crate::kernels::{FusedAttention, MatrixUnits};
    use crate::weights::Numbers;

    fn backends(choice: DeviceChoice) -> Backends {
        match choice {
            DeviceChoice::Vulkan => Backends::VULKAN,
            DeviceChoice::Metal => Backends::METAL,
            DeviceChoice::Dx12 => Backends::DX12,
            DeviceChoice::Auto | DeviceChoice::Cpu | DeviceChoice::Remote(_) => {
                Backends::VULKAN | Backends::METAL | Backends::DX12
            }
        }
    }

    fn describe(info: &wgpu::AdapterInfo) -> String {
        let software = if info.device_type == DeviceType::Cpu { ", software" } else { "" };
        format!("{}, {}{software}", info.name, info.backend)
    }

    fn instance() -> wgpu::Instance {
        wgpu::Instance::new(wgpu::InstanceDescriptor {
            // OpenGL cannot compute, and looking for it makes its libraries complain aloud.
            backends: backends(DeviceChoice::Auto),
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        })
    }

    fn enumerate(instance: &wgpu::Instance, backends: Backends) -> Vec<wgpu::Adapter> {
        pollster::block_on(instance.enumerate_adapters(backends))
    }

    /// The adapters of this machine, the order that wgpu finds them in.
    pub fn adapters() -> Vec<Adapter> {
        enumerate(&instance(), backends(DeviceChoice::Auto))
            .iter()
            .map(|adapter| {
                let info = adapter.get_info();
                Adapter {
                    description: describe(&info),
                    is_software: info.device_type == DeviceType::Cpu,
                    half: adapter.features().contains(wgpu::Features::SHADER_F16),
                    max_binding_bytes: adapter.limits().max_storage_buffer_binding_size,
                }
            })
            .collect()
    }

    /// Dedicated cards before built-in ones; software last.
    fn rank(kind: DeviceType) -> u8 {
        match kind {
            DeviceType::DiscreteGpu => 0,
            DeviceType::IntegratedGpu => 1,
            DeviceType::VirtualGpu => 2,
            DeviceType::Other => 3,
            DeviceType::Cpu => 4,
        }
    }

    /// What to ask of an adapter that offers so much. wgpu refuses the device for anything that is
    /// experimental, of which cards have plenty, unless it is allowed by an unsafe call.
    fn wanted(offered: wgpu::Features, matrix_units: bool) -> wgpu::Features {
        let safe = offered
            - wgpu::Features::MAPPABLE_PRIMARY_BUFFERS
            - wgpu::Features::all_experimental_mask();
        match matrix_units {
            true => safe | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX,
            false => safe,
        }
    }

    /// The first that opens of the adapters that the choice leaves, the best before others.
    pub fn open_adapter(choice: DeviceChoice) -> Result<Chosen, GpuError> {
        let instance = instance();
        let mut adapters = enumerate(&instance, backends(choice));
        adapters.retain(|adapter| {
            choice != DeviceChoice::Auto || adapter.get_info().device_type != DeviceType::Cpu
        });
        adapters.sort_by_key(|adapter| rank(adapter.get_info().device_type));
        let mut outcome = Err(GpuError::NoAdapter(choice));
        for adapter in adapters {
            let candidates = MatrixUnits::candidates(&adapter);
            let units = !candidates.is_empty();
            outcome = open(&instance, adapter.clone(), candidates);
            if units && outcome.is_err() {
                outcome = open(&instance, adapter, Vec::new());
            }
            if outcome.is_ok() || choice != DeviceChoice::Auto {
                break;
            }
        }
        outcome
    }

    fn open(
        instance: &wgpu::Instance,
        adapter: wgpu::Adapter,
        candidates: Vec<MatrixUnits>,
    ) -> Result<Chosen, GpuError> {
        let info = adapter.get_info();
        let description = describe(&info);
        let refused = |reason: String| GpuError::Refused { adapter: description.clone(), reason };
        let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
        if !candidates.is_empty() {
            #[expect(unsafe_code, reason = "wgpu marks what it counts as experimental this way")]
            // SAFETY: no shaders but those of `kernels/` that use matrix units have anything
            // experimental. They keep within their buffers, and are tested before they are used.
            let enabled = unsafe { wgpu::ExperimentalFeatures::enabled() };
            experimental_features = enabled;
        }
        // wgpu's default limits are far too small for weights; ask for all the adapter has.
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("engine"),
            required_features: wanted(adapter.features(), !candidates.is_empty()),
            required_limits: adapter.limits(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            experimental_features,
            ..Default::default()
        }))
        .map_err(|error| refused(error.to_string()))?;
        let half = adapter.features().contains(wgpu::Features::SHADER_F16);
        let (instance, backend) = (instance.clone(), info.backend);
        let setup = WgpuSetup { instance, adapter, device, queue, backend };
        let device = Device::wgpu_options()
            .setup(setup)
            .init()
            .map_err(|error| refused(error.to_string()))?;
        if !candidates.is_empty() {
            MatrixUnits::offer(candidates, &device);
        }
        let in_own_memory = info.device_type == DeviceType::Cpu;
        let probe = Tensor::zeros([1, 1, 1, 4], &device);
        let fused_attention = FusedAttention::of(&probe, &probe, &probe).is_some();
        Ok(Chosen {
            device,
            numbers: Numbers::default(),
            half_card: half && !in_own_memory,
            description,
            in_own_memory,
            elsewhere: false,
            compiles: true,
            fused_attention,
        })
    }

    /// The same device with its matrix units tested, to compute in halves. Those that fail may have
    /// spoilt the device, so another one is opened without them.
    pub fn with_tested_units(chosen: Chosen, choice: DeviceChoice) -> Result<Chosen, GpuError> {
        let (note, chosen) = match MatrixUnits::test(&chosen.device) {
            None => return Ok(chosen),
            Some(true) => ("matrix units", chosen),
            Some(false) => {
                let instance = instance();
                let adapters = enumerate(&instance, backends(choice));
                let again = adapters
                    .into_iter()
                    .find(|adapter| describe(&adapter.get_info()) == chosen.description);
                let again = again.ok_or(GpuError::NoAdapter(choice))?;
                let chosen = open(&instance, again, Vec::new())?;
                ("matrix units unused, as they failed a test", chosen)
            }
        };
        let description = format!("{}, {note}", chosen.description);
        Ok(Chosen { description, ..chosen })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn nothing_experimental_is_asked_for_but_matrix_units() {
            let all = wgpu::Features::all();
            assert!(wanted(all, false).contains(wgpu::Features::SHADER_F16));
            let experimental = wgpu::Features::all_experimental_mask();
            assert!(!wanted(all, false).intersects(experimental));
            let units = wanted(all, true).intersection(experimental);
            assert_eq!(units, wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for choice in DeviceChoice::ALL {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        let elsewhere = "ws://workstation:9000".parse::<DeviceChoice>().unwrap();
        assert_eq!(elsewhere.to_string(), "ws://workstation:9000");
        let error = "cuda".parse::<DeviceChoice>().unwrap_err();
        assert!(error.contains("'cuda'") && error.contains("vulkan"), "{error}");
        for choice in PrecisionChoice::ALL {
            assert_eq!(choice.name().parse(), Ok(choice));
        }
        let error = "f8".parse::<PrecisionChoice>().unwrap_err();
        assert!(error.contains("'f8'") && error.contains("f16"), "{error}");
    }

    #[test]
    fn eight_bit_weights_stay_on_this_machine() {
        let elsewhere = DeviceChoice::Remote("workstation".parse().unwrap());
        let choice = ComputeChoice { eight_bit: true, ..elsewhere.into() };
        let refused = cpu().computing(choice, 1).unwrap_err().to_string();
        assert!(refused.contains("--eight-bit"), "{refused}");
        assert!(cpu().computing(ComputeChoice { device: DeviceChoice::Cpu, ..choice }, 1).is_ok());
    }

    #[test]
    fn half_precision_is_taken_by_itself_for_large_packs_on_cards_alone() {
        let taken = |half_card: bool, compiles: bool, numbers: u64, choice: PrecisionChoice| {
            // A card that the test need not have: the CPU backend knows halves as well.
            let chosen = Chosen { half_card, compiles, ..cpu() };
            let choice = ComputeChoice { precision: choice, ..Default::default() };
            chosen.computing(choice, numbers).map(|chosen| chosen.numbers.precision)
        };
        let [auto, f16, f32] = PrecisionChoice::ALL;
        assert_eq!(taken(true, true, HALF_PRECISION_FROM, auto).ok(), Some(Precision::F16));
        assert_eq!(taken(true, true, HALF_PRECISION_FROM - 1, auto).ok(), Some(Precision::F32));
        assert_eq!(taken(false, true, HALF_PRECISION_FROM, auto).ok(), Some(Precision::F32));
        assert_eq!(taken(true, true, 1, f16).ok(), Some(Precision::F16));
        assert_eq!(taken(true, true, HALF_PRECISION_FROM, f32).ok(), Some(Precision::F32));
        let refused = taken(false, false, 1, f16).unwrap_err().to_string();
        assert!(refused.contains("--precision f32"), "{refused}");
    }
}
