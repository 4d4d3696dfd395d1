//! Idempotency keys for servers: a repeated request gets the first one's answer, and is carried out once.
//!
//! The rules are the seeds', with the points settled that they leave open:
//!
//! - A key lives under *(principal, key)*: nobody meets anyone else's. Beside it lies a [`Fingerprint`] of method, path
//!   and body; the same key with another fingerprint is a conflict. (With the body *in* the key, as a seed words it,
//!   that case could not be seen.)
//! - The conflict is **409**, not 422 as an expired IETF draft had it: the seeds call it a conflict, and 422 would say
//!   that the request itself is wrong, when it is fine with a new key.
//! - While the first request is under way, others with its key get 409 and a `retry_after_ms`.
//! - A stored answer is replayed for 24 hours from the first request, with `X-Idempotent-Replay: true`.
//! - Errors are never stored: an [`Answer`] cannot be made from one. The corrected request, with the same key and
//!   another body, is carried out.
//! - An answer that is too large is not stored, and says so with `X-Idempotent-Stored: false`.
//! - The credential is checked before any of this: a [`Slot`] needs a [`Principal`], which only your authorisation makes.
//! - Each principal has its own quota; a full one refuses its owner, and pushes nobody out.
//! - If the server dies half-way, a lease ends, and a repeat is carried out. That is where exactly-once ends without a
//!   transaction that spans the store and the deed.
//!
//! ```text
//!           begin                       complete
//!   (none) ───────▶ in flight ─────────────────────▶ stored ──▶ (none), after 24 h
//!     ▲                │  ▲ └ begin, lease over ┐
//!     └──── abandon ───┘  └─────────────────────┘
//! ```
//!
//! [`Table`] is the whole machine without clock, lock or I/O. [`MemoryStore`] shares one among tasks; [`Store`] is the
//! trait for one in a database, and [`conformance`] the suite that it has to pass. With the feature `tower`,
//! `IdempotencyLayer` does all of it in front of any service.
//!
//! ```
//! use std::time::Duration;
//! use adit_errors::idempotency::{Answer, Begin, Fingerprint, IdempotencyKey, Limits, Principal, Slot, Table};
//!
//! let slot = Slot::new(Principal::new("org-7")?, IdempotencyKey::parse(b"c0ffee")?);
//! let fingerprint = Fingerprint::of("POST", "/tunnels", br#"{"subdomain":"my-app"}"#);
//! let mut table = Table::new(Limits::new());
//! let now = Duration::from_secs(1_700_000_000);
//!
//! let Begin::Fresh { ticket } = table.begin(now, &slot, &fingerprint)? else { panic!() };
//! // ... the tunnel is made ...
//! let answer = Answer::new(201, Vec::new(), br#"{"id":"t-1"}"#.to_vec(), 1 << 20)?;
//! table.complete(now, ticket, answer)?;
//!
//! let Begin::Replay { answer } = table.begin(now, &slot, &fingerprint)? else { panic!() };
//! assert_eq!(answer.body(), br#"{"id":"t-1"}"#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod key;
pub use key::{IdempotencyKey, KeyError, Principal, PrincipalError, Slot};

mod fingerprint;
pub use fingerprint::Fingerprint;

mod answer;
pub use answer::{Answer, NotStored};

mod limits;
pub use limits::Limits;

mod store;
pub use store::{Begin, Store, StoreError, Ticket};

mod table;
pub use table::Table;

mod memory;
pub use memory::MemoryStore;

pub mod conformance;

#[cfg(feature = "tower")]
mod body;
#[cfg(feature = "tower")]
pub use body::Buffered;

#[cfg(feature = "tower")]
mod layer;
#[cfg(feature = "tower")]
pub use layer::{Environment, Idempotency, IdempotencyLayer};
