//! What all kernels of our own share: the source for one size, tensors on a card, the launch.

use std::fmt::Debug;
use std::hash::Hash;

use burn::tensor::Tensor;
use burn_wgpu::{
    CubeBackend, CubeDim, CubeTensor, KernelSource, SourceKernel, SourceTemplate, into_contiguous,
};
use cubecl::ExecutionMode;
use cubecl::client::Client;
use cubecl::prelude::{CubeCount, KernelId};
use cubecl::server::{Handle, KernelArguments};

/// A kernel for tensors of one size.
pub trait Kernel: Debug + Clone + Eq + Hash + Send + Sync + 'static {
    /// Its source in WGSL.
    fn wgsl(&self) -> String;

    /// The threads of a workgroup.
    fn threads(&self) -> CubeDim;
}

/// A kernel as burn's runtime takes it.
struct Source<K>(K);

impl<K: Kernel> KernelSource for Source<K> {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(self.0.wgsl())
    }

    fn id(&self) -> KernelId {
        // Checked kernels count the rounds of every loop; those of ours have constant bounds.
        KernelId::new::<K>()
            .mode(ExecutionMode::Unchecked)
            .cube_dim(self.0.threads().into())
            .info(self.0.clone())
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}

/// `shader` with other values for its constants of unsigned numbers.
///
/// # Panics
/// When it has none of such a name.
pub(super) fn with_constants(shader: &str, constants: &[(&str, usize)]) -> String {
    constants.iter().fold(shader.to_owned(), |source, (name, value)| {
        let declared = format!("const {name} = ");
        let lines = source.split_inclusive('\n');
        let found = lines.clone().filter(|line| line.starts_with(&declared)).count();
        assert_eq!(found, 1, "the shader declares {name}");
        lines
            .map(|line| match line.starts_with(&declared) {
                true => format!("{declared}{value}u;\n"),
                false => line.to_owned(),
            })
            .collect()
    })
}

/// The numbers of a tensor, one behind the other.
///
/// # Panics
/// When they are not on a card of this machine.
pub(super) fn on_card<const D: usize>(x: Tensor<D>) -> CubeTensor {
    into_contiguous(x.try_into_primitive::<CubeBackend>().expect("the tensor is on a card"))
}

/// Room for a tensor on the same card as `other` and of the same numbers.
pub(super) fn room_beside<const D: usize>(other: &CubeTensor, shape: [usize; D]) -> CubeTensor {
    let CubeTensor { client, device, dtype, .. } = other;
    let bytes = shape.iter().product::<usize>() * dtype.size();
    CubeTensor::new_contiguous(
        client.clone(),
        device.clone(),
        shape.into(),
        client.empty(bytes),
        *dtype,
    )
}

/// Runs so many workgroups of a kernel on buffers, which are bound in their order.
pub(super) fn launch<K: Kernel>(
    kernel: &K,
    client: &Client,
    [x, y, z]: [u32; 3],
    buffers: impl IntoIterator<Item = Handle>,
) {
    let all = KernelArguments::new();
    let arguments = buffers.into_iter().fold(all, |all, buffer| all.with_buffer(buffer.binding()));
    let kernel = SourceKernel::new(Source(kernel.clone()), kernel.threads());
    client.launch(Box::new(kernel), CubeCount::Static(x, y, z), arguments);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_set_by_their_whole_name() {
        let shader = "const HEIGHT = 512u;\nconst KERNEL_HEIGHT = 3u;\nfn f() {}\n";
        let set = with_constants(shader, &[("KERNEL_HEIGHT", 5), ("HEIGHT", 7)]);
        assert_eq!(set, "const HEIGHT = 7u;\nconst KERNEL_HEIGHT = 5u;\nfn f() {}\n");
    }

    #[test]
    #[should_panic(expected = "declares WIDTH")]
    fn a_constant_that_is_not_there_is_no_silent_default() {
        with_constants("const HEIGHT = 512u;\n", &[("WIDTH", 5)]);
    }
}
