//! Shared pieces of the benchmarks.

pub mod hello;
mod stats;
pub use stats::{float, jain_index, median, percentile};
