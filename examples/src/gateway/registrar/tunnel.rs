//! What the registrar keeps of each tunnel.

use super::super::hub::Facts;
use super::super::leased::Paces;
use super::super::life::Life;
use super::super::moment;
use super::super::reach::ReachDocument;
use super::super::terms::{Built, PolicyDocument};
use super::{Config, Registrar};
use crate::random;
use adit_naming::ownership::OwnerId;
use adit_naming::{CustomDomain, TunnelName};
use adit_router::{
    Connection, NewRecord, OwnedRouteKey, Policy, PortLease, Record, RouteKey, TunnelId, Visibility,
    VisitorToken,
};
use adit_wire_proto::Protocol;
use adit_wire_proto::credential::CredentialId;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// A tunnel, whether or not an agent is connected for it.
pub(super) struct Tunnel {
    pub(super) record: Record,
    pub(super) protocol: Protocol,
    /// To whom it is visible without a grant.
    pub(super) owner: OwnerId,
    /// Whose agents serve it; nobody's until one did.
    pub(super) holder: Option<CredentialId>,
    /// Other agents reach it, and no visitor.
    pub(super) is_private: bool,
    /// Whether its owner made it so: then no agent makes it public.
    pub(super) is_kept_private: bool,
    pub(super) reach: ReachDocument,
    pub(super) visibility: Arc<Visibility>,
    pub(super) port: Option<PublicPort>,
    pub(super) connection: Connection,
    pub(super) document: PolicyDocument,
    /// The part of it that its owner set, whom no agent overrules.
    pub(super) owners_document: PolicyDocument,
    pub(super) policy: Arc<Policy>,
    pub(super) paces: Option<Arc<Paces>>,
    pub(super) life: Arc<Life>,
    /// What was spent of the budget of bytes when it was looked at last.
    pub(super) bytes_seen: u64,
}

/// A public port, and the task that takes visitors on it.
pub(super) struct PublicPort {
    pub(super) lease: PortLease,
    pub(super) visitors: JoinHandle<()>,
}

impl PublicPort {
    /// Takes visitors no longer, and comes back when the port is closed.
    pub(super) async fn closed(mut self) {
        self.visitors.abort();
        // That it was ended is no news.
        let _ = (&mut self.visitors).await;
    }
}

impl Drop for PublicPort {
    fn drop(&mut self) {
        self.visitors.abort();
    }
}

impl Registrar {
    /// A tunnel of this name that nobody serves yet.
    pub(super) fn new_tunnel(
        &self,
        name: &TunnelName,
        owner: OwnerId,
        protocol: Protocol,
        ttl: Option<Duration>,
    ) -> Tunnel {
        let mut new = NewRecord::new(TunnelId::from_u128(random::wide()), name.clone());
        if protocol == Protocol::HTTPS {
            new = new.tls_mode(adit_router::TlsMode::Passthrough);
        }
        if let Some(ttl) = ttl {
            new = new.time_to_live(ttl);
        }
        let (record, _created) = Record::create(new, self.config.clock.now());
        let Config { wake, wake_limits, idle_after, clock, .. } = &self.config;
        Tunnel {
            record,
            protocol,
            owner,
            holder: None,
            is_private: false,
            is_kept_private: false,
            reach: ReachDocument::default(),
            visibility: Arc::new(Visibility::of(owner)),
            port: None,
            connection: Connection::new(),
            document: PolicyDocument::default(),
            owners_document: PolicyDocument::default(),
            policy: Arc::new(Policy::new()),
            paces: None,
            life: Arc::new(Life::new(name.as_str(), wake.clone(), *wake_limits, *idle_after, clock.clone())),
            bytes_seen: 0,
        }
    }
}

impl Tunnel {
    /// Takes the policy of its owner, and gives back the token that was made for it.
    pub(super) fn set_owners_policy(
        &mut self,
        document: PolicyDocument,
        built: Built,
    ) -> Option<VisitorToken> {
        self.owners_document = document.clone();
        self.set_policy(document, built)
    }

    /// Takes another policy, and gives back the token that was made for it.
    pub(super) fn set_policy(&mut self, document: PolicyDocument, built: Built) -> Option<VisitorToken> {
        self.restore_policy(document, built.policy);
        built.token
    }

    /// The same for a policy for which no token was made.
    pub(super) fn restore_policy(&mut self, document: PolicyDocument, policy: Policy) {
        self.life.set_keep_alive(document.http_keep_alive.unwrap_or(true));
        let bandwidth = document.bandwidth.and_then(NonZeroU64::new);
        // The same bandwidth again gives no new burst.
        let same = self.paces.take().filter(|paces| Some(paces.octets_per_second()) == document.bandwidth);
        let fresh = || bandwidth.map(|rate| Arc::new(Paces::new(rate, moment().instant())));
        self.paces = same.or_else(fresh);
        self.document = document;
        self.policy = Arc::new(policy);
    }

    /// Whether it has this public port open.
    pub(super) fn has_port(&self, port: u16) -> bool {
        self.port.as_ref().is_some_and(|held| held.lease.port() == port)
    }

    /// Whether visitors may name a port behind its agent, by a host with its key: where the gateway reads requests.
    pub(super) fn has_key(&self) -> bool {
        let is_read = [Protocol::HTTP, Protocol::AUTO, Protocol::GRPC].contains(&self.protocol);
        is_read && !self.is_private
    }

    /// The ways by which visitors and other agents reach it.
    pub(super) fn keys(&self, domains: &[(CustomDomain, TunnelName)]) -> Vec<OwnedRouteKey> {
        let mut keys = if self.is_private { Vec::new() } else { self.public_keys(domains) };
        keys.push(RouteKey::private(self.record.name().borrowed()).into_owned());
        keys
    }

    fn public_keys(&self, domains: &[(CustomDomain, TunnelName)]) -> Vec<OwnedRouteKey> {
        match (self.protocol, &self.port) {
            (Protocol::TCP, Some(port)) => vec![RouteKey::tcp_port(port.lease.port()).into_owned()],
            (Protocol::UDP, Some(port)) => vec![RouteKey::udp_port(port.lease.port()).into_owned()],
            (Protocol::TCP | Protocol::UDP, None) => Vec::new(),
            (_, port) => {
                let own = domains.iter().filter(|(_, name)| name == self.record.name());
                let domains = own.map(|(domain, _)| RouteKey::domain(domain.borrowed()).into_owned());
                let name = RouteKey::name(self.record.name().borrowed()).into_owned();
                let port = port.as_ref().map(|port| RouteKey::tcp_port(port.lease.port()).into_owned());
                std::iter::once(name).chain(domains).chain(port).collect()
            }
        }
    }

    /// What visits are judged by.
    pub(super) fn facts(&self) -> Facts {
        Facts {
            protocol: self.protocol,
            paces: self.paces.clone(),
            rules_requests: self.document.rules_requests(),
            has_key: self.has_key(),
            record: Arc::new(self.record.clone()),
            visibility: Arc::clone(&self.visibility),
            policy: Arc::clone(&self.policy),
            life: Arc::clone(&self.life),
        }
    }
}
