//! The conformance program: plays good and hostile scripts against any gateway or agent, and names the section of the
//! specification that each failure breaks. `CONFORMANCE.md` is its manual.
//!
//! ```text
//!  scripts (JSON) ─► player ─► peer ─► TCP or TLS ─► the gateway or agent under test
//!                      └─────► local: the visitor, or the upstream
//! ```

mod carrier;
mod control;
mod flags;
mod local;
mod peer;
mod player;
mod report;
mod script;
mod wire;

pub use carrier::{Carrier, Dialler, Listener};
pub use flags::{AgentFlags, Flags, GatewayFlags, Role};
pub use player::{Failure, Player};
pub use report::{Report, run};
pub use script::{Script, agent_scripts, gateway_scripts, parse};
