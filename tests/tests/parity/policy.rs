//! Kinds of the policy network (c14).

use crate::Kind;

pub fn kinds() -> Vec<Kind> {
    Vec::new()
}
