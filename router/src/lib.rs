#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod table;
pub use table::{
    Agent, AttachError, Attached, Dispatch, Generation, InFlight, Join, MAX_KEYS, OwnedRouteKey,
    PublishError, RouteKey, RouteTable, Routes, Standing, Stick, Superseded, Tunnel, TunnelId, Update,
};

mod ports;
pub use ports::{PortLease, PortPool, PortUnavailable, Transport, Unavailable};

#[cfg(feature = "http")]
mod request;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use request::{
    Admitted, CookieScope, GateError, HeldBack, PathView, Reaction, RequestGate, ResponseError, Visitor,
    prepare_request, prepare_response,
};
