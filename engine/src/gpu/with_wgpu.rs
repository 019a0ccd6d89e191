//! Adapters of this machine through wgpu, and how they are opened.

use burn::tensor::{Device, Tensor};
use burn_wgpu::WgpuSetup;
use wgpu::{Backends, DeviceType};

use super::{Adapter, Chosen, DeviceChoice, GpuError};
use crate::kernels::{FusedAttention, MatrixUnits};
use crate::memory;
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
                memory: card_memory(adapter),
                largest_tensor: largest_tensor(&adapter.limits()),
            }
        })
        .collect()
}

/// A tensor is one binding of a buffer.
fn largest_tensor(limits: &wgpu::Limits) -> u64 {
    limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)
}

/// The memory of a card, bytes, which wgpu itself does not tell: on Vulkan its largest heap, of which
/// a built-in card has no more than the machine has free.
#[cfg(not(target_vendor = "apple"))]
fn card_memory(adapter: &wgpu::Adapter) -> Option<u64> {
    /// `VK_MEMORY_HEAP_DEVICE_LOCAL_BIT`
    const DEVICE_LOCAL: u32 = 1;
    #[expect(unsafe_code, reason = "wgpu hands out Vulkan's own adapter this way alone")]
    // SAFETY: the adapter lives as long as what is borrowed of it, and is only asked for numbers.
    let properties = unsafe {
        let own = adapter.as_hal::<wgpu::hal::api::Vulkan>()?;
        let instance = own.shared_instance().raw_instance();
        instance.get_physical_device_memory_properties(own.raw_physical_device())
    };
    let heaps = &properties.memory_heaps[..properties.memory_heap_count as usize];
    let local = heaps.iter().filter(|heap| heap.flags.as_raw() & DEVICE_LOCAL != 0);
    let largest = local.map(|heap| heap.size).max()?;
    let shared = adapter.get_info().device_type == DeviceType::IntegratedGpu;
    Some(memory::available().filter(|_| shared).map_or(largest, |free| free.min(largest)))
}

#[cfg(target_vendor = "apple")]
fn card_memory(_adapter: &wgpu::Adapter) -> Option<u64> {
    None
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
    let largest_tensor = largest_tensor(&adapter.limits());
    let card_memory = card_memory(&adapter);
    let (instance, backend) = (instance.clone(), info.backend);
    let setup = WgpuSetup { instance, adapter, device, queue, backend };
    let device =
        Device::wgpu_options().setup(setup).init().map_err(|error| refused(error.to_string()))?;
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
        largest_tensor: Some(largest_tensor),
        card_memory,
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
