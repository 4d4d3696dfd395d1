//! WebSocket: the octets of the native carrier in binary messages, for networks that let nothing else through.
//!
//! ```
//! # async fn example(socket: tokio::net::TcpStream) -> Result<(), Box<dyn std::error::Error>> {
//! use adit_mux::carrier::websocket;
//! use adit_mux::{Builder, Role};
//!
//! // `socket` is a TLS connection in earnest.
//! let io = websocket::connect(socket, "wss://gateway.example/").await?;
//! let (reader, writer) = io.split_with(tokio::io::split);
//! let (session, incoming, driver) = Builder::new(Role::Dialler).build_split(reader, writer);
//! tokio::spawn(driver);
//! # let _ = (session, incoming);
//! # Ok(())
//! # }
//! ```
//!
//! `SPEC.md` section 15.1. Boundaries of messages mean nothing; each gathered write is one message. The upgrade is made by
//! tokio-tungstenite, and frames are read and written here: read where they lie, without a copy, and nothing of a message is kept.

mod decoder;
mod frame;
mod handshake;
mod io;
mod keys;
mod upgrade;
mod writer;

pub use handshake::{HandshakeError, ProtocolFailure, SUBPROTOCOL, accept, connect};
pub use io::{WebSocketIo, WebSocketReader, WebSocketWriter};
