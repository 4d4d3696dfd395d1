use std::fmt;

/// Whose failure a refusal reports: the party at which the request ended.
///
/// It is known to the type and travels on the wire. In HTTP it shows only in the `Proxy-Status` field and in
/// `application/problem+json`, so that the default body stays exactly five fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Source {
    /// The request itself: as sent, no server would take it.
    Caller,
    /// The gateway: it could not do its part.
    Edge,
    /// The agent: it is away, late, or gave up.
    Agent,
    /// The service behind the agent.
    Upstream,
    /// A rule that someone set: quota, budget, plan, rate, access.
    Policy,
}

impl Source {
    /// All of them, in the order of declaration.
    pub const ALL: [Self; 5] = [Self::Caller, Self::Edge, Self::Agent, Self::Upstream, Self::Policy];

    /// The word for it in fields and on the wire: the variant in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Edge => "edge",
            Self::Agent => "agent",
            Self::Upstream => "upstream",
            Self::Policy => "policy",
        }
    }

    /// Reads the word for it; `None` for any other word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == text)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who may make the refused thing possible, so whom to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fixer {
    /// The program that sent the request.
    Caller,
    /// The person responsible for the caller's credential or account.
    Human,
    /// Whoever runs the tunnel that was visited: its agent and its upstream.
    TunnelOwner,
    /// Whoever runs the gateway; give them the request id.
    Operator,
    /// Nobody has to: it passes.
    Time,
    /// Nobody can.
    Nobody,
}

impl Fixer {
    /// Words for a person, as in `CODES.md`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "the caller",
            Self::Human => "the caller's human",
            Self::TunnelOwner => "the tunnel's owner",
            Self::Operator => "the gateway's operator",
            Self::Time => "time",
            Self::Nobody => "nobody",
        }
    }
}

impl fmt::Display for Fixer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether the same request, unchanged, may get another answer later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Repeat {
    /// No; something has to change first.
    Never,
    /// Yes, but a second failure is worth a report, not a third try.
    Once,
    /// Yes, for as long as the caller's patience lasts.
    Backoff,
}

impl Repeat {
    /// The word for it in `CODES.md`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "no",
            Self::Once => "once",
            Self::Backoff => "yes",
        }
    }
}

/// Whether the refused request may have taken effect all the same.
///
/// It decides about repeating requests that are not idempotent: what was never dispatched may be sent again, what
/// timed out half-way may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Effect {
    /// It certainly had none.
    None,
    /// It may have had one.
    Possible,
}

impl Effect {
    /// The word for it in `CODES.md`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "no",
            Self::Possible => "maybe",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_parse_to_themselves() {
        for source in Source::ALL {
            assert_eq!(Source::parse(source.as_str()), Some(source));
        }
        assert_eq!(Source::parse("gremlins"), None);
    }
}
