//! QUIC: streams are QUIC's own, over UDP, for agents that change their address and for datagrams that stay datagrams.
//!
//! ```no_run
//! # async fn example(connection: quinn::Connection) {
//! use adit_mux::{Config, carrier::quic};
//!
//! // `connection` was made with `quic::transport` on both sides and the ALPN `quic::ALPN`.
//! let (session, incoming, driver) = quic::start(connection, &Config::default());
//! tokio::spawn(driver);
//! # let _ = (session, incoming);
//! # }
//! ```
//!
//! The endpoint and its certificates are the caller's: `quinn` with one of its crypto providers (features `ring` and
//! `aws-lc-rs` here pass theirs on). Keep the endpoint until [`quinn::Endpoint::wait_idle`], or the peer might not see
//! why a session closed. [`UdpBuffers`] says whether its socket keeps enough. `SPEC.md` section 15.2.

mod buffers;
mod driver;
mod incoming;
mod link;
mod numbers;
mod session;
mod stream;
mod transport;
#[cfg(test)]
mod vectors;

pub use buffers::UdpBuffers;
pub use transport::{ALPN, channel_binding, start, transport};

pub(crate) use incoming::{Incoming, IncomingStream};
pub(crate) use session::Session;
pub(crate) use stream::{ReceiveStream, SendStream};
