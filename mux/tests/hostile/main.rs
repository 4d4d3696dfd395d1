//! The core against peers that break rules or bend them: one test for each numbered case.
#![allow(
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::disallowed_methods,
    reason = "a test may fail, owns its clock, and knows its numbers"
)]

#[path = "../common/mod.rs"]
mod common;
mod credit;
mod drain;
mod endings;
mod floods;
mod frames;
mod sharing;
mod time;

use adit_mux::SessionEnd;
use adit_wire_proto::CloseCode;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn ended_by(end: Result<(), SessionEnd>) -> CloseCode {
    end.unwrap_err().close_code()
}
