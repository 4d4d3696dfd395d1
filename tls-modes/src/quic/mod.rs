mod connection_id;
mod crypto;
mod error;
mod flows;
mod frame;
mod front;
mod packet;
mod reassembly;
mod sniffer;
mod version;

pub use connection_id::ConnectionId;
pub use crypto::{NoQuicSuite, QuicCrypto};
pub use error::{DatagramError, InitialRefusal};
pub use flows::{FlowId, FlowLimits, FlowTable, Reply};
pub use front::{AdmittedFlow, HeldDatagram, QuicFront, QuicLimits, QuicVerdict};
pub use sniffer::{InitialHello, InitialLimits, InitialSniff, InitialSniffer};
pub use version::QuicVersion;
