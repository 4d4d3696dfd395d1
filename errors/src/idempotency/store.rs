use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::answer::{Answer, NotStored};
use super::fingerprint::Fingerprint;
use super::key::Slot;
use crate::code::Code;
use crate::refusal::Refusal;
use crate::retry_after::RetryAfter;

/// Where answers are kept. A gateway of one process takes [`MemoryStore`](super::MemoryStore); many processes share one
/// in a database.
///
/// Each method is atomic: of many [`begin`](Self::begin)s of one slot at once, exactly one is fresh. `now` is the time
/// since any fixed moment, the same for all who share the store; with several machines that is the Unix epoch. It may
/// step back: nothing is forgotten early, and nothing twice. [`conformance`](super::conformance) checks all of this.
///
/// Call it only after the request's credential was checked.
pub trait Store: Send + Sync {
    /// Asks what to do about a request.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed, and the request must not be carried out.
    fn begin(
        &self,
        now: Duration,
        slot: &Slot,
        fingerprint: &Fingerprint,
    ) -> impl Future<Output = Result<Begin, StoreError>> + Send;

    /// Keeps the answer of the request that got the ticket.
    ///
    /// `Ok(Err(_))` says that it was not stored, and why; the slot is free then, unless a later request holds it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: nothing is known about whether it was stored.
    fn complete(
        &self,
        now: Duration,
        ticket: Ticket,
        answer: Answer,
    ) -> impl Future<Output = Result<Result<(), NotStored>, StoreError>> + Send;

    /// Frees the slot of a request that failed, fingerprint and all, so that a corrected one may follow. A ticket whose
    /// slot a later request holds frees nothing.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: the slot is freed when the lease is over, at the latest.
    fn abandon(&self, now: Duration, ticket: Ticket) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// What to do about a request.
#[derive(Debug)]
#[non_exhaustive]
pub enum Begin {
    /// It is the first one: carry it out, then give the ticket back with the answer, or abandon it.
    Fresh {
        /// The right to answer for the slot.
        ticket: Ticket,
    },
    /// It was carried out before: send this answer, with `X-Idempotent-Replay: true`.
    Replay {
        /// The first answer.
        answer: Arc<Answer>,
    },
    /// It is being carried out: refuse.
    InFlight {
        /// When to ask again.
        retry_after: RetryAfter,
    },
    /// The key was used for something else: refuse.
    Conflict {},
}

impl Begin {
    /// The refusal to answer with, if it is one.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Fresh { .. } | Self::Replay { .. } => None,
            Self::InFlight { retry_after } => {
                Some(Refusal::from(Code::IDEMPOTENCY_IN_FLIGHT).with_retry_after(*retry_after))
            }
            Self::Conflict {} => Some(Refusal::from(Code::IDEMPOTENCY_CONFLICT)),
        }
    }
}

/// The right to answer for a slot: only the request that was fresh has it. Its number fences it off from later ones.
#[derive(Debug)]
#[must_use = "a ticket is completed or abandoned, else its slot is blocked until the lease is over"]
pub struct Ticket {
    slot: Slot,
    number: u64,
}

impl Ticket {
    /// For stores: a ticket for this slot. `number` must differ from that of every other ticket for the slot.
    pub const fn new(slot: Slot, number: u64) -> Self {
        Self { slot, number }
    }

    /// The slot.
    #[must_use]
    pub const fn slot(&self) -> &Slot {
        &self.slot
    }

    /// The number.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }
}

/// Why a store could not answer. The request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The principal has as many entries or bytes as it may have.
    #[error("the principal's idempotency quota is used up")]
    Quota {
        /// When the oldest of them is forgotten.
        retry_after: RetryAfter,
    },
    /// The store as a whole is full.
    #[error("the idempotency store is full")]
    Full {
        /// When the oldest entry is forgotten.
        retry_after: RetryAfter,
    },
    /// The store cannot be reached. Its reasons are for the operator's log, not for here.
    #[error("the idempotency store cannot be reached")]
    Unavailable {},
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Quota { retry_after } => {
                Self::from(Code::IDEMPOTENCY_QUOTA).with_retry_after(retry_after)
            }
            StoreError::Full { retry_after } => Self::from(Code::OVERLOADED).with_retry_after(retry_after),
            StoreError::Unavailable {} => {
                Self::from(Code::OVERLOADED).with_retry_after(RetryAfter::from_secs(1))
            }
        }
    }
}
