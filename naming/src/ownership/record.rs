//! What a store keeps for a name.

use super::{Generation, OwnerId};
use crate::Timestamp;

/// What a store keeps for a name that was ever owned: one row, one compare-and-swap.
///
/// The record stays when the name is released. It keeps the generation rising, and it lets names that a machine chose be
/// new for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub(super) owner: OwnerId,
    pub(super) generation: Generation,
    pub(super) revision: u64,
    pub(super) state: RecordState,
    pub(super) certified_until: Option<Timestamp>,
}

impl Record {
    /// Puts a record together from the columns of a row.
    pub const fn from_parts(
        owner: OwnerId,
        generation: Generation,
        revision: u64,
        state: RecordState,
        certified_until: Option<Timestamp>,
    ) -> Self {
        Self { owner, generation, revision, state, certified_until }
    }

    /// The owner; of a released name the last one.
    pub fn owner(&self) -> OwnerId {
        self.owner
    }

    /// The generation of the last claim.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// How often the record has been written, from 1: what a swap compares.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Where in its life the name is.
    pub fn state(&self) -> RecordState {
        self.state
    }

    /// When the last certificate that the owner got for the name's host runs out, if there is one.
    pub fn certified_until(&self) -> Option<Timestamp> {
        self.certified_until
    }
}

/// Where in its life a name is, as far as the record knows; time goes on without the record being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a store has a column for each; another state would be another design"
)]
pub enum RecordState {
    /// Somebody's.
    Owned,
    /// Released; the owner may restore it before `until`.
    DeletePending {
        /// The first moment at which it can't be restored any more.
        until: Timestamp,
    },
    /// Nobody's.
    Released,
}
