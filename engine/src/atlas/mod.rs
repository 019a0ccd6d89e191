//! Maps of the codes and measures of what they are worth.
//!
//! A map lays the latent steps of a reference set out on a plane (UMAP) so that like lies near
//! like; the measures put numbers on it: neighbours that share an action, what a linear probe can
//! read, how the codebook is used, and how close a video comes to the truth.

mod codebook;
mod image_quality;
mod neighbours;
mod pca;
mod probe;
mod purity;
mod reference;
mod umap;

pub use codebook::{CodebookUse, codebook_use, most_frequent_accuracy, step_features};
pub use image_quality::{gradient_deviation, moving_region, psnr, ssim};
pub use neighbours::{Neighbours, nearest, neighbours};
pub use pca::principal_plane;
pub use probe::{Probe, ProbeSettings};
pub use purity::{Purity, purity};
pub use reference::{
    AtlasMap, ColourBy, MapPoint, ReferenceClip, ReferenceError, ReferenceSet, StepId,
};
pub use umap::{UmapSettings, place, umap};
