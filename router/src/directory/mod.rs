//! Which gateway node has a tunnel's agent: presence, shared by nodes through an engine that people already run.
//!
//! ```text
//!  node A ── claim ──▶ ┌──────────┐ ── snapshot, then batches ──▶ node B's View ──▶ forward to A with the fence
//!  node A ── renew ──▶ │  engine  │
//!  (nothing, too long) │          │ ── one batch: all of A's tunnels are gone ──▶ every View
//!                      └──────────┘
//! ```

pub mod conformance;
mod lease;
mod memory;
mod view;

use std::fmt;
use std::future::Future;
use std::time::Duration;

use adit_naming::TunnelId;

use crate::Generation;

pub use lease::LeaseClock;
pub use memory::{MemoryDirectory, MemoryWatch};
pub use view::{Resync, View};

/// Presence of tunnels on nodes: who has which, under a fence that only grows.
///
/// It holds what is true *now* and dies with the node that says it; names, owners and policy are records, kept elsewhere
/// ([`TunnelStore`](crate::TunnelStore)). These are the promises, and [`conformance`] is the list of them as code:
///
/// 1. **Revisions.** Each change has a revision, greater than all before. What one call changes has one revision.
/// 2. **Fences.** The fence of a claim is the revision that made it. So of two claims of one tunnel the later has the
///    greater fence, also across release, loss and restart of nodes: `attach_at` takes it as the generation.
/// 3. **Claims.** A claim succeeds only on the state that its caller has seen: absent, or held under exactly that fence.
///    Of any number that race on one state exactly one succeeds. Who may replace whom is the caller's to decide; the
///    directory only makes sure that nobody decides on old news.
/// 4. **Leases.** A node's claims hang on one lease. It ends when it isn't renewed for its time to live, never before, and
///    takes all its claims with it in one revision. An ended lease claims nothing and never comes back.
/// 5. **Watches.** A watch gives every change after the snapshot's revision, once, in order, whole revisions at a time; or
///    [`WatchError::Gap`], after which only a new snapshot helps. It never leaves one out in silence.
///
/// All futures may be dropped: what a dropped call has done is not known then, and is found out by `resolve`.
pub trait Directory: Send + Sync {
    /// A watch of this engine.
    type Watch: Watch;

    /// Opens a lease for a node, to be renewed within `time_to_live`.
    ///
    /// # Errors
    /// [`DirectoryError::Unavailable`], [`DirectoryError::Full`].
    fn open_lease(
        &self,
        node: NodeId,
        time_to_live: Duration,
    ) -> impl Future<Output = Result<LeaseId, DirectoryError>> + Send;

    /// Starts the lease's time anew.
    ///
    /// # Errors
    /// [`DirectoryError::LeaseLost`] if it has ended: stop serving as owner, open another, claim again.
    fn renew(&self, lease: LeaseId) -> impl Future<Output = Result<(), DirectoryError>> + Send;

    /// Ends the lease and all its claims now, in one revision. One that has ended is no error.
    ///
    /// # Errors
    /// [`DirectoryError::Unavailable`].
    fn end_lease(&self, lease: LeaseId) -> impl Future<Output = Result<(), DirectoryError>> + Send;

    /// Claims a tunnel for the lease's node, if it is held as `seen` says: under that fence, or not at all.
    ///
    /// # Errors
    /// [`DirectoryError::Held`] with the claim that stands instead; [`DirectoryError::LeaseLost`], and the others.
    /// Nothing is changed then.
    fn claim(
        &self,
        lease: LeaseId,
        tunnel: TunnelId,
        seen: Option<Fence>,
    ) -> impl Future<Output = Result<Fence, DirectoryError>> + Send;

    /// Gives a claim up, if it still stands under this fence; `false` if it doesn't, and nothing is changed.
    ///
    /// # Errors
    /// [`DirectoryError::Unavailable`].
    fn release(
        &self,
        tunnel: TunnelId,
        fence: Fence,
    ) -> impl Future<Output = Result<bool, DirectoryError>> + Send;

    /// The claim that stands now, as the engine has it: for one who was refused on old news.
    ///
    /// # Errors
    /// [`DirectoryError::Unavailable`].
    fn resolve(
        &self,
        tunnel: TunnelId,
    ) -> impl Future<Output = Result<Option<Placement>, DirectoryError>> + Send;

    /// All claims, as of one revision.
    ///
    /// # Errors
    /// [`DirectoryError::Unavailable`].
    fn snapshot(&self) -> impl Future<Output = Result<Snapshot, DirectoryError>> + Send;

    /// Watches all changes after a revision, usually that of a snapshot.
    ///
    /// # Errors
    /// [`DirectoryError::Unavailable`].
    fn watch(&self, after: Revision) -> impl Future<Output = Result<Self::Watch, DirectoryError>> + Send;
}

