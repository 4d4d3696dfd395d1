//! Which carrier to use: races them, remembers what worked, and looks for better ones while a session serves.
//!
//! No I/O, no clock, no dice: dials and sessions are the caller's. It tells here what became of them and what time it
//! is, and carries out the verdicts.
//!
//! ```text
//!            begin                    an answer                 registered
//!   idle ───────────► racing ───────────────────► settling ─────────────────► serving ◄───────────┐
//!    ▲                  │ all failed                 │ lost: race on             │  │ time, silence │ registered:
//!    ├──────────────────┘                            └──► racing                 │  ▼               │ choice moved
//!    └───────────────────────── lost ────────────────────────────────────────────┘ probing ─► settling beside it
//! ```
//!
//! ```
//! use adit_mux::Carrier;
//! use adit_mux::carrier::select::{Failure, Preferences, Reason, Selector, Verdict};
//! use std::time::{Duration, Instant};
//!
//! let mut now = Instant::now();
//! let mut selector = Selector::new(Preferences::new([Carrier::Quic, Carrier::Native]), 7);
//! selector.begin(now);
//! assert_eq!(selector.poll_verdict(), Some(Verdict::Start { carrier: Carrier::Quic }));
//! // No answer by UDP. After its head start the next one is dialled beside it.
//! now = selector.poll_timeout().unwrap();
//! selector.handle_timeout(now);
//! assert_eq!(selector.poll_verdict(), Some(Verdict::Start { carrier: Carrier::Native }));
//! selector.receive_answer(now, Carrier::Native);
//! assert_eq!(selector.poll_verdict(), Some(Verdict::Cancel { carrier: Carrier::Quic }));
//! assert_eq!(selector.poll_verdict(), Some(Verdict::Use { carrier: Carrier::Native }));
//! selector.receive_ready(now, Carrier::Native);
//! assert_eq!(selector.choice().unwrap().reason(), Reason::FirstToAnswer);
//! // UDP is tried again in a while.
//! now = selector.poll_timeout().unwrap();
//! selector.handle_timeout(now);
//! assert_eq!(selector.poll_verdict(), Some(Verdict::Probe { carrier: Carrier::Quic }));
//! # let _ = (Failure::NoAnswer, Duration::ZERO);
//! ```

mod choice;
mod preferences;
mod race;
mod selector;
#[cfg(test)]
mod tests;

pub use choice::{Choice, Failure, Loser, Outcome, Reason};
pub use preferences::Preferences;
pub use selector::{Selector, Verdict};
