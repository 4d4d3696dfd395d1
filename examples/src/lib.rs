#![doc = include_str!("../../README.md")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the enums of the libraries are open, and these programs say nothing about most of their variants"
)]

pub mod acme;
pub mod agent;
pub mod conformance;
pub mod gateway;
pub mod logs;
pub mod quickstart;
pub mod test_authority;
pub mod test_nat;

mod carriers;
mod deadline;
mod files;
mod io;
mod random;

use rustls::crypto::CryptoProvider;
use std::sync::Arc;

/// An error for the person who started a program.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The cryptography of these programs: aws-lc-rs, with post-quantum key exchange.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
