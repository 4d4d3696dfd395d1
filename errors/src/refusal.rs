use std::borrow::Cow;
use std::fmt;

use crate::action::NextAction;
use crate::code::Code;
use crate::envelope::Envelope;
use crate::message;
use crate::registry::Entry;
use crate::request_id::RequestId;
use crate::retry_after::RetryAfter;
use crate::source::{Effect, Fixer, Repeat, Source};

/// A typed, actionable "no": what happened, whose fault it is, what to do next and when.
///
/// Any layer can make one; the edge gives it the request's id and so makes the [`Envelope`] that callers see. The code
/// decides the HTTP status and the next action, by the [registry](crate::registry); the rest may be said more exactly:
///
/// ```
/// use std::time::Duration;
/// use adit_errors::{Code, NextAction, Refusal, RequestId};
///
/// let refusal = Refusal::new(Code::RATE_LIMITED, "60 requests a minute are allowed")
///     .with_retry_after(Duration::from_millis(1500));
/// assert_eq!(refusal.status(), 429);
/// assert_eq!(refusal.next_action(), &NextAction::RETRY_WITH_BACKOFF);
///
/// let envelope = refusal.with_request_id(RequestId::from_random(7));
/// assert_eq!(envelope.retry_after().unwrap().as_millis(), 1500);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    code: Code,
    next_action: NextAction,
    message: Cow<'static, str>,
    retry_after: Option<RetryAfter>,
    status: u16,
    source: Source,
    upstream_answered: bool,
}

impl Refusal {
    /// A refusal with a code and a message for people.
    ///
    /// The message is made fit for showing and cut at 1 KiB. It reaches the caller: show strangers' text in it through
    /// [`Echo`](crate::Echo), and never put a cause, a path, a host or a secret into it.
    ///
    /// A code that the registry does not know has status 500 and [`NextAction::NO_ACTION_POSSIBLE`]; codes of your own
    /// say more through [`of`](Self::of).
    #[must_use]
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        match code.entry() {
            Some(entry) => Self::of(entry, message),
            None => Self::unknown(code, message.into()),
        }
    }

    /// A refusal by a line of the registry, or by one of your own.
    #[must_use]
    pub fn of(entry: &Entry, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: entry.code().clone(),
            next_action: entry.next_action().clone(),
            message: message::clean(message.into()),
            retry_after: entry.retry_after(),
            status: entry.status(),
            source: entry.source(),
            upstream_answered: entry.upstream_answered(),
        }
    }

    /// An internal failure. The message is fixed: causes are for the operator's log; see [`Hidden`](crate::Hidden).
    #[must_use]
    pub fn internal() -> Self {
        Self::from(Code::INTERNAL)
    }

    /// A refusal that a peer sent: its own next action counts, if it sent one.
    ///
    /// For decoders of other formats. Without an action this is [`new`](Self::new); the message is borrowed, and bytes
    /// that are no UTF-8 become U+FFFD.
    #[must_use]
    pub fn from_parts(code: Code, next_action: Option<NextAction>, message: &[u8]) -> Self {
        let mut refusal = Self::new(code, message::clean_bytes(message));
        if let Some(next_action) = next_action {
            refusal.next_action = next_action;
        }
        refusal
    }

    /// Sets how long to wait before the next try, brought into 1 ms to 24 h. By default one second with status 429 or
    /// 500, else no hint.
    #[must_use]
    pub fn with_retry_after(mut self, after: impl Into<RetryAfter>) -> Self {
        self.retry_after = Some(after.into());
        self
    }

    /// Sets whose failure it is; by default the code's.
    #[must_use]
    pub const fn with_source(mut self, source: Source) -> Self {
        self.source = source;
        self
    }

    /// Sets whether the upstream did answer; by default the code's, which is no for all but one.
    #[must_use]
    pub const fn with_upstream_answered(mut self, answered: bool) -> Self {
        self.upstream_answered = answered;
        self
    }

    /// Gives it the id of the request it answers.
    #[must_use]
    pub const fn with_request_id(self, id: RequestId) -> Envelope {
        Envelope::new(self, id)
    }

    /// What went wrong, for programs.
    #[must_use]
    pub const fn code(&self) -> &Code {
        &self.code
    }

    /// What to do next, for programs.
    #[must_use]
    pub const fn next_action(&self) -> &NextAction {
        &self.next_action
    }

    /// What went wrong, for people: at most 1,024 bytes, one line, never to be parsed.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// How long to wait before the next try.
    #[must_use]
    pub const fn retry_after(&self) -> Option<RetryAfter> {
        self.retry_after
    }

    /// The HTTP status code, 400 to 599.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Whose failure it is.
    #[must_use]
    pub const fn source(&self) -> Source {
        self.source
    }

    /// Whether the upstream answered, though not with something that was passed on.
    #[must_use]
    pub const fn upstream_answered(&self) -> bool {
        self.upstream_answered
    }

    /// Who may fix it, so whom to tell; with an unknown code, as its status suggests.
    #[must_use]
    pub fn fixer(&self) -> Fixer {
        self.entry().fixer()
    }

    /// Whether the same request may succeed later: never, unless the next action asks for a repeat.
    #[must_use]
    pub fn repeat(&self) -> Repeat {
        if !self.next_action.repeats() {
            return Repeat::Never;
        }
        match self.entry().repeat() {
            Repeat::Once => Repeat::Once,
            // The peer asks for it, and it knows best.
            Repeat::Backoff | Repeat::Never => Repeat::Backoff,
        }
    }

    /// Whether the refused request may have taken effect; with an unknown code, as its status suggests.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.entry().effect()
    }

    /// As [`with_retry_after`](Self::with_retry_after), in constants.
    pub(crate) const fn with_hint(mut self, after: RetryAfter) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// What came with an answer of this HTTP status. Its action and its hint, or none, replace what we would have said;
    /// about a code that is unknown here, the status tells the rest.
    pub(crate) fn received(
        status: u16,
        code: Received,
        next_action: Option<NextAction>,
        message: Option<&str>,
        retry_after: Option<RetryAfter>,
    ) -> Self {
        let (code, entry, status, known) = match code {
            Received::Known(entry) => (entry.code().clone(), entry, entry.status(), true),
            Received::Unknown(code) => {
                let shown = if (400..=599).contains(&status) { status } else { 500 };
                (code, Entry::for_status(status), shown, false)
            }
        };
        let own_words = if known { entry.summary() } else { UNKNOWN };
        Self {
            code,
            next_action: next_action.unwrap_or_else(|| entry.next_action().clone()),
            message: message.map_or(Cow::Borrowed(own_words), message::clean_text),
            retry_after,
            status,
            source: entry.source(),
            upstream_answered: known && entry.upstream_answered(),
        }
    }

    /// The registry's line about the code, or else about its status.
    fn entry(&self) -> &'static Entry {
        self.code.entry().unwrap_or_else(|| Entry::for_status(self.status))
    }

    fn unknown(code: Code, message: Cow<'static, str>) -> Self {
        Self {
            code,
            next_action: NextAction::NO_ACTION_POSSIBLE,
            message: message::clean(message),
            retry_after: Some(RetryAfter::from_secs(1)),
            status: 500,
            source: Source::Edge,
            upstream_answered: false,
        }
    }
}

