//! What graphics cards compute in kernels of our own, written in WGSL: attention, and on matrix units
//! the products of linear layers and convolutions.

mod attention;
mod convolution;
mod launch;
mod product;
mod units;

pub use attention::FusedAttention;
pub(crate) use attention::SCORES_OF_A_LAUNCH;
pub use convolution::{Convolution, convolve};
pub use launch::Kernel;
pub use product::{Product, linear};
pub use units::MatrixUnits;
