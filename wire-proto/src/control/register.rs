//! What a registration asks for.

use super::{AuthMode, Generation, TlsMode, Visibility};
use crate::message::{MessageError, millis, octets, port, text, texts};
use crate::{Protocol, pb};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// Asks for a tunnel.
///
/// ```
/// use adit_wire_proto::Protocol;
/// use adit_wire_proto::control::{Claim, Register};
///
/// let mut register = Register::new(Protocol::TCP, Claim::Name("my-db".into()));
/// register.port = Some(35_432);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Register {
    /// What the tunnel carries.
    pub protocol: Protocol,
    /// Under what name.
    pub claim: Claim,
    /// One of the session's zones; `None` (the default) for the first.
    pub zone: Option<String>,
    /// The public port of a tcp, udp or ssh tunnel; `None` (the default) for the gateway's choice.
    pub port: Option<u16>,
    /// Who ends TLS; by default what fits the protocol.
    pub tls_mode: TlsMode,
    /// Who may visit; by default what the gateway's owner chose.
    pub auth_mode: AuthMode,
    /// From where the tunnel is reached; public by default.
    pub visibility: Visibility,
    /// For people, at most 400 octets (100 characters); empty by default.
    pub display_name: String,
    /// For people, at most 2,000 octets (500 characters); empty by default.
    pub description: String,
    /// At most 64 of at most 64 octets for the key and 256 for the value.
    pub labels: BTreeMap<String, String>,
    /// A JSON object as text, at most 16,384 octets, that the gateway stores and doesn't act on; empty by default.
    pub metadata: String,
    /// Who is let in; nothing is asked for by default.
    pub policy: Policy,
    /// How long to live without renewal, in whole milliseconds; `None` (the default) for the gateway's choice.
    pub ttl: Option<Duration>,
    /// From the registration before, at most 64 octets, to take its name back at once; empty by default.
    pub resume_token: Bytes,
    /// The generation that the agent held before, if it held one.
    pub generation: Option<Generation>,
}

/// Under what name a tunnel is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Claim {
    /// A name of the gateway's choice.
    #[default]
    Assigned,
    /// This name, as `my-app` in `my-app.example.com`; at most 100 octets.
    Name(String),
    /// This key, as in `{port}-{key}.example.com`; at most 128 octets.
    Key(String),
}

/// Who is let in, and what their visits do. Everything is optional; the gateway may be stricter.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Policy {
    /// Methods that HTTP visitors may use; empty for all. At most 16 of at most 32 octets.
    pub allow_methods: Vec<String>,
    /// Networks (CIDR) that may visit; empty for all. At most 64 of at most 43 octets.
    pub allow_networks: Vec<String>,
    /// Networks (CIDR) that may not, even if allowed above. At most 64 of at most 43 octets.
    pub deny_networks: Vec<String>,
    /// Requests or connections a minute.
    pub rate_per_minute: Option<u32>,
    /// Octets a second, each way.
    pub bandwidth: Option<u64>,
    /// Whether HTTP visits count as activity; `None` stands for yes.
    pub http_keep_alive: Option<bool>,
    /// Whether an HTTP visit wakes a suspended upstream; `None` stands for no.
    pub wake_on_http: Option<bool>,
}

impl Register {
    /// The longest name of a tunnel, in octets.
    pub const MAX_NAME_BYTES: usize = 100;
    /// The longest key, in octets.
    pub const MAX_KEY_BYTES: usize = 128;
    /// The longest zone, in octets.
    pub const MAX_ZONE_BYTES: usize = 253;
    /// The longest display name, in octets: 100 characters of four.
    pub const MAX_DISPLAY_NAME_BYTES: usize = 400;
    /// The longest description, in octets: 500 characters of four.
    pub const MAX_DESCRIPTION_BYTES: usize = 2000;
    /// The most labels.
    pub const MAX_LABELS: usize = 64;
    /// The longest key of a label, in octets.
    pub const MAX_LABEL_KEY_BYTES: usize = 64;
    /// The longest value of a label, in octets.
    pub const MAX_LABEL_VALUE_BYTES: usize = 256;
    /// The longest metadata, in octets.
    pub const MAX_METADATA_BYTES: usize = 16_384;
    /// The longest resume token, in octets.
    pub const MAX_RESUME_TOKEN_BYTES: usize = 64;

    /// Asks for a tunnel with this protocol under this name, and for nothing else.
    pub fn new(protocol: Protocol, claim: Claim) -> Self {
        Self {
            protocol,
            claim,
            zone: None,
            port: None,
            tls_mode: TlsMode::UNSPECIFIED,
            auth_mode: AuthMode::UNSPECIFIED,
            visibility: Visibility::UNSPECIFIED,
            display_name: String::new(),
            description: String::new(),
            labels: BTreeMap::new(),
            metadata: String::new(),
            policy: Policy::default(),
            ttl: None,
            resume_token: Bytes::new(),
            generation: None,
        }
    }

