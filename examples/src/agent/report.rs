//! What the agent tells whoever started it: lines for people, or one JSON object a line for programs.

use adit_errors::Envelope;
use adit_wire_proto::control::RotatedSecret;
use serde::Serialize;
use std::fmt;
use std::io::Write;
use std::time::Duration;

/// Something that a person or program waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A dial begins.
    Connecting {
        /// The gateway's address.
        gateway: String,
    },
    /// A connection was made.
    Chosen {
        /// The carrier.
        carrier: String,
        /// Why this one.
        reason: String,
        /// How long the dial took, in milliseconds.
        took_ms: u64,
        /// The other carriers, and what became of them.
        others: Vec<(String, String)>,
    },
    /// The tunnel leads to a new session on another carrier; the old one ends with its visits.
    Moved {
        /// The carrier before.
        from: String,
        /// The carrier now.
        to: String,
        /// Fences every older registration of the name.
        generation: u64,
    },
    /// The gateway accepted the credential.
    Connected {
        /// The gateway's name for this session, to be quoted in questions about it.
        session: String,
    },
    /// The tunnel is reachable.
    Serving {
        /// The tunnel's name.
        name: String,
        /// What visitors use, the best first; none if the tunnel is private.
        addresses: Vec<String>,
        /// A command that a person would try next.
        r#try: String,
        /// Fences every older registration of the name.
        generation: u64,
    },
    /// Another agent's tunnel can be tried at a port of this machine.
    Reachable {
        /// The tunnel's name.
        name: String,
        /// The local address.
        address: String,
    },
    /// What visitors of this tunnel present, as `X-Adit-Authorization: Bearer …`: shown once, when it is made.
    VisitorToken {
        /// The token.
        token: Secret,
    },
    /// A share was made: shown once.
    Shared {
        /// The link for whoever is to visit.
        link: Secret,
    },
    /// The share that was asked for could not be made; the tunnel is public all the same.
    NotShared {
        /// Why not.
        reason: String,
    },
    /// A certificate for the agent's own key arrived.
    CertificateIssued {
        /// The names that it is for.
        names: Vec<String>,
    },
    /// The new connect secret that was asked for: the only time that it is shown. The agent uses it from now on.
    SecretRotated {
        /// The secret.
        secret: Secret,
        /// How long the old one opens sessions still, in milliseconds.
        old_valid_ms: u64,
    },
    /// Somebody else rotated the connect secret: this agent needs the new one.
    SecretReplaced {
        /// How long the one that this agent has opens sessions still, in milliseconds.
        old_valid_ms: u64,
    },
    /// The gateway asks to finish and to connect again.
    Draining,
    /// The session is lost; the next dial follows after a wait.
    Reconnecting {
        /// The wait, in milliseconds.
        after_ms: u64,
        /// Why the session is lost.
        reason: String,
    },
    /// The agent stops for good, for what it was told won't change by trying again.
    Stopped {
        /// The machine-readable code of the refusal.
        code: String,
        /// What happened.
        message: String,
        /// What to do about it.
        next_action: String,
    },
}

/// Text that is shown to whoever started the agent, and to no log.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Sentences.
    Human,
    /// JSON lines.
    Json,
}

/// Writes `event` to standard output; a closed output is no reason to stop tunnelling.
pub(crate) fn print(style: Style, event: &Event) {
    let line = match style {
        Style::Human => human(event),
        Style::Json => serde_json::to_string(event).unwrap_or_default(),
    };
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

impl Event {
    /// The end, as the gateway's refusal puts it.
    pub(crate) fn refused(refusal: &Envelope) -> Self {
        let next_action = format!("{} (request {})", refusal.next_action(), refusal.request_id());
        Self::stopped(&refusal.code().to_string(), refusal.message().to_owned(), &next_action)
    }

    /// The end.
    pub(crate) fn stopped(code: &str, message: String, next_action: &str) -> Self {
        Self::Stopped { code: code.to_owned(), message, next_action: next_action.to_owned() }
    }

    /// A new secret of our own.
    pub(crate) fn rotated(rotated: &RotatedSecret) -> Self {
        let secret = Secret(rotated.credential.reveal().to_string());
        Self::SecretRotated { secret, old_valid_ms: millis(rotated.old_valid) }
    }

    /// A new secret of somebody else.
    pub(crate) fn replaced(old_valid: Duration) -> Self {
        Self::SecretReplaced { old_valid_ms: millis(old_valid) }
    }

    /// A lost session and the wait that follows.
    pub(crate) fn reconnecting(after: Duration, reason: &dyn fmt::Display) -> Self {
        Self::Reconnecting { after_ms: millis(after), reason: reason.to_string() }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn human(event: &Event) -> String {
    match event {
        Event::Connecting { gateway } => format!("connecting to {gateway}"),
        Event::Chosen { carrier, reason, took_ms, .. } => {
            format!("connected by {carrier} in {took_ms} ms ({reason})")
        }
        Event::Moved { from, to, .. } => format!("moved from {from} to {to}"),
        Event::Connected { session } => format!("connected, session {session}"),
        Event::Serving { name, addresses, r#try, .. } if addresses.is_empty() => {
            format!("{name} is there for other agents\ntry:\n  {}", r#try)
        }
        Event::Reachable { name, address } => format!("{name} is tried at {address}"),
        Event::Serving { name, addresses, r#try, .. } => {
            let addresses = addresses.join("\n  ");
            format!("{name} is public at\n  {addresses}\ntry:\n  {}", r#try)
        }
        Event::VisitorToken { token } => {
            format!("visitors present, shown this once:\n  X-Adit-Authorization: Bearer {}", token.0)
        }
        Event::Shared { link } => format!("a share, shown this once:\n  {}", link.0),
        Event::NotShared { reason } => format!("no share was made: {reason}"),
        Event::CertificateIssued { names } => format!("certificate issued for {}", names.join(", ")),
        Event::SecretRotated { secret, old_valid_ms } => format!(
            "the new connect secret, shown this once; the old one is good for {} s more:\n\n  export ADIT_SECRET={}\n",
            old_valid_ms / 1000,
            secret.0
        ),
        Event::SecretReplaced { old_valid_ms } => format!(
            "the connect secret was rotated: give this agent the new one within {} s",
            old_valid_ms / 1000
        ),
        Event::Draining => "the gateway drains this session; connecting again".to_owned(),
        Event::Reconnecting { after_ms, reason } => format!("{reason}; connecting again in {after_ms} ms"),
        Event::Stopped { code, message, next_action } => {
            format!("stopped: {message} ({code})\nwhat to do: {next_action}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_of_json() {
        let event = Event::Serving {
            name: "my-app".to_owned(),
            addresses: vec!["http://my-app.example".to_owned()],
            r#try: "curl http://my-app.example".to_owned(),
            generation: 3,
        };
        let line = serde_json::to_string(&event).unwrap();
        assert!(!line.contains('\n'));
        assert!(line.starts_with(r#"{"event":"serving","name":"my-app""#), "{line}");
    }

    #[test]
    fn w29_a_new_secret_is_printed_and_not_debugged() {
        let event = Event::SecretRotated { secret: Secret("ads_canary".to_owned()), old_valid_ms: 5000 };
        assert!(human(&event).contains("ADIT_SECRET=ads_canary"));
        assert!(serde_json::to_string(&event).unwrap().contains(r#""secret":"ads_canary""#));
        assert!(!format!("{event:?}").contains("canary"));
    }
}
