//! The QUIC Initial sniffer and the flow table, from outside: the cases, the vectors of the RFCs, properties
//! over orders and cuts, and captures of real clients where they are installed.
#![cfg(feature = "quic")]
#![allow(
    clippy::as_conversions,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod captures;
mod client;
mod flows;
mod front;
mod initial;
mod vectors;
