//! Control streams over any `AsyncRead + AsyncWrite` (feature `tokio`).
//!
//! Each front owns its stream and its machine, spawns nothing, and keeps all time limits. Put one in a task of its own
//! and `select!` over its `next_event` and your own commands: every method here is cancel-safe.

mod agent;
mod error;
mod gateway;
mod pump;

pub use agent::{AgentControl, AgentEvent};
pub use error::{ConnectError, DriveError, RequestError};
pub use gateway::GatewayControl;
