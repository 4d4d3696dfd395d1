//! The agent's side of a control stream.

mod control;

pub use control::{Control, Event, Options};
