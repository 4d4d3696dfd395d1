//! The directory of one process: what an engine does for many, for one node and for tests.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::{Future, poll_fn, ready};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use adit_naming::TunnelId;

use super::{
    Batch, Change, Directory, DirectoryError, Fence, LeaseId, NodeId, Placement, Revision, Snapshot, Watch,
    WatchError,
};
use crate::sync::{Arc, Mutex, MutexGuard, lock};

/// A directory in memory. Its time is what [`advance`](Self::advance) says: nothing ends by itself.
#[derive(Clone, Debug)]
pub struct MemoryDirectory {
    max_claims: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    now: Instant,
    revision: u64,
    newest_lease: u64,
    /// Open ones; a lease costs a hundred octets, and who opens one is a node.
    leases: BTreeMap<LeaseId, Lease>,
    /// At most `max_claims`.
    claims: BTreeMap<TunnelId, Placement>,
    /// The newest batches, oldest first; at most `max_history`.
    history: VecDeque<Batch>,
    max_history: usize,
    /// The newest revision that is no longer in the history.
    forgotten: Revision,
    /// Of watches that wait; each is there once.
    wakers: Vec<Waker>,
}

#[derive(Debug)]
struct Lease {
    node: NodeId,
    time_to_live: Duration,
    ends: Instant,
    tunnels: BTreeSet<TunnelId>,
}

impl MemoryDirectory {
    /// An empty directory for at most `max_claims`, whose time begins at `now`. It remembers 1,024 revisions for watches.
    #[must_use]
    pub fn new(max_claims: usize, now: Instant) -> Self {
        let state = State {
            now,
            revision: 0,
            newest_lease: 0,
            leases: BTreeMap::new(),
            claims: BTreeMap::new(),
            history: VecDeque::new(),
            max_history: 1024,
            forgotten: Revision::START,
            wakers: Vec::new(),
        };
        Self { max_claims, state: Arc::new(Mutex::new(state)) }
    }

    /// How many revisions a watch may be behind before it has a gap; 1,024 unless set.
    #[must_use]
    pub fn max_history(self, max_history: usize) -> Self {
        self.state().max_history = max_history;
        self
    }

