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
#[cfg(feature = "websocket")]
pub mod websocket;

/// The vectors that everybody can run, by the name of their file.
#[cfg(all(test, any(feature = "h2", feature = "quic")))]
fn vectors(name: &str) -> Vec<serde_json::Value> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../wire-proto/vectors");
    serde_json::from_str(&std::fs::read_to_string(folder.join(name)).unwrap()).unwrap()
}
