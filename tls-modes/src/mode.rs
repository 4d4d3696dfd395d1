use crate::{AlertDescription, ClientHello, ProtocolVersion, ServerName};

/// Decides who ends TLS for a connection: a pure function of the hello, of what the router knows about its name, and
/// of the policy. There is no default tunnel: whatever is not plainly one tunnel's is refused.
///
/// `standing` is asked at most once, with the only name that counts: the one in the clear, lower-cased. What an
/// encrypted ClientHello may hide behind it is for whoever ends TLS.
///
/// ```text
///  no name -------------------------------> refuse: missing_extension (TLS 1.3 offered) or unrecognized_name
///  name --- router does not know it ------> refuse: unrecognized_name
///       |-- its tunnel takes no visitors -> refuse: unrecognized_name; without agent: internal_error
///       |-- acme-tls/1 not meant for it --> refuse: no_application_protocol
///       |-- passthrough ------------------> Mode::Passthrough: forward the raw bytes
///       '-- edge -------------------------> Mode::Edge, if TLS 1.2 or 1.3 is offered; else protocol_version
/// ```
///
/// ```
/// use adit_tls_modes::{Domain, Mode, ModePolicy, NameStanding, choose_mode};
/// # use adit_tls_modes::{ClientHello, ServerName};
/// # fn example(hello: &ClientHello, is_passthrough: impl Fn(&ServerName) -> Option<bool>) {
/// let mode = choose_mode(hello, &ModePolicy::new(), |name| match is_passthrough(name) {
///     Some(true) => NameStanding::Passthrough(Domain::Zone),
///     Some(false) => NameStanding::Edge,
///     None => NameStanding::Unknown,
/// });
/// match mode {
///     Mode::Passthrough { name } => println!("forward to the agent of {name}"),
///     Mode::Edge { name } => println!("end TLS here as {name}"),
///     Mode::Refuse { reason } => println!("{reason}; send {:?}", reason.alert().fatal_record()),
/// }
/// # }
/// ```
pub fn choose_mode<'h>(
    hello: &'h ClientHello,
    policy: &ModePolicy,
    standing: impl FnOnce(&ServerName) -> NameStanding,
) -> Mode<'h> {
    match choose(hello, policy, standing) {
        Ok(mode) => mode,
        Err(reason) => Mode::Refuse { reason },
    }
}

/// Who ends TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "whoever adds a fourth answer must make every gateway think about it"
)]
pub enum Mode<'h> {
    /// The agent: forward everything received, then both directions, raw.
    Passthrough {
        /// The name to route by.
        name: &'h ServerName,
    },
    /// The gateway.
    Edge {
        /// The name to pick a certificate for; every request on the connection must be for it.
        name: &'h ServerName,
    },
    /// Nobody: send the alert and close.
    Refuse {
        /// Why.
        reason: ModeRefusal,
    },
}

/// What the router knows about a name at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameStanding {
    /// A passthrough tunnel that takes visitors.
    Passthrough(Domain),
    /// A tunnel in edge mode, or a name in a zone that is no tunnel at all: the edge then answers 404, since only
    /// inside TLS can a visitor be told more than an alert code.
    Edge,
    /// A host of the gateway itself, such as its API: ended at the gateway, whatever tunnels are registered.
    OwnHost,
    /// A passthrough tunnel that is paused, being deleted or deleted. It must never be ended at the edge instead: its
    /// visitors were promised that nobody but the agent reads along.
    PassthroughClosed,
    /// A passthrough tunnel without an agent online.
    AgentOffline,
    /// Nothing: neither a tunnel nor in any zone.
    Unknown,
}

/// Whose the domain of a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Domain {
    /// The gateway's: the name lies in one of its zones.
    Zone,
    /// The tenant's own.
    Custom,
}

/// What a gateway permits beyond the safe defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModePolicy {
    acme_in_zones: bool,
    acme_at_edge: bool,
    refuses_ech: bool,
}

impl ModePolicy {
    /// The defaults: acme-tls/1 only to the agents of custom domains, ECH routed by its outer name.
    pub const fn new() -> Self {
        Self { acme_in_zones: false, acme_at_edge: false, refuses_ech: false }
    }

    /// Lets agents answer acme-tls/1 (RFC 8737) for names in the gateway's zones. Default: no.
    ///
    /// With it a tenant can get a public certificate for a name that the gateway may give to another tenant later.
    #[must_use]
    pub const fn acme_in_zones(mut self, permit: bool) -> Self {
        self.acme_in_zones = permit;
        self
    }

