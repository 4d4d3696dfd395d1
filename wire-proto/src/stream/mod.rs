//! The head of a stream (SPEC, "Stream heads").

mod head;

pub use head::{StreamHead, StreamHeadBuilder, TlsFacts};
