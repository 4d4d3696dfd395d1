#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod table;
pub use adit_naming::TunnelId;
pub use table::{
    Agent, AttachError, Attached, Dispatch, Generation, InFlight, Join, MAX_KEYS, OwnedRouteKey,
    PublishError, Reader, RouteKey, RouteTable, Routes, Standing, Stick, Superseded, Tunnel, Update,
};

mod lifecycle;
pub use lifecycle::{
    ChangeError, Changes, Command, Connection, Event, Live, MemoryStore, NewRecord, Past, Record,
    RecordError, State, StateError, Status, StoreError, Terms, TlsMode, TunnelStore, UpstreamProbe,
    conformance as store_conformance,
};

mod admission;
pub use admission::{
    Account, AdmissionError, Budget, BudgetError, Cents, CentsError, Credentials, DelegationError, Grant,
    KeyId, KeyKind, Pace, Reservation, Role,
};

mod idle;
pub use idle::{Activity, Arrival, IdleRule, Traffic, WakeGate, WakeLimits, WakeOutput};

mod ports;
pub use ports::{PortLease, PortPool, PortUnavailable, Transport, Unavailable};

mod udp;
pub use udp::{UdpAnswer, UdpFlowId, UdpFlowLimits, UdpFlowStats, UdpFlows, UdpRefused};

mod directory;
pub use directory::{
    Batch, Change, Directory, DirectoryError, Fence, FenceVerdict, LeaseClock, LeaseId, MemoryDirectory,
    MemoryWatch, NodeId, Placement, Resync, Revision, Snapshot, View, Watch, WatchError,
    conformance as directory_conformance,
};

mod sync;

mod detect;
pub use detect::{Detection, Detector, Spoken};

mod reach;
pub use reach::{OrganisationId, Unreachable, Viewer, Visibility, VisibilityError};

#[cfg(feature = "http")]
mod request;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use request::{
    Admitted, CookieScope, GateError, HeldBack, PathView, Reaction, RequestGate, ResponseError, Visitor,
    prepare_request, prepare_response,
};

#[cfg(feature = "http")]
mod screen;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use screen::{Screen, ScreenError, Seen};
#[cfg(all(feature = "http", feature = "tokio"))]
#[cfg_attr(docsrs, doc(cfg(all(feature = "http", feature = "tokio"))))]
pub use screen::{Screened, Turns};

#[cfg(feature = "webhook")]
mod compare;

#[cfg(feature = "webhook")]
mod webhook;
#[cfg(feature = "webhook")]
#[cfg_attr(docsrs, doc(cfg(feature = "webhook")))]
pub use webhook::{
    Received, Receiver, SecretError, SignatureEncoding, Validator, ValidatorError, WebhookError,
    WebhookSecret,
};

#[cfg(feature = "policy")]
mod policy;
#[cfg(feature = "policy")]
#[cfg_attr(docsrs, doc(cfg(feature = "policy")))]
pub use policy::{
    AddressLimit, AuthMode, BasicUsers, ByteBudget, BytesSpent, Decision, Denial, FieldRules, Finding,
    Forward, Moment, NewShare, PRIVATE_AUTHORIZATION, Pass, PathRules, PendingWebhook, Policy, PolicyError,
    Presence, RUNLOOP_AUTHORIZATION, Rate, SHARE_COOKIE, SHARE_FIELD, SHARE_PATH, SecretDigest, Share,
    ShareEntrance, ShareExpiry, ShareId, ShareKey, Shares, SourceRules, Step, Verdict, Visit, VisitorToken,
    WEBHOOK_FIELD, WebhookCheck, WebhookDemand,
};

#[cfg(doc)]
#[doc = include_str!("../FEATURES.md")]
pub mod features {}
