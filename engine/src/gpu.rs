//! Choosing the device that computes, and describing it in words.
//!
//! The window has a device of its own, so a saturated engine never stalls it.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;

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
}

impl DeviceChoice {
    pub const ALL: [Self; 5] = [Self::Auto, Self::Vulkan, Self::Metal, Self::Dx12, Self::Cpu];

    /// What a person types.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Vulkan => "vulkan",
            Self::Metal => "metal",
            Self::Dx12 => "dx12",
            Self::Cpu => "cpu",
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|choice| choice.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|choice| choice.name()).collect();
            format!("there is no device '{name}'; choose one of {}", names.join(", "))
        })
    }
}

/// A device ready to compute.
#[derive(Debug, Clone)]
pub struct Chosen {
    pub device: Device,
    /// For people: adapter, interface and driver.
    pub description: String,
    /// Kernels are compiled when they first run, which can take longer than the work itself.
    pub compiles: bool,
}

/// Why no device could be had.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    #[error("no {0} adapter was found; use --device auto or --device cpu")]
    NoAdapter(DeviceChoice),
    #[error("this build has no graphics interface; use --device cpu")]
    NotBuilt,
    #[error("{adapter} could not be opened: {reason}; use --device cpu")]
    Refused { adapter: String, reason: String },
}

/// One adapter as `info` lists it.
#[derive(Debug, Clone)]
pub struct Adapter {
    pub description: String,
    /// Runs on the processor; never chosen by [`DeviceChoice::Auto`], burn's own CPU backend is faster.
    pub is_software: bool,
    /// Largest storage binding in bytes: no single tensor may be larger.
    pub max_binding_bytes: u64,
}

/// Opens the device asked for.
///
/// A software adapter is only taken when its interface is named: it is slower than the CPU backend.
///
/// # Errors
/// Fails when the interface asked for has no adapter or the adapter cannot be opened.
pub fn choose(choice: DeviceChoice) -> Result<Chosen, GpuError> {
    if choice == DeviceChoice::Cpu {
        return Ok(cpu());
    }
    match open_adapter(choice) {
        Err(GpuError::NoAdapter(DeviceChoice::Auto) | GpuError::NotBuilt)
            if choice == DeviceChoice::Auto =>
        {
            Ok(cpu())
        }
        opened => opened,
    }
}

#[cfg(not(feature = "libtorch"))]
fn cpu() -> Chosen {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Chosen { device: Device::flex(), description: format!("CPU, {cores} cores"), compiles: false }
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
    Chosen {
        device: Device::libtorch(),
        description: format!("CPU through LibTorch, {cores} cores"),
        compiles: false,
    }
}

#[cfg(not(feature = "gpu"))]
fn open_adapter(_choice: DeviceChoice) -> Result<Chosen, GpuError> {
    Err(GpuError::NotBuilt)
}

/// The adapters of this machine.
#[cfg(not(feature = "gpu"))]
pub fn adapters() -> Vec<Adapter> {
    Vec::new()
}

#[cfg(feature = "gpu")]
pub use with_wgpu::adapters;
#[cfg(feature = "gpu")]
use with_wgpu::open_adapter;

#[cfg(feature = "gpu")]
mod with_wgpu {
    use burn::tensor::Device;
    use burn_wgpu::WgpuSetup;
    use wgpu::{Backends, DeviceType};

    use super::{Adapter, Chosen, DeviceChoice, GpuError};

    fn backends(choice: DeviceChoice) -> Backends {
        match choice {
            DeviceChoice::Vulkan => Backends::VULKAN,
            DeviceChoice::Metal => Backends::METAL,
            DeviceChoice::Dx12 => Backends::DX12,
            DeviceChoice::Auto | DeviceChoice::Cpu => {
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

    pub fn open_adapter(choice: DeviceChoice) -> Result<Chosen, GpuError> {
        let instance = instance();
        let adapter = enumerate(&instance, backends(choice))
            .into_iter()
            .filter(|a| choice != DeviceChoice::Auto || a.get_info().device_type != DeviceType::Cpu)
            .min_by_key(|a| rank(a.get_info().device_type))
            .ok_or(GpuError::NoAdapter(choice))?;
        let info = adapter.get_info();
        let description = describe(&info);
        let refused = |reason: String| GpuError::Refused { adapter: description.clone(), reason };

        // wgpu's default limits are far too small for weights; ask for all the adapter has.
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("engine"),
            required_features: adapter.features() - wgpu::Features::MAPPABLE_PRIMARY_BUFFERS,
            required_limits: adapter.limits(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        }))
        .map_err(|error| refused(error.to_string()))?;
        let setup = WgpuSetup { instance, adapter, device, queue, backend: info.backend };
        let device = Device::wgpu_options()
            .setup(setup)
            .init()
            .map_err(|error| refused(error.to_string()))?;
        Ok(Chosen { device, description, compiles: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for choice in DeviceChoice::ALL {
            assert_eq!(choice.name().parse(), Ok(choice));
        }
        let error = "cuda".parse::<DeviceChoice>().unwrap_err();
        assert!(error.contains("'cuda'") && error.contains("vulkan"), "{error}");
    }
}
