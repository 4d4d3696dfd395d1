mod room;
mod sniff;
mod sniffed;

pub use room::{SniffRoom, SniffSeat};
pub use sniff::{SniffError, refuse, sniff};
pub use sniffed::Sniffed;
