//! HTTP/2: streams are HTTP/2's own, for networks whose proxies speak nothing newer.
//!
//! Whoever dialled is HTTP/2's *server* here, since the gateway opens the streams. The agent's streams travel on
//! requests that the gateway sent ahead for it.
//!
//! ```
//! # async fn example(socket: tokio::net::TcpStream) {
//! use adit_mux::{Config, Role, carrier::h2};
//!
//! // `socket` is a TLS connection with the ALPN `h2::ALPN` in earnest.
//! let (session, incoming, driver) = h2::start(Role::Dialler, socket, &Config::default());
//! tokio::spawn(driver);
//! # let _ = (session, incoming);
//! # }
//! ```
//!
//! `SPEC.md` section 15.3. Handles never call HTTP/2: they leave octets with the driver, which moves what comes out of
//! HTTP/2's buffers into the streams' own at once. So a stream that isn't read costs its window and no other stream,
//! however small its frames are.

mod cell;
mod chunks;
mod connection;
mod control;
pub mod dialect;
mod driver;
mod heads;
mod incoming;
mod lane;
mod session;
mod shared;
mod stream;
mod tap;
#[cfg(test)]
mod vectors;

pub use driver::{ALPN, start};

pub(crate) use incoming::{Incoming, IncomingStream};
pub(crate) use session::Session;
pub(crate) use stream::{ReceiveStream, SendStream};