/// A code that came with an answer.
pub(crate) enum Received {
    Known(&'static Entry),
    Unknown(Code),
}

impl Received {
    /// Reads a code, if it is one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match Entry::find(text) {
            Some(entry) => Some(Self::Known(entry)),
            None => Code::parse(text).ok().map(Self::Unknown),
        }
    }

    /// The code that the status stands for.
    pub(crate) fn by_status(status: u16) -> Self {
        Self::Known(Entry::for_status(status))
    }
}

/// The message where nobody has said anything.
const UNKNOWN: &str = "The request was refused.";

/// A refusal whose message is the registry's sentence about the code.
impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        match code.entry() {
            Some(entry) => Self::of(entry, entry.summary()),
            None => Self::unknown(code, Cow::Borrowed(UNKNOWN)),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::REGISTRY;

    #[test]
    fn x01_status_and_next_action_are_fixed_per_code() {
        for entry in REGISTRY {
            let refusal = Refusal::new(entry.code().clone(), "why")
                .with_source(Source::Edge)
                .with_retry_after(RetryAfter::MIN)
                .with_upstream_answered(true);
            assert_eq!(refusal.status(), entry.status());
            assert_eq!(refusal.next_action(), entry.next_action());
        }
    }

    #[test]
    fn x01_a_hint_comes_with_429_and_500() {
        for entry in REGISTRY {
            let expected = [429, 500].contains(&entry.status());
            assert_eq!(Refusal::from(entry.code().clone()).retry_after().is_some(), expected);
        }
    }

    #[test]
    fn a_peers_action_counts() {
        let refusal = Refusal::from_parts(Code::NOT_FOUND, Some(NextAction::RECONNECT), b"gone\xff");
        assert_eq!(refusal.next_action(), &NextAction::RECONNECT);
        assert_eq!(refusal.message(), "gone\u{fffd}");
        let refusal = Refusal::from_parts(Code::NOT_FOUND, None, b"gone");
        assert_eq!(refusal.next_action(), &NextAction::NO_ACTION_POSSIBLE);
    }

    #[test]
    fn an_unknown_code_is_taken_for_the_worst() {
        let refusal = Refusal::new(Code::from_static("ODD"), "odd");
        assert_eq!(
            (refusal.status(), refusal.effect(), refusal.repeat()),
            (500, Effect::Possible, Repeat::Never)
        );
        assert_eq!(refusal.retry_after(), Some(RetryAfter::from_secs(1)));
    }

    #[test]
    fn it_fits_into_a_result() {
        // Clippy's `result_large_err` draws the line at 128 bytes; an envelope adds the id's two words.
        assert!(size_of::<Refusal>() <= 96);
    }
}
