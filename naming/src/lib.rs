#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![no_std]

extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

#[macro_use]
mod text;

mod label;
pub use label::{Label, LabelError, LabelRef};

mod name;
pub use name::{NameError, NameRule, TunnelName, TunnelNameRef};

mod handle;
pub use handle::AgentHandle;

mod display;
pub use display::{Description, DisplayName, DisplayTextError, ShareName};

mod zone;
pub use zone::{Zone, ZoneError};

mod host;
pub use host::{Host, HostError, HostSource};

mod tunnel_id;
pub use tunnel_id::TunnelId;

mod key_label;
pub use key_label::{KeyLabelRef, PortPrefix};

#[cfg(feature = "keys")]
#[cfg_attr(docsrs, doc(cfg(feature = "keys")))]
pub mod keys;

mod destination;
pub use destination::{Destination, Zones, ZonesError};

mod domain;
pub use domain::{CustomDomain, CustomDomainRef, DomainError};

#[cfg(feature = "idn")]
#[cfg_attr(docsrs, doc(cfg(feature = "idn")))]
mod idn;
#[cfg(feature = "idn")]
pub use idn::IdnError;

mod reserved;
pub use reserved::{BUILT_IN_RESERVED, ReservedGroup, ReservedNames, Skeleton};

mod rules;
pub use rules::{NameRefusal, NameRules, WordFilter};

mod time;
pub use time::Timestamp;

pub mod ownership;

mod generate;
pub use generate::{GenerateError, NameStyle};

#[cfg(feature = "conformance")]
#[cfg_attr(docsrs, doc(cfg(feature = "conformance")))]
pub mod conformance;

mod target;
pub use target::{Target, TargetError, TargetHost, TargetRisk};

mod endpoint;
pub use endpoint::{ConnectionString, Endpoint, EndpointError, Scheme, Service};

#[cfg(feature = "errors")]
#[cfg_attr(docsrs, doc(cfg(feature = "errors")))]
mod refusal;

#[cfg(doc)]
#[doc = include_str!("../DESIGN.md")]
pub mod design {}
