mod acceptor;
mod names;
mod tickets;

pub use acceptor::{Edge, EdgeAcceptError, EdgeBuilder, EdgeHost, EdgeInstallError};
pub use tickets::ResumptionScope;
