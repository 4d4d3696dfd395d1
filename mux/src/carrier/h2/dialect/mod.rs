//! The layer below: HTTP/2 requests as two-way streams, for dialects that are none of ours.
//!
//! A gateway may have to serve agents that speak somebody else's HTTP/2 protocol beside ours, on the same port. What all of
//! those need is here, and nothing about what requests mean: requests that the peer opens, also extended CONNECT
//! (RFC 8441), answered at once or much later; octets both ways with windows that are given back when the caller says so;
//! codes of resets as they came; and a GOAWAY of one's own as the last frame.
//!
//! ```
//! use adit_mux::carrier::h2::dialect::{Connection, Limits};
//! use std::time::Duration;
//!
//! # async fn example(socket: tokio::net::TcpStream) -> Result<(), Box<dyn std::error::Error>> {
//! // `socket` is a TLS connection whose ALPN chose this dialect.
//! let mut connection = Connection::server(socket, &Limits::default()).await?;
//! while let Some(asked) = connection.accept().await {
//!     let asked = asked?;
//!     if asked.protocol() != Some("echo") {
//!         asked.reset(0x2);
//!         continue;
//!     }
//!     let mut bridge = asked.answer(http::Response::new(()))?.into_bridge();
//!     tokio::spawn(async move {
//!         let (mut reader, mut writer) = tokio::io::split(&mut bridge);
//!         tokio::io::copy(&mut reader, &mut writer).await
//!     });
//! }
//! connection.close(0, b"come back later", Duration::from_secs(5)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The connection moves only while [`Connection::poll_accept`] is polled; everything else is a handle that any task may
//! hold. The session of [`super::start`] stands on this layer too. `examples/foreign_dialect.rs` is a whole one.

mod connection;
mod error;
mod frames;
mod limits;
mod request;
mod stream;
mod wire;

pub(super) use connection::extended;
pub use connection::{Connection, Opener};
pub use error::LinkError;
pub use limits::Limits;
pub use request::{Answer, Answered, Asked, Exchange, Reply};
pub use stream::{Bridge, ReceiveHalf, SendHalf};
