#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod table;
pub use table::{
    Agent, AttachError, Attached, Dispatch, Generation, InFlight, Join, MAX_KEYS, OwnedRouteKey,
    PublishError, RouteKey, RouteTable, Routes, Standing, Stick, Superseded, Tunnel, TunnelId, Update,
};
