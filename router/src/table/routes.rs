//! The routes as a value: one consistent snapshot to look in, and the changes that make the next one.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use adit_naming::TunnelId;

use super::trie::Trie;
use super::tunnel::Agents;
use super::{Agent, Generation, OwnedRouteKey, RouteKey, Standing, Tunnel};

/// One consistent state of a route table. It never changes under whoever holds it.
#[derive(Debug)]
pub struct Routes<T, P = (), S = RandomState> {
    /// Each tunnel under its number.
    ids: Trie<Arc<Tunnel<T, P>>>,
    /// The same under its other keys.
    keys: Trie<Way<T, P>>,
    newest: Generation,
    hasher: S,
}

impl<T, P, S: BuildHasher> Routes<T, P, S> {
    pub(crate) fn with_hasher(hasher: S) -> Self {
        Self { ids: Trie::new(), keys: Trie::new(), newest: Generation::NONE, hasher }
    }

    /// The tunnel that `key` leads to.
    #[inline]
    pub fn find(&self, key: RouteKey<'_>) -> Option<&Arc<Tunnel<T, P>>> {
        let hash = self.hasher.hash_one(key);
        match key.as_id() {
            Some(id) => self.ids.get(hash, |tunnel| tunnel.id() == id),
            None => self.keys.get(hash, |way| way.key.is(key)).map(|way| &way.tunnel),
        }
    }

    /// How many tunnels there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no tunnel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `visit` once with each tunnel, in no particular order. For listings, not for requests: it walks them all.
    pub fn for_each(&self, mut visit: impl FnMut(&Arc<Tunnel<T, P>>)) {
        self.ids.for_each(&mut visit);
    }
}

/// One key of a tunnel. The key stands beside the pointer, so that a lookup knows without waiting for the tunnel's own memory
/// that it found the right one.
#[derive(Debug)]
struct Way<T, P> {
    key: OwnedRouteKey,
    tunnel: Arc<Tunnel<T, P>>,
}

impl<T, P> Clone for Way<T, P> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), tunnel: Arc::clone(&self.tunnel) }
    }
}

impl<T, P, S: Clone> Clone for Routes<T, P, S> {
    fn clone(&self) -> Self {
        Self {
            ids: self.ids.clone(),
            keys: self.keys.clone(),
            newest: self.newest,
            hasher: self.hasher.clone(),
        }
    }
}

/// Changes to a route table that become visible together, or not at all.
#[derive(Debug)]
pub struct Update<T, P = (), S = RandomState> {
    routes: Routes<T, P, S>,
    /// Agents to be told once the new state is visible; told earlier, visitors who still see the old one would be
    /// refused although the new agent is there. At most what one update touches.
    retired: Retired<T>,
}

impl<T, P: Clone, S: BuildHasher> Update<T, P, S> {
    pub(crate) fn new(routes: Routes<T, P, S>) -> Self {
        Self { routes, retired: Vec::new() }
    }

    pub(crate) fn finish(self) -> (Routes<T, P, S>, Retired<T>) {
        (self.routes, self.retired)
    }

    /// The state as changed so far.
    pub fn routes(&self) -> &Routes<T, P, S> {
        &self.routes
    }

    /// Makes a tunnel known under its number and `keys`, or changes the keys and facts of one that is; its agents stay.
    ///
    /// # Errors
    /// [`PublishError`]; nothing is changed then.
    pub fn publish(
        &mut self,
        id: TunnelId,
        keys: impl IntoIterator<Item = OwnedRouteKey>,
        facts: P,
    ) -> Result<(), PublishError> {
        let keys = self.checked_keys(id, keys)?;
        let before = self.routes.find(RouteKey::id(id)).cloned();
        let agents = before.as_ref().map_or(Agents::None, |tunnel| tunnel.agents().iter().cloned().collect());
        if let Some(before) = &before {
            self.forget(before);
        }
        let newest = before.as_ref().map_or(Generation::NONE, |tunnel| tunnel.newest());
        self.place(&Arc::new(Tunnel::new(id, keys, facts, agents, newest)));
        Ok(())
    }

