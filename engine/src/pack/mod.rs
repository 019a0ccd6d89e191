//! Packs: a folder with all weights and settings of one trained system.

/// Names the content of a pack: the hash of its manifest, which holds the hashes of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PackId(pub [u8; 32]);
