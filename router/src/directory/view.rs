//! One node's copy of the directory, from which it answers without asking anybody.

use std::collections::HashMap;

use adit_naming::TunnelId;

use super::{Batch, Change, Placement, Revision, Snapshot};

/// A copy of all claims, kept from a snapshot and the batches that follow it.
///
/// It may be late, never wrong about the past: it is what the directory was at its revision. Whoever forwards by it sends
/// the fence along, so that a late copy costs one refusal and one [`resolve`](super::Directory::resolve), and no visitor
/// reaches the wrong agent.
#[derive(Clone, Debug, Default)]
pub struct View {
    revision: Revision,
    /// As many as the directory has: bounded there.
    claims: HashMap<TunnelId, Placement>,
}

impl View {
    /// The copy that a snapshot makes, and nothing of what was there before: stale entries are worse than none.
    #[must_use]
    pub fn of(snapshot: Snapshot) -> Self {
        Self { revision: snapshot.revision, claims: snapshot.claims.into_iter().collect() }
    }

    /// Carries out the changes of one revision. One that is in already changes nothing.
    ///
    /// # Errors
    /// [`Resync`] if a claim ends that this copy doesn't have: something was left out. The copy is as before; replace it.
    pub fn apply(&mut self, batch: &Batch) -> Result<(), Resync> {
        if batch.revision <= self.revision {
            return Ok(());
        }
        if !batch.changes.iter().all(|change| self.is_expected(change, batch.revision)) {
            return Err(Resync {});
        }
        for change in &batch.changes {
            match change {
                Change::Claimed { tunnel, .. } | Change::Gone { tunnel, .. }
                    if self.is_ahead(*tunnel, batch.revision) => {}
                Change::Claimed { tunnel, placement } => drop(self.claims.insert(*tunnel, *placement)),
                Change::Gone { tunnel, .. } => drop(self.claims.remove(tunnel)),
            }
        }
        self.revision = batch.revision;
        Ok(())
    }

    /// Takes in what a node learned by asking: a claim newer than the one in the copy, which a batch will confirm.
    pub fn learn(&mut self, tunnel: TunnelId, placement: Placement) {
        let known = self.claims.get(&tunnel).map(|placement| placement.fence);
        if placement.fence.revision() > self.revision && known.is_none_or(|known| known < placement.fence) {
            self.claims.insert(tunnel, placement);
        }
    }

    fn is_expected(&self, change: &Change, revision: Revision) -> bool {
        match change {
            Change::Claimed { .. } => true,
            Change::Gone { tunnel, .. } if self.is_ahead(*tunnel, revision) => true,
            Change::Gone { tunnel, fence } => self.find(*tunnel).is_some_and(|found| found.fence == *fence),
        }
    }

    /// Whether this node has learned of a claim that comes in a later batch.
    fn is_ahead(&self, tunnel: TunnelId, revision: Revision) -> bool {
        self.find(tunnel).is_some_and(|placement| placement.fence.revision() > revision)
    }

    /// Where the tunnel's agent is.
    #[must_use]
    pub fn find(&self, tunnel: TunnelId) -> Option<Placement> {
        self.claims.get(&tunnel).copied()
    }

    /// The revision up to which all changes are in.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// How many claims there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.claims.len()
    }

    /// Whether there is no claim.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }
}

/// The copy has missed something: take a new snapshot and replace it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the copy of the directory has missed a change")]
#[non_exhaustive]
pub struct Resync {}

#[cfg(test)]
mod tests {
    use super::super::{Fence, LeaseId, NodeId};
    use super::*;

    #[test]
    fn batches_are_carried_out_once_and_in_order() {
        let mut view = View::of(Snapshot::new(Revision::new(5), vec![(ONE, at(3))]));
        view.apply(&claimed(4, TWO)).unwrap();
        assert_eq!(view.find(TWO), None, "it was in the snapshot already, and ended before it");
        view.apply(&claimed(6, TWO)).unwrap();
        view.apply(&gone(7, ONE, 3)).unwrap();
        assert_eq!((view.find(ONE), view.find(TWO), view.revision()), (None, Some(at(6)), Revision::new(7)));
    }

    #[test]
    fn the_end_of_a_claim_that_was_never_seen_shows_a_gap() {
        let mut view = View::of(Snapshot::new(Revision::new(5), vec![(ONE, at(3))]));
        for batch in [gone(8, TWO, 6), gone(8, ONE, 7)] {
            assert_eq!(view.apply(&batch), Err(Resync {}));
            assert_eq!((view.find(ONE), view.revision()), (Some(at(3)), Revision::new(5)));
        }
    }

    #[test]
    fn what_was_learned_by_asking_is_not_lost_to_older_batches() {
        let mut view = View::of(Snapshot::new(Revision::new(5), vec![(ONE, at(3))]));
        view.learn(ONE, at(9));
        view.apply(&gone(6, ONE, 3)).unwrap();
        view.apply(&claimed(7, ONE)).unwrap();
        assert_eq!(view.find(ONE), Some(at(9)));
        view.apply(&claimed(9, ONE)).unwrap();
        view.apply(&gone(10, ONE, 9)).unwrap();
        view.learn(ONE, at(9));
        assert_eq!(view.find(ONE), None, "news that is older than the copy is no news");
    }

    fn claimed(revision: u64, tunnel: TunnelId) -> Batch {
        Batch::new(Revision::new(revision), vec![Change::Claimed { tunnel, placement: at(revision) }])
    }

    fn gone(revision: u64, tunnel: TunnelId, fence: u64) -> Batch {
        let fence = Fence::at(Revision::new(fence));
        Batch::new(Revision::new(revision), vec![Change::Gone { tunnel, fence }])
    }

    fn at(revision: u64) -> Placement {
        Placement::new(NodeId::new(1), Fence::at(Revision::new(revision)), LeaseId::new(1))
    }

    const ONE: TunnelId = TunnelId::from_u128(1);
    const TWO: TunnelId = TunnelId::from_u128(2);
}
