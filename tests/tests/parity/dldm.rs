//! Kinds of the latent dynamics model (c01 to c05).

use crate::Kind;

pub fn kinds() -> Vec<Kind> {
    Vec::new()
}
