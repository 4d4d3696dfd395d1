//! HTTP requests: which may pass, and what their fields must look like on the other side.

mod fields;
mod forwarded;
mod framing;
mod gate;
mod path;
mod response;

pub use fields::{HeldBack, prepare_request};
pub use forwarded::Visitor;
pub use gate::{Admitted, GateError, Reaction, RequestGate};
pub use path::PathView;
pub use response::{CookieScope, ResponseError, prepare_response};