    /// Lets time pass, up to `now`: leases that were not renewed end, in the order of their ends. Time never goes back.
    pub fn advance(&self, now: Instant) {
        let mut state = self.state();
        state.now = state.now.max(now);
        while let Some(lease) = state.ended_lease() {
            state.end(lease);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Directory for MemoryDirectory {
    type Watch = MemoryWatch;

    fn open_lease(
        &self,
        node: NodeId,
        time_to_live: Duration,
    ) -> impl Future<Output = Result<LeaseId, DirectoryError>> + Send {
        let mut state = self.state();
        state.newest_lease += 1;
        let id = LeaseId::new(state.newest_lease);
        let ends = state.now + time_to_live;
        state.leases.insert(id, Lease { node, time_to_live, ends, tunnels: BTreeSet::new() });
        ready(Ok(id))
    }

    fn renew(&self, lease: LeaseId) -> impl Future<Output = Result<(), DirectoryError>> + Send {
        let mut state = self.state();
        let now = state.now;
        let renewed = state.leases.get_mut(&lease).map(|lease| lease.ends = now + lease.time_to_live);
        ready(renewed.ok_or(DirectoryError::LeaseLost {}))
    }

    fn end_lease(&self, lease: LeaseId) -> impl Future<Output = Result<(), DirectoryError>> + Send {
        self.state().end(lease);
        ready(Ok(()))
    }

    fn claim(
        &self,
        lease: LeaseId,
        tunnel: TunnelId,
        seen: Option<Fence>,
    ) -> impl Future<Output = Result<Fence, DirectoryError>> + Send {
        ready(self.state().claim(lease, tunnel, seen, self.max_claims))
    }

    fn release(
        &self,
        tunnel: TunnelId,
        fence: Fence,
    ) -> impl Future<Output = Result<bool, DirectoryError>> + Send {
        ready(Ok(self.state().release(tunnel, fence)))
    }

    fn resolve(
        &self,
        tunnel: TunnelId,
    ) -> impl Future<Output = Result<Option<Placement>, DirectoryError>> + Send {
        ready(Ok(self.state().claims.get(&tunnel).copied()))
    }

    fn snapshot(&self) -> impl Future<Output = Result<Snapshot, DirectoryError>> + Send {
        let state = self.state();
        let claims = state.claims.iter().map(|(tunnel, placement)| (*tunnel, *placement)).collect();
        ready(Ok(Snapshot::new(Revision::new(state.revision), claims)))
    }

    fn watch(&self, after: Revision) -> impl Future<Output = Result<MemoryWatch, DirectoryError>> + Send {
        ready(Ok(MemoryWatch { after, state: Arc::clone(&self.state) }))
    }
}

impl State {
    fn claim(
        &mut self,
        lease: LeaseId,
        tunnel: TunnelId,
        seen: Option<Fence>,
        max_claims: usize,
    ) -> Result<Fence, DirectoryError> {
        let standing = self.claims.get(&tunnel).copied();
        let node = self.leases.get(&lease).ok_or(DirectoryError::LeaseLost {})?.node;
        if standing.map(|standing| standing.fence) != seen {
            return Err(DirectoryError::Held { standing });
        }
        if standing.is_none() && self.claims.len() >= max_claims {
            return Err(DirectoryError::Full {});
        }
        if let Some(before) = standing.and_then(|standing| self.leases.get_mut(&standing.lease)) {
            before.tunnels.remove(&tunnel);
        }
        let fence = Fence::at(Revision::new(self.revision + 1));
        let placement = Placement::new(node, fence, lease);
        self.claims.insert(tunnel, placement);
        if let Some(lease) = self.leases.get_mut(&lease) {
            lease.tunnels.insert(tunnel);
        }
        self.publish(vec![Change::Claimed { tunnel, placement }]);
        Ok(fence)
    }

    fn release(&mut self, tunnel: TunnelId, fence: Fence) -> bool {
        let Some(standing) = self.claims.get(&tunnel).copied().filter(|standing| standing.fence == fence)
        else {
            return false;
        };
        self.claims.remove(&tunnel);
        if let Some(lease) = self.leases.get_mut(&standing.lease) {
            lease.tunnels.remove(&tunnel);
        }
        self.publish(vec![Change::Gone { tunnel, fence }]);
        true
    }

    fn ended_lease(&self) -> Option<LeaseId> {
        let ended = self.leases.iter().filter(|(_, lease)| lease.ends <= self.now);
        ended.min_by_key(|(id, lease)| (lease.ends, **id)).map(|(id, _)| *id)
    }

    fn end(&mut self, lease: LeaseId) {
        let Some(lease) = self.leases.remove(&lease) else { return };
        let mut changes = Vec::with_capacity(lease.tunnels.len());
        for tunnel in lease.tunnels {
            if let Some(placement) = self.claims.remove(&tunnel) {
                changes.push(Change::Gone { tunnel, fence: placement.fence });
            }
        }
        if !changes.is_empty() {
            self.publish(changes);
        }
    }

    fn publish(&mut self, changes: Vec<Change>) {
        self.revision += 1;
        self.history.push_back(Batch::new(Revision::new(self.revision), changes));
        while self.history.len() > self.max_history {
            if let Some(batch) = self.history.pop_front() {
                self.forgotten = batch.revision;
            }
        }
        self.wakers.drain(..).for_each(Waker::wake);
    }

    fn poll_after(&mut self, after: Revision, cx: &Context<'_>) -> Poll<Result<Batch, WatchError>> {
        if after < self.forgotten {
            return Poll::Ready(Err(WatchError::Gap {}));
        }
        let behind = self.history.partition_point(|batch| batch.revision <= after);
        if let Some(batch) = self.history.get(behind) {
            return Poll::Ready(Ok(batch.clone()));
        }
        if !self.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// A watch of a [`MemoryDirectory`].
#[derive(Debug)]
pub struct MemoryWatch {
    after: Revision,
    state: Arc<Mutex<State>>,
}

impl Watch for MemoryWatch {
    async fn next(&mut self) -> Result<Batch, WatchError> {
        let batch = poll_fn(|cx| lock(&self.state).poll_after(self.after, cx)).await?;
        self.after = batch.revision;
        Ok(batch)
    }
}

#[cfg(test)]
mod tests;
