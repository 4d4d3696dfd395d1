//! Shared pieces of the benchmarks.

mod stats;
pub use stats::{float, jain_index, median, percentile};
