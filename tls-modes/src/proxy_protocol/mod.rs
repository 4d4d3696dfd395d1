mod header;
mod reader;
mod trusted;

pub use header::{ProxyHeader, ProxyVersion};
pub use reader::{ProxyError, ProxyLimits, ProxyRead, ProxyReader};
pub use trusted::{SourceNetwork, SourceNetworkError, TrustedSources};
