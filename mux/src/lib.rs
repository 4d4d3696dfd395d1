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
mod driver;
#[cfg(feature = "tokio")]
pub use driver::{
    Builder, Driver, Incoming, IncomingStream, ReceiveStream, RelayEnd, RelayOptions, RelayReport,
    SendStream, Session, Stream, relay,
};
#[cfg(feature = "tower")]
pub use driver::{Connector, TunnelIo};

#[cfg(feature = "websocket")]
pub mod carrier;
