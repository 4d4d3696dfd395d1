#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod role;
pub use role::Role;

mod config;
pub use config::{Allowance, Config};

mod budget;
pub use budget::Budget;

mod error;
pub use error::{Abuse, DatagramError, OpenError, SessionEnd, StreamError, Timeout, Violation};

mod observe;
pub use observe::{Observer, Origin};

mod stats;
pub use stats::SessionStats;

mod connection;
pub use connection::{Batch, Connection, Event, Priority, StreamKey};

#[cfg(feature = "tokio")]
#[expect(unreachable_pub, reason = "seen through `session`, which has the same methods on every carrier")]
#[cfg_attr(feature = "direct", expect(missing_docs, reason = "seen by the benches alone"))]
mod driver;
#[cfg(feature = "tokio")]
pub use driver::{Builder, RelayEnd, RelayOptions, RelayReport, relay};
#[cfg(feature = "tower")]
pub use driver::{Connector, TunnelIo};

#[cfg(feature = "tokio")]
mod session;
#[cfg(feature = "tokio")]
pub use session::{
    Capabilities, Driver, Incoming, IncomingStream, ReceiveStream, SendStream, Session, Stream,
};

#[cfg(feature = "tokio")]
pub mod flow;

pub mod carrier;
pub use carrier::kind::{Carrier, UnknownCarrier};

#[cfg(feature = "proxy")]
pub mod proxy;

/// The native carrier's own types, which the benches compare with those above. No part of the API.
#[cfg(feature = "direct")]
#[doc(hidden)]
pub mod direct {
    pub use crate::driver::{Incoming, IncomingStream, ReceiveStream, SendStream, Session};
}
