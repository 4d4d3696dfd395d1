//! UDP flows in a session: each has a stream that names it and ends with it, and its messages travel as datagrams, or as
//! records on the stream where they have to (`SPEC.md`, section 4).
//!
//! ```text
//!  gateway                                                            agent
//!  open(head) ─────────── OPEN, with the first message as a record ──────────► accept
//!     │ ──────────────────── more messages: records ─────────────────────────► │ the flow is known there
//!     │ ◄──────────────────── its answers: records ─────────────────────────── │
//!     │ ─────────────── DATAGRAM, from the first answer on ──────────────────► │
//!     │ ◄───────────── DATAGRAM, from the first DATAGRAM on ────────────────── │
//!     │ ◄─ records at any time: what is longer than a datagram may be now ───► │
//!     │ ──────────────────────────── FIN ────────────────────────────────────► │
//! ```
//!
//! A message is one datagram of UDP: it arrives whole or not at all, is never cut, and never waits. What has no room on its
//! way is dropped and counted; see [`FlowStats`].
//!
//! ```rust
//! # use adit_mux::{Builder, Role, flow::Flows};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (near, far) = tokio::io::duplex(64 * 1024);
//! # let (session, _incoming, driver) = Builder::new(Role::Listener).build(near);
//! # tokio::spawn(driver);
//! # let (agent, mut incoming, driver) = Builder::new(Role::Dialler).build(far);
//! # tokio::spawn(driver);
//! // The gateway's end. Everything that is received for flows is taken apart by `delivery`.
//! let (flows, delivery) = Flows::new(session.clone());
//! tokio::spawn(delivery);
//! let (sender, mut receiver) = flows.opened(session.open("a head that says udp").await?);
//! sender.send("ping")?;
//!
//! // The agent's end.
//! let (flows, delivery) = Flows::new(agent);
//! tokio::spawn(delivery);
//! let (answers, mut visitor) = flows.accepted(incoming.accept().await.ok_or("no stream")?.accept());
//! assert_eq!(visitor.receive().await?.as_deref(), Some(&b"ping"[..]));
//! answers.send("pong")?;
//!
//! assert_eq!(receiver.receive().await?.as_deref(), Some(&b"pong"[..]));
//! # Ok(())
//! # }
//! ```

mod half;
mod inbox;
mod options;
mod way;

pub use half::{FlowReceiver, FlowSender, Sent};
pub use options::{FlowError, FlowOptions, FlowStats, Oversize};

use crate::{Session, Stream};
use bytes::Bytes;
use inbox::Inbox;
use options::Counters;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The flows of one session. Clones are the same flows.
#[derive(Clone, Debug)]
pub struct Flows {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    session: Session,
    options: FlowOptions,
    /// By the id of their streams: one entry for each flow that is open, so no more than streams may be.
    inboxes: Mutex<HashMap<u32, Arc<Inbox>>>,
    counters: Counters,
}

impl Flows {
    /// The flows of `session`, and what takes its datagrams apart: spawn it. It ends with the session, and keeps it alive
    /// until then. Nobody else may receive the session's datagrams.
    pub fn new(session: Session) -> (Self, impl Future<Output = ()> + Send + 'static) {
        Self::with(session, FlowOptions::new())
    }

    /// The same with limits of one's own.
    pub fn with(session: Session, options: FlowOptions) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let inner = Inner { session, options, inboxes: Mutex::default(), counters: Counters::default() };
        let flows = Self { inner: Arc::new(inner) };
        (flows.clone(), flows.deliver())
    }

    /// The flow of a stream that this side has opened.
    pub fn opened(&self, stream: Stream) -> (FlowSender, FlowReceiver) {
        half::pair(self.clone(), stream, true)
    }

    /// The flow of a stream that the other side has opened.
    pub fn accepted(&self, stream: Stream) -> (FlowSender, FlowReceiver) {
        half::pair(self.clone(), stream, false)
    }

    /// The session that they are in.
    pub fn session(&self) -> &Session {
        &self.inner.session
    }

    /// What became of their messages so far.
    pub fn stats(&self) -> FlowStats {
        self.inner.counters.read()
    }

    /// What is for no flow is dropped, not kept.
    async fn deliver(self) {
        while let Some((flow, payload)) = self.inner.session.receive_datagram().await {
            let inbox = self.inboxes().get(&flow).map(Arc::clone);
            match inbox {
                Some(inbox) => self.put(&inbox, payload),
                None => Counters::add(&self.inner.counters.unknown),
            }
        }
    }

    fn put(&self, inbox: &Inbox, payload: Bytes) {
        if inbox.push(payload, self.inner.options.max_unread_bytes) {
            Counters::add(&self.inner.counters.datagrams_received);
        } else {
            Counters::add(&self.inner.counters.unread);
        }
    }

    fn inboxes(&self) -> MutexGuard<'_, HashMap<u32, Arc<Inbox>>> {
        // Nothing between lock and unlock can panic half-way through a change.
        self.inner.inboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
