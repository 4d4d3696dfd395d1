//! Who owns a name, and until when.
//!
//! ```text
//!                 claim                    release                    grace is over, or force
//!   never owned ─────────▶ owned(generation) ─────────▶ delete pending ─────────▶ released
//!                             ▲        ▲  restore (owner)     │                      │
//!                             │        └──────────────────────┘                      │
//!                             └───────────────── claim, by anybody ◀─────────────────┘
//!                                                once no certificate for the name is valid
//! ```
//!
//! [`OwnershipRules`] decides, purely: from the [`Record`] of a name and the time to the next record. A [`Store`] keeps
//! records and swaps one for the next only if nobody else did in between, and that is all that makes exactly one of many
//! racing claims win. [`Registry`] drives the two. There is no clock, no lock and no I/O in here: `now` is an argument,
//! and the store is yours, or the [`MemoryStore`].
//!
//! A database that is asked asynchronously doesn't implement [`Store`]: it loads, asks the rules, swaps, and calls
//! [`Change::committed`] itself; that is four lines, and they are those of [`Registry::claim`].

mod claim;
pub use claim::{Claim, Generation, OwnerId};

mod record;
pub use record::{Record, RecordState};

mod rules;
pub use rules::{
    Change, ClaimRefusal, ForceRefusal, NameStatus, OwnershipRules, ProofRefusal, RestoreRefusal,
};

mod store;
pub use store::{MemoryStore, Store, StoreFull};

mod registry;
pub use registry::{Registry, RegistryError, RenameRefusal};

#[cfg(test)]
mod tests;
