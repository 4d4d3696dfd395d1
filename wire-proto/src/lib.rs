#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod code;
pub use code::CloseCode;

pub mod frame;

mod protocol;
pub use protocol::Protocol;

mod stream;
pub use stream::{StreamHead, StreamHeadBuilder, TlsFacts};

pub mod datagram;

mod message;
pub use message::MessageError;

pub mod control;
pub mod credential;

pub mod agent;
pub mod gateway;

#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub mod drive;

#[cfg(feature = "codec")]
#[cfg_attr(docsrs, doc(cfg(feature = "codec")))]
pub mod codec;

mod open;
mod pb;
mod refusal;
#[cfg(test)]
mod table;

#[cfg(feature = "arbitrary")]
mod arbitrary;

/// `FUZZING.md`, so that its program is compiled.
#[cfg(doctest)]
#[doc = include_str!("../FUZZING.md")]
struct Fuzzing;
