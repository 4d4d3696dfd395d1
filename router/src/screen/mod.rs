//! What an HTTP library must not see: HTTP/1 of which there are two readings, found on the octets themselves.

mod body;
#[cfg(feature = "tokio")]
mod driver;
mod error;
mod fields;
mod head;

use self::body::{Body, Chunks};
use self::fields::Framing;
use self::head::{Head, Whole};

#[cfg(feature = "tokio")]
pub use driver::{Screened, Turns};
pub use error::ScreenError;

/// Reads along an HTTP/1 connection, one request after another, and refuses what two servers could read differently.
///
/// HTTP libraries repair: one drops a Content-Length that stands beside a Transfer-Encoding, another takes a lone line
/// feed for the end of a line. Whoever checks their result never sees what was repaired, and the next server may repair
/// it in another way: that is request smuggling. So the screen stands before the library, on the octets, and holds
/// requests to the grammar of RFC 9112 without any of its tolerances, bodies included, since it has to know where the
/// next head begins.
///
/// ```text
///            octets         head whole         body over
///  ┌───────┐      ┌──────┐             ┌──────┐
///  │Preface│─────▶│ Head │────────────▶│ Body │──┬──▶ Head …
///  └───┬───┘      └──┬───┘             └──┬───┘  │ asked for another protocol
///      │ HTTP/2      └────── refused ─────┘      ▼
///      ▼                                      Awaiting ──▶ resume(false): Head,  resume(true): Through
///   Through
/// ```
///
/// It copies nothing, allocates nothing, and gives the same answer however the octets are cut. A head is clear to go on
/// once it is whole, so that nothing of a refused one is ever read by anybody.
///
/// ```
/// use adit_router::{Screen, ScreenError};
///
/// let mut screen = Screen::new();
/// let good = b"GET / HTTP/1.1\r\nhost: app.example\r\n\r\n";
/// let seen = screen.receive(&[&good[..], b"POST / HTTP/1.1\r\nhost : a\r\n\r\n"].concat());
/// assert_eq!(seen.clear, good.len());
/// assert_eq!(screen.refusal(), Some(&ScreenError::FieldName {}));
/// ```
#[derive(Clone, Debug)]
pub struct Screen {
    limits: Limits,
    phase: Phase,
    heads: u64,
}

/// What a head may have at most.
#[derive(Clone, Copy, Debug)]
struct Limits {
    target_bytes: usize,
    head_bytes: usize,
    fields: usize,
}

#[derive(Clone, Debug)]
enum Phase {
    /// So many octets of the preface of HTTP/2 were seen, and nothing else.
    Preface(usize),
    Head(Head),
    /// What follows it is a head, or waits to be told what it is.
    Body {
        body: Body,
        then_awaits: bool,
    },
    Awaiting,
    Through,
    Refused {
        error: ScreenError,
        is_in_body: bool,
    },
}

/// What became of the octets that a screen was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// So many were looked at. The rest is to be given again: after [`Screen::resume`], or never, if it was refused.
    pub taken: usize,
    /// So many from the front, and all that waited from earlier calls, may go on. If none, those wait further.
    pub clear: usize,
}

impl Screen {
    /// A screen for a new connection: targets up to 16 KiB, heads up to 64 KiB and 100 fields, as
    /// [`RequestGate`](crate::RequestGate) has them.
    #[must_use]
    pub const fn new() -> Self {
        let limits = Limits { target_bytes: 16 * 1024, head_bytes: 64 * 1024, fields: 100 };
        Self { limits, phase: Phase::Preface(0), heads: 0 }
    }

    /// The longest target in octets; 16 KiB unless set. What is longer is refused with 414.
    #[must_use]
    pub const fn max_target_bytes(mut self, max_target_bytes: usize) -> Self {
        self.limits.target_bytes = max_target_bytes;
        self
    }

    /// The largest head in octets, request line and ends of lines included; 64 KiB unless set. Larger ones are refused
    /// with 431. So much a connection may hold back.
    #[must_use]
    pub const fn max_head_bytes(mut self, max_head_bytes: usize) -> Self {
        self.limits.head_bytes = max_head_bytes;
        self
    }

    /// The most fields of a head; 100 unless set. More are refused with 431.
    #[must_use]
    pub const fn max_fields(mut self, max_fields: usize) -> Self {
        self.limits.fields = max_fields;
        self
    }

    /// Looks at the octets that the visitor sent next.
    ///
    /// Ask [`refusal`](Self::refusal) and [`is_awaiting`](Self::is_awaiting) afterwards, if not all of them were taken.
    pub fn receive(&mut self, octets: &[u8]) -> Seen {
        let mut seen = Seen::default();
        while let Some(rest) = octets.get(seen.taken..).filter(|rest| !rest.is_empty()) {
            let step = self.step(rest);
            seen.taken += step.taken;
            if step.is_clear {
                seen.clear = seen.taken;
            }
            if step.is_last {
                break;
            }
        }
        seen
    }

    /// Says what the last request led to that asked for another protocol: with `is_switched` what follows is none of
    /// HTTP/1's business; without, it is the next request. Does nothing unless the screen [awaits](Self::is_awaiting) it.
    pub fn resume(&mut self, is_switched: bool) {
        if self.is_awaiting() {
            self.phase = if is_switched { Phase::Through } else { Phase::Head(Head::new(self.limits)) };
        }
    }

