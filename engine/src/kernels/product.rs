//! Products of matrices of halves on matrix units: `shaders/product_units.wgsl`.

use burn::nn::Linear;
use burn::tensor::{DType, Tensor};
use burn_wgpu::{
    CubeBackend, CubeDim, CubeTensor, KernelSource, SourceKernel, SourceTemplate, into_contiguous,
};
use cubecl::ExecutionMode;
use cubecl::prelude::{CubeCount, KernelId};
use cubecl::server::KernelArguments;

use super::MatrixUnits;

const SHADER: &str = include_str!("../../../shaders/product_units.wgsl");

/// What a linear layer makes of `x` on the matrix units of its card, or nothing where it must go
/// another way: numbers that are not halves, gradients, a device without units that passed the test.
pub fn linear<const D: usize>(layer: &Linear, x: &Tensor<D>) -> Option<Tensor<D>> {
    let units = MatrixUnits::of(&x.device())?;
    x.clone().try_into_primitive::<CubeBackend>().ok()?;
    let weight = layer.weight.val();
    let shape = x.dims();
    let [depth, columns] = weight.dims();
    let rows = shape.iter().product::<usize>() / depth;
    let fits = x.dtype() == DType::F16 && depth.is_multiple_of(4) && columns.is_multiple_of(4);
    if !fits || rows == 0 {
        return None;
    }
    let weight = match weight.dtype() {
        DType::F16 => weight,
        DType::QFloat(_) => weight.dequantize().cast(DType::F16),
        _ => return None,
    };
    let product = Product { units, rows, depth, columns };
    let found = product.run(x.clone().reshape([rows, depth]), weight);
    let mut wide = shape;
    wide[D - 1] = columns;
    let found = found.reshape(wide);
    Some(match &layer.bias {
        Some(bias) => found + bias.val().unsqueeze(),
        None => found,
    })
}

/// The kernel of `shaders/product_units.wgsl` for matrices of one size.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Product {
    pub units: MatrixUnits,
    pub rows: usize,
    /// A multiple of four, as are the columns.
    pub depth: usize,
    pub columns: usize,
}

/// Matrices of the card along each side of what a workgroup computes.
pub(super) const TILES: u32 = 8;
pub(super) const SUBGROUPS: u32 = 4;

impl Product {
    /// Its source in WGSL.
    pub fn wgsl(&self) -> String {
        let Self { units, rows, depth, columns } = self;
        let source = SHADER
            .replace("ROWS = 512u;", &format!("ROWS = {rows}u;"))
            .replace("DEPTH = 512u;", &format!("DEPTH = {depth}u;"))
            .replace("COLUMNS = 512u;", &format!("COLUMNS = {columns}u;"));
        let quarter = TILES / 2;
        units.tailored(&source, &[("{i}", quarter), ("{j}", quarter)])
    }

    /// The product of `left`, `[rows, depth]`, and `right`, `[depth, columns]`, halves both.
    ///
    /// # Panics
    /// When they are of other sizes, or not on one card.
    pub fn run(&self, left: Tensor<2>, right: Tensor<2>) -> Tensor<2> {
        let Self { rows, depth, columns, .. } = *self;
        assert_eq!((left.dims(), right.dims()), ([rows, depth], [depth, columns]));
        let tensors = [left, right].map(|x| {
            let x = x.try_into_primitive::<CubeBackend>();
            into_contiguous(x.expect("both matrices are on one card"))
        });
        let CubeTensor { client, device, dtype, .. } = &tensors[0];
        let product = CubeTensor::new_contiguous(
            client.clone(),
            device.clone(),
            [rows, columns].into(),
            client.empty(rows * columns * dtype.size()),
            *dtype,
        );
        let arguments = tensors
            .iter()
            .chain([&product])
            .fold(KernelArguments::new(), |all, x| all.with_buffer(x.handle.clone().binding()));
        let side = TILES * self.units.edge;
        client.launch(
            Box::new(SourceKernel::new(self.clone(), self.cube_dim())),
            CubeCount::Static((columns as u32).div_ceil(side), (rows as u32).div_ceil(side), 1),
            arguments,
        );
        Tensor::from_primitive::<CubeBackend>(product)
    }

    fn cube_dim(&self) -> CubeDim {
        CubeDim::new_1d(SUBGROUPS * self.units.lanes)
    }
}

impl KernelSource for Product {
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
