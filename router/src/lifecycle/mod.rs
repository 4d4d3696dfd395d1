//! A tunnel's record and its life: what state it is in, what may be done to it, and what whoever watches is told.

pub mod conformance;
mod connection;
mod record;
mod state;
mod status;
mod store;

pub use connection::{Connection, UpstreamProbe};
pub use record::{ChangeError, Changes, NewRecord, Past, Record, RecordError, TlsMode};
pub use state::{Command, Event, Live, State, StateError, Terms};
pub use status::Status;
pub use store::{MemoryStore, StoreError, TunnelStore};
