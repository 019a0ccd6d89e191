//! Adapters of this machine through wgpu, and how they are opened.

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
