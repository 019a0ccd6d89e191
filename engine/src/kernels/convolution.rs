//! Convolutions over pictures on matrix units: `shaders/convolution_units.wgsl`.

use burn::tensor::{DType, Tensor};
use burn_wgpu::{CubeBackend, CubeDim};

use super::MatrixUnits;
use super::launch::{Kernel, launch, on_card, room_beside, with_constants};
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
    pub(super) fn run(&self, x: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
        let Self { outputs, height, width, .. } = *self;
        let pictures = x.dims()[0];
        let [x, weight] = [x, weight].map(on_card);
        let convolved = room_beside(&x, [pictures, outputs, height, width]);
        let side = TILES * self.units.edge;
        let groups = [
            ((height * width) as u32).div_ceil(side),
            (outputs as u32).div_ceil(side),
            pictures as u32,
        ];
        let buffers = [&weight, &x, &convolved].map(|tensor| tensor.handle.clone());
        launch(self, &convolved.client, groups, buffers);
        Tensor::from_primitive::<CubeBackend>(convolved)
    }
}

impl Kernel for Convolution {
    fn wgsl(&self) -> String {
        let Self { units, outputs, inputs, height, width, kernel: [kernel_height, kernel_width] } =
            *self;
        let constants = [
            ("OUTPUTS", outputs),
            ("INPUTS", inputs),
            ("HEIGHT", height),
            ("WIDTH", width),
            ("KERNEL_HEIGHT", kernel_height),
            ("KERNEL_WIDTH", kernel_width),
        ];
        let quarter = TILES / 2;
        let source = with_constants(SHADER, &constants);
        units.tailored(&source, &[("{i}", quarter), ("{j}", quarter)])
    }

    fn threads(&self) -> CubeDim {
        CubeDim::new_1d(SUBGROUPS * self.units.lanes)
    }
}
