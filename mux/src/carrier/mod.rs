//! What a session can travel on beside a plain connection.
//!
//! Sessions and streams are the same on each; [`Session::capabilities`](crate::Session::capabilities) says what
//! differs.

#[cfg(feature = "quic")]
mod control;
#[cfg(feature = "quic")]
pub mod quic;
#[cfg(feature = "websocket")]
pub mod websocket;