    pub(super) fn to_wire(&self) -> pb::Register {
        let claim = match &self.claim {
            Claim::Assigned => None,
            Claim::Name(name) => Some(pb::register::Claim::Name(name.clone())),
            Claim::Key(key) => Some(pb::register::Claim::Key(key.clone())),
        };
        pb::Register {
            claim,
            zone: self.zone.clone().unwrap_or_default(),
            port: self.port.map(u32::from),
            protocol: self.protocol.as_i32(),
            tls_mode: self.tls_mode.as_i32(),
            auth_mode: self.auth_mode.as_i32(),
            visibility: self.visibility.as_i32(),
            display_name: self.display_name.clone(),
            description: self.description.clone(),
            labels: self.labels.clone(),
            metadata: self.metadata.clone(),
            policy: (self.policy != Policy::default()).then(|| self.policy.to_wire()),
            ttl_ms: self.ttl.map(millis),
            resume_token: self.resume_token.clone(),
            generation: self.generation.map_or(0, Generation::as_u64),
        }
    }

    pub(super) fn from_wire(wire: pb::Register) -> Result<Self, MessageError> {
        Ok(Self {
            protocol: Protocol::from_i32(wire.protocol),
            claim: claim(wire.claim)?,
            zone: text("register.zone", wire.zone, Self::MAX_ZONE_BYTES)?,
            port: wire.port.map(|number| port("register.port", number)).transpose()?,
            tls_mode: TlsMode::from_i32(wire.tls_mode),
            auth_mode: AuthMode::from_i32(wire.auth_mode),
            visibility: Visibility::from_i32(wire.visibility),
            display_name: text("register.display_name", wire.display_name, Self::MAX_DISPLAY_NAME_BYTES)?
                .unwrap_or_default(),
            description: text("register.description", wire.description, Self::MAX_DESCRIPTION_BYTES)?
                .unwrap_or_default(),
            labels: labels(wire.labels)?,
            metadata: text("register.metadata", wire.metadata, Self::MAX_METADATA_BYTES)?.unwrap_or_default(),
            policy: wire.policy.map(Policy::from_wire).transpose()?.unwrap_or_default(),
            ttl: wire.ttl_ms.map(Duration::from_millis),
            resume_token: octets("register.resume_token", wire.resume_token, Self::MAX_RESUME_TOKEN_BYTES)?,
            generation: Generation::new(wire.generation),
        })
    }
}

impl Policy {
    fn to_wire(&self) -> pb::Policy {
        pb::Policy {
            allow_methods: self.allow_methods.clone(),
            allow_networks: self.allow_networks.clone(),
            deny_networks: self.deny_networks.clone(),
            rate_per_minute: self.rate_per_minute,
            bandwidth: self.bandwidth,
            http_keep_alive: self.http_keep_alive,
            wake_on_http: self.wake_on_http,
        }
    }

    fn from_wire(wire: pb::Policy) -> Result<Self, MessageError> {
        Ok(Self {
            allow_methods: texts("policy.allow_methods", wire.allow_methods, 16, 32)?,
            allow_networks: texts("policy.allow_networks", wire.allow_networks, 64, 43)?,
            deny_networks: texts("policy.deny_networks", wire.deny_networks, 64, 43)?,
            rate_per_minute: wire.rate_per_minute,
            bandwidth: wire.bandwidth,
            http_keep_alive: wire.http_keep_alive,
            wake_on_http: wire.wake_on_http,
        })
    }
}

fn claim(wire: Option<pb::register::Claim>) -> Result<Claim, MessageError> {
    let missing = |field| MessageError::Missing { field };
    Ok(match wire {
        None => Claim::Assigned,
        Some(pb::register::Claim::Name(name)) => Claim::Name(
            text("register.name", name, Register::MAX_NAME_BYTES)?.ok_or_else(|| missing("register.name"))?,
        ),
        Some(pb::register::Claim::Key(key)) => Claim::Key(
            text("register.key", key, Register::MAX_KEY_BYTES)?.ok_or_else(|| missing("register.key"))?,
        ),
    })
}

fn labels(labels: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, MessageError> {
    if labels.len() > Register::MAX_LABELS {
        return Err(MessageError::TooMany { field: "register.labels", limit: Register::MAX_LABELS });
    }
    if labels.keys().any(|key| key.len() > Register::MAX_LABEL_KEY_BYTES) {
        let limit = Register::MAX_LABEL_KEY_BYTES;
        return Err(MessageError::FieldTooLarge { field: "register.labels", limit });
    }
    if labels.values().any(|value| value.len() > Register::MAX_LABEL_VALUE_BYTES) {
        let limit = Register::MAX_LABEL_VALUE_BYTES;
        return Err(MessageError::FieldTooLarge { field: "register.labels", limit });
    }
    Ok(labels)
}
