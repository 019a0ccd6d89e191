//! One thread that owns the device: requests in, events out, finished clips in a shared store.

mod protocol;

pub use protocol::{
    Candidate, ClipQuality, Event, JobId, PackSource, PackSummary, Progress, Request, Sampling,
    Stage,
};
