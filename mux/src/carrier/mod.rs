//! What a session can travel on beside a plain connection.

#[cfg(feature = "websocket")]
pub mod websocket;
