//! The frames of the native carrier (SPEC, "Frames").
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------------------------------+
//! |     kind      |     flags     |       length of the body      |
//! +---------------+---------------+-------------------------------+
//! |                    id of the stream, or 0                     |
//! +---------------------------------------------------------------+
//! |                     body, `length` octets                   ...
//! ```
//!
//! Everything is big-endian. Reading is in two steps, so that nothing is reserved for a body that can't be right:
//! [`FrameHeader::decode`] looks at the eight octets alone, and [`Frame::decode`] at the body it announced.

mod body;
mod conduct;
mod decoder;
mod error;
mod header;
mod hello;
mod kind;

pub use body::{Frame, MAX_REASON_BYTES};
pub use conduct::{Conduct, ConductError, Dialled};
pub use decoder::Decoder;
pub use error::FrameError;
pub use header::{FrameHeader, HEADER_BYTES, MAX_DATA_BYTES};
pub use hello::{Feature, Hello, HelloError, MAGIC, Version, VersionRange};
pub use kind::{FrameKind, MAX_HEAD_BYTES};
