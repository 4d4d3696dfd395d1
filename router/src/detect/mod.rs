//! Which protocol a visitor of an `auto` tunnel speaks, from what it sends first.

mod signatures;

use std::time::{Duration, Instant};

use adit_naming::Service;

use self::signatures::SIGNATURES;

/// Tells protocols apart by their first octets, within bounds of octets and of time.
///
/// Some protocols leave the first word to the server: MySQL, SMTP, FTP. Their visitors say nothing and wait, so silence is
/// an answer, too, once it has lasted. Everything else that is not known is [`Spoken::Other`]: to be relayed as it is.
///
/// The detector keeps nothing. The caller reads into a buffer that it has to forward anyway, and asks again with all of
/// it each time. An answer other than [`Detection::NotYet`] never changes with more octets, so that every cut of them
/// gives the same one.
///
/// ```
/// use adit_router::{Detection, Detector, Spoken};
///
/// let detector = Detector::new();
/// assert_eq!(detector.look(b"GET"), Detection::NotYet);
/// assert_eq!(detector.look(b"GET /"), Detection::Found(Spoken::Http1));
/// assert_eq!(detector.look(b"\0\0\0\x08\x04\xd2\x16\x2f"), Detection::Found(Spoken::PostgreSql));
/// assert_eq!(detector.late(b""), Spoken::ServerFirst);
/// ```
#[derive(Clone, Debug)]
pub struct Detector {
    max_octets: usize,
    patience: Duration,
}

/// A protocol, as far as the first octets tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Spoken {
    /// TLS, from its ClientHello (RFC 8446 §4.1.2); what it protects is to be told from ALPN and the server name.
    Tls,
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge (RFC 9113 §3.4); gRPC in clear text, too.
    Http2,
    /// SSH (RFC 4253 §4.2).
    Ssh,
    /// PostgreSQL: a start-up, a wish for TLS or GSSAPI, or a cancellation.
    PostgreSql,
    /// Redis and Valkey, by their serialization protocol.
    Redis,
    /// MongoDB's wire protocol.
    MongoDb,
    /// The visitor waits for the server to speak first, as those of MySQL, SMTP and FTP do.
    ServerFirst,
    /// None of these.
    Other,
}

impl Spoken {
    /// The service that a connection string would be for. [`ServerFirst`](Self::ServerFirst) is said to be what it most
    /// often is behind a tunnel, MySQL, only by the one who also knows the port: here it is plain TCP.
    #[must_use]
    pub const fn service(self) -> Service {
        match self {
            Self::Tls => Service::Https,
            Self::Http1 => Service::Http,
            Self::Http2 => Service::Grpc,
            Self::Ssh => Service::Ssh,
            Self::PostgreSql => Service::PostgreSql,
            Self::Redis => Service::Redis,
            Self::MongoDb => Service::MongoDb,
            Self::ServerFirst | Self::Other => Service::Tcp,
        }
    }
}

/// What the octets so far tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is an answer, or there is none yet")]
pub enum Detection {
    /// More octets may tell; at the deadline, ask [`Detector::late`].
    NotYet,
    /// This is it, whatever follows.
    Found(Spoken),
}

impl Detector {
    /// A detector that looks at 1,024 octets at most and waits for half a second at most.
    #[must_use]
    pub const fn new() -> Self {
        Self { max_octets: 1024, patience: Duration::from_millis(500) }
    }

    /// How many octets are looked at; 1,024 unless set, and never fewer than the 24 of the longest fixed signature. Only
    /// HTTP with an unusual method and a long target needs more, and is `Other` beyond.
    #[must_use]
    pub const fn max_octets(self, max_octets: usize) -> Self {
        let least = signatures::LONGEST;
        Self { max_octets: if max_octets < least { least } else { max_octets }, ..self }
    }

    /// How long a visitor may take until its first octets tell; 500 ms unless set. It is what a visitor of a server that
    /// speaks first waits in vain, so it should be little more than a round trip.
    #[must_use]
    pub const fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// When to stop waiting for octets, for a visitor who came at `now`. A patience for which the clock has no number
    /// ends in a day.
    #[must_use]
    pub fn deadline(&self, now: Instant) -> Instant {
        now.checked_add(self.patience).unwrap_or_else(|| now + Duration::from_secs(86_400))
    }

    /// What `octets`, all that the visitor has sent so far, tell.
    #[must_use]
    pub fn look(&self, octets: &[u8]) -> Detection {
        let seen = octets.get(..self.max_octets).unwrap_or(octets);
        let mut is_open = false;
        for (spoken, signature) in SIGNATURES {
            match signature(seen) {
                Match::Yes => return Detection::Found(spoken),
                Match::Maybe => is_open = true,
                Match::No => {}
            }
        }
        if is_open && seen.len() < self.max_octets {
            Detection::NotYet
        } else {
            Detection::Found(Spoken::Other)
        }
    }

    /// What is to be made of `octets` if nothing more came until the deadline.
    #[must_use]
    pub fn late(&self, octets: &[u8]) -> Spoken {
        match self.look(octets) {
            Detection::Found(spoken) => spoken,
            Detection::NotYet if octets.is_empty() => Spoken::ServerFirst,
            Detection::NotYet => Spoken::Other,
        }
    }
}

impl Default for Detector {
    fn default() -> Self {
        Self::new()
    }
}

/// What one signature says to some octets. `Yes` and `No` stay what they are with more octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Match {
    Yes,
    Maybe,
    No,
}

#[cfg(test)]
mod tests;