    /// Why nothing more may go on, if so. What was clear before stays so.
    #[must_use]
    pub const fn refusal(&self) -> Option<&ScreenError> {
        match &self.phase {
            Phase::Refused { error, .. } => Some(error),
            Phase::Preface(_) | Phase::Head(_) | Phase::Body { .. } | Phase::Awaiting | Phase::Through => {
                None
            }
        }
    }

    /// Whether the refused octets are in a body, whose head went on already.
    #[must_use]
    pub const fn is_refused_in_body(&self) -> bool {
        matches!(self.phase, Phase::Refused { is_in_body: true, .. })
    }

    /// Whether the next octets belong to a protocol that depends on the answer to the last request, which asked for
    /// another one (`Upgrade`, CONNECT). None is taken until [`resume`](Self::resume).
    #[must_use]
    pub const fn is_awaiting(&self) -> bool {
        matches!(self.phase, Phase::Awaiting)
    }

    /// Whether a head has begun and is not whole yet: the time in which a visitor can make a gateway wait.
    #[must_use]
    pub const fn is_in_head(&self) -> bool {
        match &self.phase {
            Phase::Preface(octets) => *octets > 0,
            Phase::Head(head) => head.has_begun(),
            Phase::Body { .. } | Phase::Awaiting | Phase::Through | Phase::Refused { .. } => false,
        }
    }

    /// Whether not an octet has come: nobody has said yet what the connection is to be.
    #[must_use]
    pub const fn is_silent(&self) -> bool {
        matches!(self.phase, Phase::Preface(0))
    }

    /// Whether the octets awaited belong to a body.
    #[must_use]
    pub const fn is_in_body(&self) -> bool {
        matches!(self.phase, Phase::Body { .. })
    }

    /// Whether everything goes on unseen: the connection is HTTP/2, or has switched to another protocol.
    #[must_use]
    pub const fn is_through(&self) -> bool {
        matches!(self.phase, Phase::Through)
    }

    /// Requests whose heads were clear, over the connection's life.
    #[must_use]
    pub const fn heads(&self) -> u64 {
        self.heads
    }

    fn step(&mut self, octets: &[u8]) -> Step {
        match &mut self.phase {
            Phase::Preface(seen) => {
                let seen = *seen;
                self.preface(seen, octets)
            }
            Phase::Head(head) => match head.receive(octets) {
                (taken, Ok(None)) => Step { taken, is_clear: false, is_last: false },
                (taken, Ok(Some(whole))) => {
                    self.on_head(whole);
                    Step { taken, is_clear: true, is_last: false }
                }
                (taken, Err(error)) => self.refuse(taken, error, false),
            },
            Phase::Body { body, then_awaits } => match body.receive(octets) {
                (taken, Ok(false)) => Step { taken, is_clear: true, is_last: false },
                (taken, Ok(true)) => {
                    let then_awaits = *then_awaits;
                    self.on_end(then_awaits);
                    Step { taken, is_clear: true, is_last: false }
                }
                (taken, Err(error)) => self.refuse(taken, error, true),
            },
            Phase::Through => Step { taken: octets.len(), is_clear: true, is_last: true },
            Phase::Awaiting | Phase::Refused { .. } => Step { taken: 0, is_clear: false, is_last: true },
        }
    }

    /// An HTTP/1 head could begin like the preface, so that nothing is decided before they differ.
    fn preface(&mut self, seen: usize, octets: &[u8]) -> Step {
        let expected = PREFACE.get(seen..).unwrap_or_default();
        let same = expected.iter().zip(octets).take_while(|(expected, octet)| expected == octet).count();
        if same == expected.len() {
            self.phase = Phase::Through;
            return Step { taken: same, is_clear: true, is_last: false };
        }
        if same == octets.len() {
            self.phase = Phase::Preface(seen + same);
            return Step { taken: same, is_clear: false, is_last: false };
        }
        let mut head = Head::new(self.limits);
        let again = PREFACE.get(..seen + same).unwrap_or_default();
        match head.receive(again) {
            (_, Err(error)) => self.refuse(same, error, false),
            (_, Ok(_)) => {
                self.phase = Phase::Head(head);
                Step { taken: same, is_clear: false, is_last: false }
            }
        }
    }

    fn on_head(&mut self, whole: Whole) {
        self.heads = self.heads.saturating_add(1);
        let then_awaits = whole.wants_switch;
        self.phase = match whole.framing {
            Framing::None | Framing::Length(0) => return self.on_end(then_awaits),
            Framing::Length(length) => Phase::Body { body: Body::Length(length), then_awaits },
            Framing::Chunked => Phase::Body { body: Body::Chunked(Chunks::new()), then_awaits },
        };
    }

    fn on_end(&mut self, then_awaits: bool) {
        self.phase = if then_awaits { Phase::Awaiting } else { Phase::Head(Head::new(self.limits)) };
    }

    fn refuse(&mut self, taken: usize, error: ScreenError, is_in_body: bool) -> Step {
        self.phase = Phase::Refused { error, is_in_body };
        Step { taken, is_clear: is_in_body, is_last: true }
    }
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

/// What one part of a screen did with octets.
struct Step {
    taken: usize,
    is_clear: bool,
    is_last: bool,
}

/// How a client of HTTP/2 begins (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[cfg(test)]
mod tests;
