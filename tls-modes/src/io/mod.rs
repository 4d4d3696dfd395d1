mod sniff;
mod sniffed;

pub use sniff::{SniffError, refuse, sniff};
pub use sniffed::Sniffed;