    /// Hands acme-tls/1 for names in edge mode, and for own hosts, to the edge. Default: no.
    ///
    /// Turn it on only if the edge has the challenge certificates; one that speaks HTTP alone has no answer.
    #[must_use]
    pub const fn acme_at_edge(mut self, permit: bool) -> Self {
        self.acme_at_edge = permit;
        self
    }

    /// Refuses hellos with an encrypted_client_hello extension. Default: no.
    ///
    /// Current browsers send one (GREASE) to everybody, so this turns most of them away.
    #[must_use]
    pub const fn refuse_ech(mut self, refuse: bool) -> Self {
        self.refuses_ech = refuse;
        self
    }
}

/// Why nobody ends TLS for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModeRefusal {
    /// The hello names no host, or only an IP address.
    #[error("the ClientHello names no host")]
    #[non_exhaustive]
    NoServerName {
        /// Whether TLS 1.3 is offered, which has an alert of its own for this.
        tls13: bool,
    },
    /// Nobody is served under the name.
    #[error("nobody is served under this name")]
    UnknownName,
    /// The tunnel takes no visitors.
    #[error("the tunnel takes no visitors")]
    PassthroughClosed,
    /// The tunnel has no agent online.
    #[error("the tunnel has no agent online")]
    AgentOffline,
    /// A certificate challenge for a name whose owner may not answer it.
    #[error("acme-tls/1 is not permitted for this name")]
    AcmeNotPermitted,
    /// No version that an edge serves is offered.
    #[error("neither TLS 1.2 nor TLS 1.3 is offered")]
    UnsupportedVersion,
    /// The policy refuses encrypted ClientHellos.
    #[error("encrypted ClientHellos are refused")]
    EchNotPermitted,
}

impl ModeRefusal {
    /// The alert to send before closing.
    pub const fn alert(self) -> AlertDescription {
        match self {
            Self::NoServerName { tls13: true } => AlertDescription::MISSING_EXTENSION,
            Self::NoServerName { tls13: false } | Self::UnknownName | Self::PassthroughClosed => {
                AlertDescription::UNRECOGNIZED_NAME
            }
            Self::AgentOffline => AlertDescription::INTERNAL_ERROR,
            Self::AcmeNotPermitted => AlertDescription::NO_APPLICATION_PROTOCOL,
            Self::UnsupportedVersion => AlertDescription::PROTOCOL_VERSION,
            Self::EchNotPermitted => AlertDescription::HANDSHAKE_FAILURE,
        }
    }
}

/// The ALPN protocol of RFC 8737, by which a certificate authority validates a name.
pub const ACME_TLS_1: &[u8] = b"acme-tls/1";

fn choose<'h>(
    hello: &'h ClientHello,
    policy: &ModePolicy,
    standing: impl FnOnce(&ServerName) -> NameStanding,
) -> Result<Mode<'h>, ModeRefusal> {
    let tls13 = hello.offers(ProtocolVersion::TLS13);
    let name = hello.server_name().ok_or(ModeRefusal::NoServerName { tls13 })?;
    if policy.refuses_ech && hello.ech().is_some() {
        return Err(ModeRefusal::EchNotPermitted);
    }
    let is_acme = hello.alpn().contains(ACME_TLS_1);
    match standing(name) {
        NameStanding::Passthrough(Domain::Zone) if is_acme && !policy.acme_in_zones => {
            Err(ModeRefusal::AcmeNotPermitted)
        }
        NameStanding::Passthrough(_) => Ok(Mode::Passthrough { name }),
        NameStanding::Edge | NameStanding::OwnHost => {
            check_edge(hello, policy, is_acme).map(|()| Mode::Edge { name })
        }
        NameStanding::PassthroughClosed => Err(ModeRefusal::PassthroughClosed),
        NameStanding::AgentOffline => Err(ModeRefusal::AgentOffline),
        NameStanding::Unknown => Err(ModeRefusal::UnknownName),
    }
}

fn check_edge(hello: &ClientHello, policy: &ModePolicy, is_acme: bool) -> Result<(), ModeRefusal> {
    if is_acme && !policy.acme_at_edge {
        return Err(ModeRefusal::AcmeNotPermitted);
    }
    let is_served = hello.offers(ProtocolVersion::TLS12) || hello.offers(ProtocolVersion::TLS13);
    if is_served { Ok(()) } else { Err(ModeRefusal::UnsupportedVersion) }
}
