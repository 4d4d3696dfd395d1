//! The gateway's side of a control stream.

mod control;

pub use control::{Authorised, Control, Event, Options};
