//! What a session can travel on beside a plain connection.
//!
//! Sessions and streams are the same on each; a session's `capabilities` say what differs.

pub(crate) mod kind;
pub mod select;

#[cfg(any(feature = "h2", feature = "quic"))]
mod control;
#[cfg(feature = "h2")]
pub mod h2;
#[cfg(feature = "quic")]
pub mod quic;
#[cfg(test)]
#[cfg(any(feature = "h2", feature = "quic"))]
mod vectors;
#[cfg(feature = "websocket")]
pub mod websocket;
