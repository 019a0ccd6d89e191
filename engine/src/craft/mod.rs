//! The craft world: paper folding and block building on a table, drawn from a seed.

mod task;

pub use task::Task;
