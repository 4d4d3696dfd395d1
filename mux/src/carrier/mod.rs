//! What a session can travel on beside a plain connection.
//!
//! Sessions and streams are the same on each; [`Session::capabilities`](crate::Session::capabilities) says what
//! differs.

#[cfg(any(feature = "h2", feature = "quic"))]
mod control;
#[cfg(feature = "h2")]
pub mod h2;
#[cfg(feature = "quic")]
pub mod quic;
#[cfg(feature = "websocket")]
pub mod websocket;
