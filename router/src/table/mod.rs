//! The route table: lookups without locks beside changes that are seen whole or not at all.

mod agent;
mod choose;
mod key;
mod reader;
mod refusal;
mod routes;
mod trie;
mod tunnel;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use adit_naming::TunnelId;

use crate::sync::{Mutex, Swap, lock};

pub use agent::{Agent, Generation, InFlight, Standing, Superseded};
pub use choose::{Dispatch, Stick};
pub use key::{OwnedRouteKey, RouteKey};
pub use reader::Reader;
pub use routes::{AttachError, Attached, Join, MAX_KEYS, PublishError, Routes, Update};
pub use tunnel::Tunnel;

/// Where names, hosts and ports lead: shared by all tasks of a gateway.
///
/// `T` is the handle through which an agent is reached, `P` what the gateway keeps with each tunnel, and `S` how keys
/// are hashed. Keep the default: names are chosen by strangers, and only a keyed hash keeps them from choosing names
/// that collide.
///
/// Lookups read a snapshot that nothing changes: they take no lock and allocate nothing. Changes are made on a copy
/// that shares all but a few nodes with the original, one writer at a time, and become visible in one step.
pub struct RouteTable<T, P = (), S = RandomState> {
    current: Arc<Swap<Routes<T, P, S>>>,
    /// Held by the writer while it makes the next state. A lookup never touches it.
    writer: Mutex<()>,
}

impl<T, P> RouteTable<T, P> {
    /// An empty table whose hash is keyed by the operating system's randomness.
    #[must_use]
    pub fn new() -> Self {
        Self::with_hasher(RandomState::new())
    }
}

impl<T, P, S: BuildHasher> RouteTable<T, P, S> {
    /// An empty table that hashes with `hasher`. It must be keyed if strangers choose any of the keys.
    pub fn with_hasher(hasher: S) -> Self {
        let current = Arc::new(Swap::from_pointee(Routes::with_hasher(hasher)));
        Self { current, writer: Mutex::new(()) }
    }

    /// The tunnel that `key` leads to now.
    #[inline]
    pub fn find(&self, key: RouteKey<'_>) -> Option<Arc<Tunnel<T, P>>> {
        self.current.load().find(key).cloned()
    }

    /// Shows the tunnel that `key` leads to now, without counting a reference to it.
    ///
    /// The fastest way to ask something of an entry. `look` should be short: while it runs, the snapshot lives.
    #[inline]
    pub fn look<R>(&self, key: RouteKey<'_>, look: impl FnOnce(&Arc<Tunnel<T, P>>) -> R) -> Option<R> {
        self.current.load().find(key).map(look)
    }

    /// A way in for a thread that looks up often: cheaper than [`find`](Self::find) and [`look`](Self::look).
    #[must_use]
    pub fn reader(&self) -> Reader<T, P, S> {
        Reader::new(Arc::clone(&self.current))
    }

    /// The whole state as it is now, for several lookups that must agree. Holding it keeps its memory.
    pub fn snapshot(&self) -> Arc<Routes<T, P, S>> {
        self.current.load_full()
    }
}

impl<T, P: Clone, S: BuildHasher + Clone> RouteTable<T, P, S> {
    /// Changes the table in one step: all that `change` did becomes visible at once, or nothing if it fails.
    ///
    /// Writers take turns; lookups go on and see the state before until it is done. Agents that the change replaced,
    /// drained or detached refuse work from when this returns, and not before the new state is visible.
    ///
    /// # Errors
    /// That of `change`.
    pub fn update<R, E>(&self, change: impl FnOnce(&mut Update<T, P, S>) -> Result<R, E>) -> Result<R, E> {
        // A writer that panicked has left nothing half done: its copy was dropped.
        let turn = lock(&self.writer);
        let mut update = Update::new(Routes::clone(&self.current.load()));
        let result = change(&mut update)?;
        let (routes, retired) = update.finish();
        let before = self.current.swap(Arc::new(routes));
        for (agent, standing) in &retired {
            agent.retire(*standing);
        }
        drop(turn);
        // The last one to hold the state before frees the nodes that the change replaced; not under the lock.
        drop(before);
        Ok(result)
    }

    /// [`Update::publish`] as a change of its own.
    ///
    /// # Errors
    /// [`PublishError`]; nothing is changed then.
    pub fn publish(
        &self,
        id: TunnelId,
        keys: impl IntoIterator<Item = OwnedRouteKey>,
        facts: P,
    ) -> Result<(), PublishError> {
        self.update(|update| update.publish(id, keys, facts))
    }

    /// [`Update::withdraw`] as a change of its own.
    pub fn withdraw(&self, id: TunnelId) -> Option<Arc<Tunnel<T, P>>> {
        self.update(|update| update.withdraw(id).ok_or(())).ok()
    }

    /// [`Update::attach`] as a change of its own.
    ///
    /// # Errors
    /// [`AttachError`]; nothing is changed then.
    pub fn attach(&self, id: TunnelId, join: Join, handle: T) -> Result<Attached<T>, AttachError> {
        self.update(|update| update.attach(id, join, handle))
    }

    /// [`Update::drain`] as a change of its own.
    pub fn drain(&self, id: TunnelId, generation: Generation) -> Option<Arc<Agent<T>>> {
        self.update(|update| update.drain(id, generation).ok_or(())).ok()
    }

    /// [`Update::detach`] as a change of its own.
    pub fn detach(&self, id: TunnelId, generation: Generation) -> Option<Arc<Agent<T>>> {
        self.update(|update| update.detach(id, generation).ok_or(())).ok()
    }
}

impl<T, P> Default for RouteTable<T, P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, P, S: BuildHasher> fmt::Debug for RouteTable<T, P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteTable").field("tunnels", &self.current.load().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod races;

#[cfg(test)]
mod tests;
