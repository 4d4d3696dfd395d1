//! How a tunnel's agent does: facts that come and go, apart from the state that commands change.

use std::net::SocketAddr;
use std::time::SystemTime;

/// What is known of the connection between a tunnel and its agent.
///
/// Kept by whoever keeps the sessions, in memory; a lost connection never changes a tunnel's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    agents: usize,
    since: Option<SystemTime>,
    last_address: Option<SocketAddr>,
    last_error: Option<Box<str>>,
    carrier: Option<Box<str>>,
    upstream: Option<UpstreamProbe>,
}

impl Connection {
    /// Nothing was ever connected.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An agent connected from `address` on the carrier of this name (`native`, `h2`, `quic`, `websocket`).
    pub fn receive_agent(&mut self, now: SystemTime, address: SocketAddr, carrier: &str) {
        self.agents = self.agents.saturating_add(1);
        if self.agents == 1 {
            self.since = Some(now);
        }
        self.last_address = Some(address);
        self.carrier = Some(carrier.into());
        self.last_error = None;
        self.upstream = None;
    }

    /// An agent's session ended; `error` in a form fit for the tunnel's owner, cut at 64 characters. `None` for a drain or a
    /// takeover, in which nothing failed.
    pub fn lose_agent(&mut self, now: SystemTime, error: Option<&str>) {
        self.agents = self.agents.saturating_sub(1);
        if self.agents == 0 {
            self.since = Some(now);
            self.upstream = None;
            self.last_error = error.map(cut);
        }
    }

    /// The agent tried its upstream.
    pub fn receive_probe(&mut self, probe: UpstreamProbe) {
        if self.is_connected() {
            self.upstream = Some(probe);
        }
    }

    /// Whether an agent is connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.agents > 0
    }

    /// Since when it is as it is: the first of the connected agents came, or the last one left.
    #[must_use]
    pub fn since(&self) -> Option<SystemTime> {
        self.since
    }

    /// Where the newest agent connected from.
    #[must_use]
    pub fn last_address(&self) -> Option<SocketAddr> {
        self.last_address
    }

    /// Why the last session ended, if it failed and none has come since.
    #[must_use]
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// The newest agent's carrier.
    #[must_use]
    pub fn carrier(&self) -> Option<&str> {
        self.carrier.as_deref()
    }

    /// How the upstream did when it was last tried by an agent that is connected.
    #[must_use]
    pub fn upstream(&self) -> Option<UpstreamProbe> {
        self.upstream
    }
}

/// How the service behind an agent did when it was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "it answered or it didn't")]
pub enum UpstreamProbe {
    /// It took a connection.
    Answering,
    /// It didn't.
    Failing,
}

fn cut(error: &str) -> Box<str> {
    error.chars().take(MAX_ERROR_CHARS).filter(|character| !character.is_control()).collect::<String>().into()
}

/// At most four bytes each, so that a session's last words don't grow a record.
const MAX_ERROR_CHARS: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::{Live, State, Status};
    use super::*;

    #[test]
    fn each_row_of_the_status_table_holds() {
        let away = Connection::new();
        let failed = lost(Some("handshake timed out"));
        let drained = lost(None);
        let mut answering = connected();
        answering.receive_probe(UpstreamProbe::Answering);
        let mut failing = connected();
        failing.receive_probe(UpstreamProbe::Failing);
        let pending = State::DeletePending { was: Live::Active, until: NOW, is_expired: false };
        for (state, connection, status, word) in [
            (State::AwaitingCert, &connected(), Status::AwaitingCert, "awaiting_cert"),
            (State::Active, &connected(), Status::Active, "active"),
            (State::Active, &answering, Status::Active, "active"),
            (State::Active, &failing, Status::Error, "error"),
            (State::Active, &failed, Status::Error, "error"),
            (State::Active, &drained, Status::Connecting, "connecting"),
            (State::Active, &away, Status::Connecting, "connecting"),
            (State::Paused, &connected(), Status::Paused, "paused"),
            (pending, &connected(), Status::DeletePending, "delete_pending"),
            (State::Deleted, &away, Status::Deleted, "deleted"),
        ] {
            assert_eq!(Status::of(state, connection), status);
            assert_eq!(status.to_string(), word);
        }
    }

    #[test]
    fn while_one_of_two_agents_is_left_the_tunnel_is_connected() {
        let mut connection = connected();
        connection.receive_agent(NOW, ADDRESS.parse().unwrap(), "quic");
        connection.lose_agent(NOW, Some("reset"));
        assert!(connection.is_connected());
        assert_eq!((connection.carrier(), connection.last_error()), (Some("quic"), None));
    }

    #[test]
    fn an_error_is_cut_and_has_no_control_characters() {
        let connection = lost(Some(&"x\n".repeat(100)));
        assert_eq!(connection.last_error(), Some(&*"x".repeat(32)));
    }

    fn connected() -> Connection {
        let mut connection = Connection::new();
        connection.receive_agent(NOW, ADDRESS.parse().unwrap(), "native");
        connection
    }

    fn lost(error: Option<&str>) -> Connection {
        let mut connection = connected();
        connection.lose_agent(NOW, error);
        connection
    }

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;
    const ADDRESS: &str = "192.0.2.7:4711";
}