    /// Takes a tunnel out under all its keys. Its agents take no more work, not even from lookups made before.
    ///
    /// Returns the last version, with the agents whose streams are to be reset; `None` if there was no such tunnel.
    pub fn withdraw(&mut self, id: TunnelId) -> Option<Arc<Tunnel<T, P>>> {
        let tunnel = self.routes.find(RouteKey::id(id)).cloned()?;
        self.forget(&tunnel);
        self.retired.extend(tunnel.agents().iter().map(|agent| (Arc::clone(agent), Standing::Gone)));
        Some(tunnel)
    }

    /// Attaches an agent under a new generation of this table's own counting.
    ///
    /// # Errors
    /// [`AttachError`]; nothing is changed then.
    pub fn attach(&mut self, id: TunnelId, join: Join, handle: T) -> Result<Attached<T>, AttachError> {
        let generation = self.routes.newest.next().ok_or(AttachError::Exhausted {})?;
        self.attach_at(id, generation, join, handle)
    }

    /// Attaches an agent under a generation counted elsewhere, such as a directory's fence.
    ///
    /// # Errors
    /// [`AttachError::Stale`] if the tunnel has, or had, an agent of this generation or a newer one, and the other
    /// variants; nothing is changed then.
    pub fn attach_at(
        &mut self,
        id: TunnelId,
        generation: Generation,
        join: Join,
        handle: T,
    ) -> Result<Attached<T>, AttachError> {
        let tunnel = self.routes.find(RouteKey::id(id)).cloned().ok_or(AttachError::UnknownTunnel { id })?;
        if generation <= tunnel.newest() {
            return Err(AttachError::Stale { newest: tunnel.newest() });
        }
        let agent = Arc::new(Agent::new(generation, handle));
        let replaced = self.make_room(&tunnel, join)?;
        let kept = tunnel.agents().iter().skip(replaced.len()).cloned().chain([Arc::clone(&agent)]);
        self.replace_agents(&tunnel, kept.collect(), generation);
        self.routes.newest = self.routes.newest.max(generation);
        Ok(Attached { agent, replaced })
    }

    /// Takes an agent out of the choice; what it carries may finish. Nothing happens unless that very generation is
    /// attached.
    ///
    /// Returns the agent, so that it can be told to reconnect, and watched until it carries nothing.
    pub fn drain(&mut self, id: TunnelId, generation: Generation) -> Option<Arc<Agent<T>>> {
        self.retire(id, generation, Standing::Draining)
    }

    /// Takes an agent out because its session ended. Nothing happens unless that very generation is attached, so that
    /// a session that was replaced can't remove its successor.
    pub fn detach(&mut self, id: TunnelId, generation: Generation) -> Option<Arc<Agent<T>>> {
        self.retire(id, generation, Standing::Gone)
    }

    fn retire(&mut self, id: TunnelId, generation: Generation, standing: Standing) -> Option<Arc<Agent<T>>> {
        let tunnel = self.routes.find(RouteKey::id(id)).cloned()?;
        let agent = tunnel.agents().iter().find(|agent| agent.generation() == generation).cloned()?;
        let kept = tunnel.agents().iter().filter(|kept| kept.generation() != generation).cloned();
        self.replace_agents(&tunnel, kept.collect(), tunnel.newest());
        self.retired.push((Arc::clone(&agent), standing));
        Some(agent)
    }

    /// The agents that must go before another may come, oldest first.
    fn make_room(&mut self, tunnel: &Tunnel<T, P>, join: Join) -> Result<Vec<Arc<Agent<T>>>, AttachError> {
        match join {
            Join::Replace => {
                let replaced = tunnel.agents().to_vec();
                self.retired.extend(replaced.iter().map(|agent| (Arc::clone(agent), Standing::Draining)));
                Ok(replaced)
            }
            Join::Beside { max_agents } if tunnel.agents().len() >= max_agents => {
                Err(AttachError::TooManyAgents { max_agents })
            }
            Join::Beside { .. } => Ok(Vec::new()),
        }
    }

    fn replace_agents(&mut self, tunnel: &Tunnel<T, P>, agents: Agents<T>, newest: Generation) {
        let keys = tunnel.keys().map(RouteKey::into_owned).collect();
        self.place(&Arc::new(Tunnel::new(tunnel.id(), keys, tunnel.facts().clone(), agents, newest)));
    }

