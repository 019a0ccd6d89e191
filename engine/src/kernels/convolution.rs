//! Convolutions over pictures on matrix units: `shaders/convolution_units.wgsl`.

use burn::tensor::{DType, Tensor};
use burn_wgpu::{
    CubeBackend, CubeDim, CubeTensor, KernelSource, SourceKernel, SourceTemplate, into_contiguous,
};
use cubecl::ExecutionMode;
use cubecl::prelude::{CubeCount, KernelId};
use cubecl::server::KernelArguments;

use super::MatrixUnits;
use super::product::{SUBGROUPS, TILES};

const SHADER: &str = include_str!("../../../shaders/convolution_units.wgsl");

/// The kernel for pictures and kernels of one size.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Convolution {
    pub units: MatrixUnits,
    pub outputs: usize,
    /// With the kernel's height and width a multiple of four.
    pub inputs: usize,
    pub height: usize,
    /// A multiple of four.
    pub width: usize,
    /// Height and width, odd both.
    pub kernel: [usize; 2],
}

/// The convolution of `x`, `[picture, in, height, width]` in single precision, with `weight`, `[out,
/// in, kernel height, kernel width]` in halves, that keeps height and width. Nothing where it must go
/// another way: other numbers or sizes, gradients, a device without units that passed the test.
pub fn convolve(x: &Tensor<4>, weight: &Tensor<4>) -> Option<Tensor<4>> {
    let units = MatrixUnits::of(&x.device())?;
    x.clone().try_into_primitive::<CubeBackend>().ok()?;
    let ([pictures, inputs, height, width], [outputs, of, kh, kw]) = (x.dims(), weight.dims());
    let fits = x.dtype() == DType::F32
        && weight.dtype() == DType::F16
        && of == inputs
        && (inputs * kh * kw).is_multiple_of(4)
        && width.is_multiple_of(4)
        && kh % 2 == 1
        && kw % 2 == 1
        && pictures * height > 0;
    let kernel = Convolution { units, outputs, inputs, height, width, kernel: [kh, kw] };
    fits.then(|| kernel.run(x.clone(), weight.clone()))
}

impl Convolution {
    /// Its source in WGSL.
    pub fn wgsl(&self) -> String {
        let Self { units, outputs, inputs, height, width, kernel: [kernel_height, kernel_width] } =
            self;
        let source = SHADER
            .replace("OUTPUTS = 512u;", &format!("OUTPUTS = {outputs}u;"))
            .replace("INPUTS = 512u;", &format!("INPUTS = {inputs}u;"))
            .replace("HEIGHT = 512u;", &format!("HEIGHT = {height}u;"))
            .replace("WIDTH = 512u;", &format!("WIDTH = {width}u;"))
            .replace("KERNEL_HEIGHT = 3u;", &format!("KERNEL_HEIGHT = {kernel_height}u;"))
            .replace("KERNEL_WIDTH = 3u;", &format!("KERNEL_WIDTH = {kernel_width}u;"));
        let quarter = TILES / 2;
        units.tailored(&source, &[("{i}", quarter), ("{j}", quarter)])
    }

    pub(super) fn run(&self, x: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
        let Self { outputs, height, width, .. } = *self;
        let pictures = x.dims()[0];
        let [x, weight] = [x, weight].map(|x| {
            let x = x.try_into_primitive::<CubeBackend>();
            into_contiguous(x.expect("pictures and kernels are on one card"))
        });
        let CubeTensor { client, device, dtype, .. } = &x;
        let shape = [pictures, outputs, height, width];
        let convolved = CubeTensor::new_contiguous(
            client.clone(),
            device.clone(),
            shape.into(),
            client.empty(shape.iter().product::<usize>() * dtype.size()),
            *dtype,
        );
        let arguments = [&weight, &x, &convolved]
            .into_iter()
            .fold(KernelArguments::new(), |all, x| all.with_buffer(x.handle.clone().binding()));
        let side = TILES * self.units.edge;
        client.launch(
            Box::new(SourceKernel::new(self.clone(), self.cube_dim())),
            CubeCount::Static(
                ((height * width) as u32).div_ceil(side),
                (outputs as u32).div_ceil(side),
                pictures as u32,
            ),
            arguments,
        );
        Tensor::from_primitive::<CubeBackend>(convolved)
    }

    fn cube_dim(&self) -> CubeDim {
        CubeDim::new_1d(SUBGROUPS * self.units.lanes)
    }
}

impl KernelSource for Convolution {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(self.wgsl())
    }

    fn id(&self) -> KernelId {
        // As of the attention kernel: the bounds of its loops are constant.
        KernelId::new::<Self>()
            .mode(ExecutionMode::Unchecked)
            .cube_dim(self.cube_dim().into())
            .info(self.clone())
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}
