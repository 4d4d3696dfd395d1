#[cfg(feature = "proxy-protocol")]
mod proxy;
mod room;
mod sniff;
mod sniffed;

#[cfg(feature = "proxy-protocol")]
pub use proxy::{ReadProxyError, read_proxy_header};
pub use room::{SniffRoom, SniffSeat};
pub use sniff::{SniffError, refuse, sniff};
pub use sniffed::Sniffed;
