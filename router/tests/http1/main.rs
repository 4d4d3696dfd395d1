//! The screen on the octets of HTTP/1, beside readers that aren't ours: what it lets pass has one reading.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

#[cfg(feature = "tokio")]
mod early_answers;
mod hyper_reads;
mod llhttp;
mod reading;
