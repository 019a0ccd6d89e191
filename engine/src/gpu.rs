//! Choosing the device that computes and in what numbers, and describing it in words.
//!
//! The window has a device of its own, so a saturated engine never stalls it.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;

use crate::memory::{self, Taken};
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
    /// Bytes of the largest tensor that it takes, where anything but the memory is a bound.
    pub largest_tensor: Option<u64>,
    /// Bytes of a card's memory, where its interface tells.
    pub card_memory: Option<u64>,
}

/// The share of a card's memory that is left to the desktop and to other programs.
const OF_OTHERS: u64 = 10;

impl Chosen {
    /// Whether the transformer's attention among a clip's tokens holds scores: on cards whose
    /// attention is not fused. burn's attention on the processor never does.
    pub fn holds_scores(&self) -> bool {
        self.compiles && !self.fused_attention
    }

    /// Bytes that jobs may take of the memory it computes in, as far as anybody knows: of a card's,
    /// what networks that are open hold is not among them.
    pub fn free_memory(&self) -> Option<u64> {
        if self.in_own_memory {
            return memory::free();
        }
        let all = self.card_memory?;
        // What the allocator holds and nobody uses is there as well.
        self.device.memory_cleanup();
        Some((all - all / OF_OTHERS).saturating_sub(self.held().unwrap_or(0)))
    }

    /// What this program has taken to compute on it. Software that plays a card holds memory of this
    /// process.
    pub fn taken(&self) -> Taken {
        let card = if self.in_own_memory { None } else { self.held() };
        Taken { card, own: memory::peak() }
    }

    /// Bytes that the device's allocator holds.
    fn held(&self) -> Option<u64> {
        self.device.memory_pool_usage().map(|usage| usage.bytes_reserved)
    }

    /// Bytes that `work` takes of the memory it computes in, beside what is taken already: the
    /// process's peak, or what the card's allocator comes to hold.
    pub fn taken_by(&self, work: impl FnOnce()) -> Option<u64> {
        if self.compiles {
            self.device.memory_cleanup();
            let before = self.held();
            work();
            return Some(self.held()?.saturating_sub(before?));
        }
        memory::forget_peak();
        let before = memory::resident();
        work();
        Some(memory::peak()?.saturating_sub(before?))
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
    /// Its memory, bytes, where its interface tells.
    pub memory: Option<u64>,
    /// No tensor may be larger, bytes.
    pub largest_tensor: u64,
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
        largest_tensor: None,
        card_memory: None,
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
mod with_wgpu;
#[cfg(feature = "gpu")]
pub use with_wgpu::adapters;
#[cfg(feature = "gpu")]
use with_wgpu::{open_adapter, with_tested_units};

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
