//! One word for a tunnel, in the vocabularies that people know.

use std::fmt;
use std::time::SystemTime;

use adit_errors::{Code, Refusal};

use super::{Connection, State, UpstreamProbe};

/// What a listing says about a tunnel: its state, and how its agent does.
///
/// Two vocabularies meet here. One knows `awaiting_cert`, `active`, `delete_pending`, `deleted`; the other `active`,
/// `paused`, `connecting`, `error`. A [`State`] has the facts that only commands change; `connecting` and `error` are
/// views of an active tunnel whose connection has not come up, or whose upstream doesn't answer.
///
/// | state | agent | status |
/// |---|---|---|
/// | `AwaitingCert` | any | `awaiting_cert` |
/// | `Active` | connected, upstream fine or not probed | `active` |
/// | `Active` | connected, upstream failing | `error` |
/// | `Active` | away, its last session ended with an error | `error` |
/// | `Active` | away | `connecting` |
/// | `Paused` | any | `paused` |
/// | `DeletePending` | any | `delete_pending` |
/// | `Deleted` | any | `deleted` |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// A certificate must be signed first.
    AwaitingCert,
    /// Visitors get through.
    Active,
    /// The owner lets nobody in.
    Paused,
    /// No agent is connected.
    Connecting,
    /// The agent's session or its upstream failed.
    Error,
    /// Deleted, restorable.
    DeletePending,
    /// Gone.
    Deleted,
}

impl Status {
    /// The status of a tunnel in `state` whose agent does as `connection` says.
    #[must_use]
    pub fn of(state: State, connection: &Connection) -> Self {
        match state {
            State::AwaitingCert => Self::AwaitingCert,
            State::Paused => Self::Paused,
            State::DeletePending { .. } => Self::DeletePending,
            State::Deleted => Self::Deleted,
            State::Active if connection.is_connected() => match connection.upstream() {
                Some(UpstreamProbe::Failing) => Self::Error,
                Some(UpstreamProbe::Answering) | None => Self::Active,
            },
            State::Active if connection.last_error().is_some() => Self::Error,
            State::Active => Self::Connecting,
        }
    }

    /// The word, as the hosted systems spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AwaitingCert => "awaiting_cert",
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Connecting => "connecting",
            Self::Error => "error",
            Self::DeletePending => "delete_pending",
            Self::Deleted => "deleted",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a visitor is told about a tunnel that lets nobody in; `None` if it may be tried.
///
/// A deleted tunnel is told as one that never was (case R-03). Whether an agent is there is for the route table to say.
#[must_use]
pub(crate) fn visitor_refusal(state: State, expires: Option<SystemTime>, now: SystemTime) -> Option<Refusal> {
    match state {
        State::Active | State::Paused if expires.is_some_and(|expires| expires <= now) => {
            Some(Refusal::from(Code::NOT_FOUND))
        }
        State::Active => None,
        State::AwaitingCert => Some(Refusal::from(Code::AWAITING_CERT)),
        State::Paused => Some(Refusal::from(Code::TUNNEL_PAUSED)),
        State::DeletePending { .. } | State::Deleted => Some(Refusal::from(Code::NOT_FOUND)),
    }
}