    fn checked_keys(
        &self,
        id: TunnelId,
        keys: impl IntoIterator<Item = OwnedRouteKey>,
    ) -> Result<Vec<OwnedRouteKey>, PublishError> {
        let mut checked = Vec::new();
        for key in keys {
            self.check_key(id, &key)?;
            if checked.contains(&key) || key.as_key() == RouteKey::id(id) {
                continue;
            }
            if checked.len() == MAX_KEYS {
                return Err(PublishError::TooManyKeys { max_keys: MAX_KEYS });
            }
            checked.push(key);
        }
        Ok(checked)
    }

    fn check_key(&self, id: TunnelId, key: &OwnedRouteKey) -> Result<(), PublishError> {
        let key_as_asked = key.as_key();
        let holder =
            key_as_asked.as_id().or_else(|| self.routes.find(key_as_asked).map(|tunnel| tunnel.id()));
        match holder {
            Some(holder) if holder != id => Err(PublishError::KeyTaken { key: key.clone(), holder }),
            _ => Ok(()),
        }
    }

    fn place(&mut self, tunnel: &Arc<Tunnel<T, P>>) {
        let routes = &mut self.routes;
        for key in tunnel.owned_keys() {
            let way = Way { key: key.clone(), tunnel: Arc::clone(tunnel) };
            routes.keys.insert(routes.hasher.hash_one(key.as_key()), way, |way| way.key == *key);
        }
        let hash = routes.hasher.hash_one(RouteKey::id(tunnel.id()));
        routes.ids.insert(hash, Arc::clone(tunnel), |found| found.id() == tunnel.id());
    }

    fn forget(&mut self, tunnel: &Tunnel<T, P>) {
        let routes = &mut self.routes;
        for key in tunnel.owned_keys() {
            routes.keys.remove(routes.hasher.hash_one(key.as_key()), |way| way.key == *key);
        }
        let hash = routes.hasher.hash_one(RouteKey::id(tunnel.id()));
        routes.ids.remove(hash, |found| found.id() == tunnel.id());
    }
}

/// Agents and the standing that each is about to take.
pub(crate) type Retired<T> = Vec<(Arc<Agent<T>>, Standing)>;

/// What an agent that attaches does to those already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Join {
    /// The newest wins: the others get no more work and are to be told that they were replaced; their streams drain.
    Replace,
    /// The work is shared with those already there.
    Beside {
        /// Refused if the tunnel has this many agents already.
        max_agents: usize,
    },
}

/// An agent was attached.
#[derive(Debug)]
#[non_exhaustive]
pub struct Attached<T> {
    /// The agent, with its generation.
    pub agent: Arc<Agent<T>>,
    /// Those that it replaced, oldest first: tell each, and let its streams drain.
    pub replaced: Vec<Arc<Agent<T>>>,
}

/// A tunnel could not be made known. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Another tunnel holds one of the keys; withdraw that one or choose another key.
    #[error("one of the tunnel's keys leads to another tunnel")]
    KeyTaken {
        /// The key in question.
        key: OwnedRouteKey,
        /// Who holds it. Not for the ears of whoever asked.
        holder: TunnelId,
    },
    /// More keys than a tunnel may have.
    #[error("a tunnel has at most {max_keys} keys")]
    TooManyKeys {
        /// The bound.
        max_keys: usize,
    },
}

/// An agent could not be attached. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// No such tunnel: publish it first. It may have been withdrawn meanwhile.
    #[error("there is no such tunnel")]
    UnknownTunnel {
        /// The number asked for.
        id: TunnelId,
    },
    /// A registration as new or newer is or was attached: this one comes too late and must not take over.
    #[error("a newer registration ({newest}) came before")]
    Stale {
        /// The newest that was attached.
        newest: Generation,
    },
    /// The tunnel has as many agents as it may have.
    #[error("the tunnel has its {max_agents} agents already")]
    TooManyAgents {
        /// The bound.
        max_agents: usize,
    },
    /// The generations have run out, which takes a billion a second for 500 years or a fence of 2⁶⁴ - 1.
    #[error("the generations have run out")]
    Exhausted {},
}

/// Keys of one tunnel besides its number, so that one tunnel can't make each of its registrations expensive.
pub const MAX_KEYS: usize = 64;
