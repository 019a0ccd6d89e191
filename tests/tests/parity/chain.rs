//! Kinds of whole chains across networks (c12, c13).

use crate::Kind;

pub fn kinds() -> Vec<Kind> {
    Vec::new()
}
