//! Products of matrices of halves on matrix units: `shaders/product_units.wgsl`.

use burn::nn::Linear;
use burn::tensor::{DType, Tensor};
use burn_wgpu::{CubeBackend, CubeDim};

use super::MatrixUnits;
use super::launch::{Kernel, launch, on_card, room_beside, with_constants};

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
    /// The product of `left`, `[rows, depth]`, and `right`, `[depth, columns]`, halves both.
    ///
    /// # Panics
    /// When they are of other sizes, or not on one card.
    pub fn run(&self, left: Tensor<2>, right: Tensor<2>) -> Tensor<2> {
        let Self { rows, depth, columns, .. } = *self;
        assert_eq!((left.dims(), right.dims()), ([rows, depth], [depth, columns]));
        let [left, right] = [left, right].map(on_card);
        let product = room_beside(&left, [rows, columns]);
        let side = TILES * self.units.edge;
        let groups = [(columns as u32).div_ceil(side), (rows as u32).div_ceil(side), 1];
        let buffers = [&left, &right, &product].map(|tensor| tensor.handle.clone());
        launch(self, &product.client, groups, buffers);
        Tensor::from_primitive::<CubeBackend>(product)
    }
}

impl Kernel for Product {
    fn wgsl(&self) -> String {
        let Self { units, rows, depth, columns } = *self;
        let constants = [("ROWS", rows), ("DEPTH", depth), ("COLUMNS", columns)];
        let quarter = TILES / 2;
        let source = with_constants(SHADER, &constants);
        units.tailored(&source, &[("{i}", quarter), ("{j}", quarter)])
    }

    fn threads(&self) -> CubeDim {
        CubeDim::new_1d(SUBGROUPS * self.units.lanes)
    }
}
