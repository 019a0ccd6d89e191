//! Kinds of the video model (c06 to c11).

use crate::Kind;

pub fn kinds() -> Vec<Kind> {
    Vec::new()
}
