//! What the table knows of one tunnel: its keys, its facts, and the agents behind it.

use std::sync::Arc;

use adit_naming::TunnelId;

use super::{Agent, Generation, OwnedRouteKey, RouteKey};

/// One version of a tunnel's entry. It never changes; a registration puts a new version in its place under all keys.
///
/// `P` is what the embedder keeps per tunnel (its policy, TLS mode, limiter): cloned with each version, so usually an
/// `Arc`.
// In this order in memory: what visitors need stands beside the count of references that some of them raise.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Tunnel<T, P = ()> {
    agents: Agents<T>,
    facts: P,
    id: TunnelId,
    /// Of all that were attached since the tunnel was made known: an older one that comes late is refused, also when
    /// nobody is there.
    newest: Generation,
    /// Most tunnels have one key, which needs no list.
    first_key: Option<OwnedRouteKey>,
    other_keys: Box<[OwnedRouteKey]>,
}

impl<T, P> Tunnel<T, P> {
    pub(crate) fn new(
        id: TunnelId,
        keys: Vec<OwnedRouteKey>,
        facts: P,
        agents: Agents<T>,
        newest: Generation,
    ) -> Self {
        let mut keys = keys.into_iter();
        Self { agents, facts, id, newest, first_key: keys.next(), other_keys: keys.collect() }
    }

    /// The tunnel's number.
    pub fn id(&self) -> TunnelId {
        self.id
    }

    /// The ways to this tunnel besides its number.
    pub fn keys(&self) -> impl Iterator<Item = RouteKey<'_>> {
        self.owned_keys().map(OwnedRouteKey::as_key)
    }

    #[inline]
    pub(crate) fn owned_keys(&self) -> impl Iterator<Item = &OwnedRouteKey> {
        self.first_key.iter().chain(&self.other_keys)
    }

    /// What the embedder keeps with the tunnel.
    pub fn facts(&self) -> &P {
        &self.facts
    }

    /// The agents attached, oldest generation first. Empty while none is connected.
    pub fn agents(&self) -> &[Arc<Agent<T>>] {
        self.agents.as_slice()
    }

    /// The newest generation that was attached, whether or not that agent is still there; [`Generation::NONE`] before
    /// the first.
    pub fn newest(&self) -> Generation {
        self.newest
    }
}

/// The agents of a tunnel, oldest first. Most tunnels have one, and need no list.
#[derive(Debug)]
pub(crate) enum Agents<T> {
    None,
    One(Arc<Agent<T>>),
    Many(Box<[Arc<Agent<T>>]>),
}

impl<T> Agents<T> {
    pub(crate) fn as_slice(&self) -> &[Arc<Agent<T>>] {
        match self {
            Self::None => &[],
            Self::One(agent) => std::slice::from_ref(agent),
            Self::Many(agents) => agents,
        }
    }
}

impl<T> FromIterator<Arc<Agent<T>>> for Agents<T> {
    fn from_iter<I: IntoIterator<Item = Arc<Agent<T>>>>(agents: I) -> Self {
        let mut agents: Vec<_> = agents.into_iter().collect();
        match agents.len() {
            0 => Self::None,
            1 => agents.pop().map_or(Self::None, Self::One),
            _ => Self::Many(agents.into()),
        }
    }
}

impl<T> Clone for Agents<T> {
    fn clone(&self) -> Self {
        match self {
            Self::None => Self::None,
            Self::One(agent) => Self::One(Arc::clone(agent)),
            Self::Many(agents) => Self::Many(agents.clone()),
        }
    }
}