/// The changes of a directory, one revision after another.
pub trait Watch: Send {
    /// The changes of the next revision; waits until there are some. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// [`WatchError`]; the watch is of no more use then.
    fn next(&mut self) -> impl Future<Output = Result<Batch, WatchError>> + Send;
}

/// A node of the cluster, by a number that no other has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u64);

impl NodeId {
    /// The node with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// A lease, by the engine's number for it. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(u64);

impl LeaseId {
    /// The lease with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// A point in a directory's history: all changes up to it are in, and none after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(u64);

impl Revision {
    /// Before all changes.
    pub const START: Self = Self(0);

    /// The revision with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// The number of a claim: the revision that made it. It travels with every forward, and the owner refuses an older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(Revision);

impl Fence {
    /// The fence of a claim made in this revision.
    #[must_use]
    pub const fn at(revision: Revision) -> Self {
        Self(revision)
    }

    /// The revision.
    #[must_use]
    pub const fn revision(self) -> Revision {
        self.0
    }

    /// The same number as the generation of a registration, for [`Update::attach_at`](crate::Update::attach_at).
    #[must_use]
    pub const fn generation(self) -> Generation {
        Generation::new(self.0.0)
    }

    /// What the node that holds the tunnel under this fence does with a forward that was sent under `asked`.
    #[must_use]
    pub fn judge(self, asked: Self) -> FenceVerdict {
        match asked.cmp(&self) {
            std::cmp::Ordering::Equal => FenceVerdict::Serve,
            std::cmp::Ordering::Less => FenceVerdict::SenderIsStale,
            std::cmp::Ordering::Greater => FenceVerdict::HolderIsStale,
        }
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.0.fmt(f)
    }
}

/// What becomes of a forward between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "two numbers are equal, or one of them is less")]
pub enum FenceVerdict {
    /// Both speak of the same claim.
    Serve,
    /// The sender has seen an older claim: refuse; it resolves and tries once more.
    SenderIsStale,
    /// The sender has seen a newer claim: this node has lost the tunnel and does not know yet. Refuse, detach the agent.
    HolderIsStale,
}

/// Where a tunnel's agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Placement {
    /// The node.
    pub node: NodeId,
    /// The claim's number.
    pub fence: Fence,
    /// The lease that it hangs on.
    pub lease: LeaseId,
}

impl Placement {
    /// A claim by `node` under `fence`, hanging on `lease`: for engines.
    #[must_use]
    pub const fn new(node: NodeId, fence: Fence, lease: LeaseId) -> Self {
        Self { node, fence, lease }
    }
}

/// All claims as of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The revision.
    pub revision: Revision,
    /// The claims, each tunnel once, in no particular order.
    pub claims: Vec<(TunnelId, Placement)>,
}

impl Snapshot {
    /// These claims as of `revision`: for engines.
    #[must_use]
    pub const fn new(revision: Revision, claims: Vec<(TunnelId, Placement)>) -> Self {
        Self { revision, claims }
    }
}

/// All changes of one revision. A node that dies with a hundred thousand tunnels is one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Batch {
    /// The revision.
    pub revision: Revision,
    /// The changes, each tunnel once.
    pub changes: Vec<Change>,
}

impl Batch {
    /// These changes in one revision: for engines.
    #[must_use]
    pub const fn new(revision: Revision, changes: Vec<Change>) -> Self {
        Self { revision, changes }
    }
}

/// What became of one tunnel's claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a claim is made, or it ends")]
pub enum Change {
    /// It is claimed, for the first time or in place of another claim.
    Claimed {
        /// The tunnel.
        tunnel: TunnelId,
        /// The claim that stands now.
        placement: Placement,
    },
    /// The claim ended, by release or with its lease.
    Gone {
        /// The tunnel.
        tunnel: TunnelId,
        /// The claim that ended.
        fence: Fence,
    },
}

/// A directory could not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The tunnel is not held as the caller has seen it: look again, and decide anew.
    #[error("the tunnel's claim has changed meanwhile")]
    Held {
        /// The claim that stands; `None` if it is absent.
        standing: Option<Placement>,
    },
    /// The lease has ended, with all claims that hung on it.
    #[error("the lease has ended")]
    LeaseLost {},
    /// The directory can't take more.
    #[error("the directory is full")]
    Full {},
    /// The engine can't be reached. Whether the call had an effect is not known.
    #[error("the directory cannot be reached")]
    Unavailable {},
}

/// A watch has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// Changes were left out: the engine has forgotten them, or the reader was too slow. Take a new snapshot.
    #[error("changes were left out; take a new snapshot")]
    Gap {},
    /// The engine can't be reached any more. Take a new snapshot when it can.
    #[error("the directory cannot be reached")]
    Unavailable {},
}
