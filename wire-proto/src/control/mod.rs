//! The messages of the control stream (SPEC, "Control stream").
//!
//! ```text
//! +-------------------------------+-------------------------------+
//! | length (4), at most 65,536    | protobuf (length)             |   repeated
//! +-------------------------------+-------------------------------+
//! ```
//!
//! The types here are plain data. What order they come in is known to [`agent::Control`](crate::agent::Control) and
//! [`gateway::Control`](crate::gateway::Control).

mod answer;
mod codec;
mod deadlines;
mod error;
mod hello;
mod message;
mod notice;
mod numbers;
mod register;
mod request;
mod version;

pub use answer::{
    Answer, CertificateChain, CertificateState, Registered, RegistrationLimits, RotatedSecret, VisitorToken,
};
pub use codec::{MAX_MESSAGE_BYTES, MessageDecoder};
pub use deadlines::Deadlines;
pub(crate) use deadlines::after;
pub use error::{CommandError, ControlError};
pub use hello::{Hello, Offer, SessionLimits, Settings, Welcome};
pub use message::{AgentMessage, GatewayMessage};
pub use notice::{Drain, Notice};
pub use numbers::{
    AuthMode, Binding, Generation, RegistrationId, RequestNumber, TlsMode, TunnelStatus, Visibility,
};
pub use register::{Claim, Policy, Register};
pub use request::{Request, RequestKind};
pub use version::{ControlVersion, ControlVersions};
