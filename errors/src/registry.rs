//! The one table of codes, from which the constants of [`Code`], their documentation, `CODES.md` and the JSON Schema
//! of the envelope all come.
//!
//! Every refusal that any layer makes has a line here: a name that is taken, a budget that is spent, an agent that is
//! away, a certificate that may not be signed. A line fixes the HTTP status and the next action of its code, so that
//! the same failure looks the same wherever it happens.
//!
#![doc = include_str!("../CODES.md")]

use crate::action::NextAction;
use crate::code::Code;
use crate::retry_after::RetryAfter;
use crate::source::{Effect, Fixer, Repeat, Source};

/// A line of the table: what is always true of one code.
///
/// A product defines codes of its own as constants and makes refusals from them with
/// [`Refusal::of`](crate::Refusal::of):
///
/// ```
/// use adit_errors::{Code, Entry, NextAction, Refusal, Source};
///
/// const PHONE_LIMIT: Entry = Entry::new(
///     Code::from_static("PHONE_LIMIT"),
///     409,
///     NextAction::FREE_QUOTA_AND_RETRY,
///     "The account has as many phone numbers as its plan allows.",
/// )
/// .with_source(Source::Policy);
///
/// let refusal = Refusal::of(&PHONE_LIMIT, "2 of 2 phone numbers are in use");
/// assert_eq!(refusal.status(), 409);
/// ```
#[derive(Clone, Debug)]
pub struct Entry {
    code: Code,
    status: u16,
    next_action: NextAction,
    summary: &'static str,
    source: Source,
    fixer: Fixer,
    repeat: Repeat,
    effect: Effect,
    upstream_answered: bool,
    aliases: &'static [&'static str],
}

impl Entry {
    /// A line for a code of your own. Its source is the caller, who may also fix it; repeating does not help, and the
    /// request had no effect: say otherwise with the `with_*` methods.
    ///
    /// `status` is an HTTP status code, 400 to 599; `summary` one sentence, the message where none other is given.
    ///
    /// # Panics
    /// If the status is no error: while compiling, when used in a constant.
    #[must_use]
    pub const fn new(code: Code, status: u16, next_action: NextAction, summary: &'static str) -> Self {
        assert!(status >= 400 && status <= 599, "an error has a status from 400 to 599");
        Self {
            code,
            status,
            next_action,
            summary,
            source: Source::Caller,
            fixer: Fixer::Caller,
            repeat: Repeat::Never,
            effect: Effect::None,
            upstream_answered: false,
            aliases: &[],
        }
    }

    /// Sets whose failure it is; [`Source::Caller`] by default.
    #[must_use]
    pub const fn with_source(mut self, source: Source) -> Self {
        self.source = source;
        self
    }

    /// Sets who may fix it; [`Fixer::Caller`] by default.
    #[must_use]
    pub const fn with_fixer(mut self, fixer: Fixer) -> Self {
        self.fixer = fixer;
        self
    }

    /// Sets whether the same request may succeed later; [`Repeat::Never`] by default.
    #[must_use]
    pub const fn with_repeat(mut self, repeat: Repeat) -> Self {
        self.repeat = repeat;
        self
    }

    /// Sets whether the request may have taken effect; [`Effect::None`] by default.
    #[must_use]
    pub const fn with_effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// Says that the upstream did answer, though not with something that can be passed on; not so by default.
    #[must_use]
    pub const fn with_upstream_answered(mut self) -> Self {
        self.upstream_answered = true;
        self
    }

    /// Sets other spellings that are read as this code, never written; none by default.
    #[must_use]
    pub const fn with_aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// The code.
    #[must_use]
    pub const fn code(&self) -> &Code {
        &self.code
    }

    /// The HTTP status code it always has, 400 to 599.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The action it always asks for.
    #[must_use]
    pub const fn next_action(&self) -> &NextAction {
        &self.next_action
    }

    /// One sentence about it; the message where none other is given.
    #[must_use]
    pub const fn summary(&self) -> &'static str {
        self.summary
    }

    /// Whose failure it is unless the refusal says otherwise.
    #[must_use]
    pub const fn source(&self) -> Source {
        self.source
    }

    /// Who may fix it.
    #[must_use]
    pub const fn fixer(&self) -> Fixer {
        self.fixer
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn repeat(&self) -> Repeat {
        self.repeat
    }

    /// Whether the refused request may have taken effect.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        self.effect
    }

    /// Whether the upstream has answered when this code is used.
    #[must_use]
    pub const fn upstream_answered(&self) -> bool {
        self.upstream_answered
    }

    /// Other spellings that are read as this code.
    #[must_use]
    pub const fn aliases(&self) -> &'static [&'static str] {
        self.aliases
    }

    /// The hint given where the refusal has none of its own: one second with status 429 or 500, which promise one.
    #[must_use]
    pub const fn retry_after(&self) -> Option<RetryAfter> {
        match self.status {
            429 | 500 => Some(RetryAfter::from_secs(1)),
            _ => None,
        }
    }

    /// The line of [`REGISTRY`] with this code or alias.
    pub(crate) fn find(text: &str) -> Option<&'static Self> {
        position(text).and_then(|index| REGISTRY.get(index))
    }

    /// The line of [`REGISTRY`] that an HTTP status alone stands for.
    pub(crate) fn for_status(status: u16) -> &'static Self {
        // Every code has a line, so the other one is never taken.
        Code::for_status(status).entry().unwrap_or(&REGISTRY[0])
    }
}

/// Defines each code once: its constant, its documentation, its line in the table.
macro_rules! registry {
    ($($name:ident = $text:literal, $status:literal, $action:ident, $source:ident, $fixer:ident,
       $repeat:ident, $effect:ident, $summary:literal $(, aliases [$($alias:literal),+])? $(, upstream $answered:ident)?;)+) => {
        impl Code {
            $(
                #[doc = $summary]
                #[doc = concat!(
                    "\n\nHTTP ", $status, ", [`NextAction::", stringify!($action), "`], written `", $text, "`."
                )]
                pub const $name: Self = Self::from_static($text);
            )+
        }

        /// All codes this crate knows, in the order of their HTTP status.
        pub static REGISTRY: &[Entry] = &[
            $(
                Entry::new(Code::$name, $status, NextAction::$action, $summary)
                    .with_source(Source::$source)
                    .with_fixer(Fixer::$fixer)
                    .with_repeat(Repeat::$repeat)
                    .with_effect(Effect::$effect)
                    $(.with_aliases(&[$($alias),+]))?
                    $(.$answered())?,
            )+
        ];

        /// Where the code or alias stands in [`REGISTRY`]. A `match` beats a search: its lengths are in the program.
        fn position(text: &str) -> Option<usize> {
            let line = match text {
                $($text $($(| $alias)+)? => Line::$name,)+
                _ => return None,
            };
            #[expect(clippy::as_conversions, reason = "the discriminant of a fieldless enum")]
            Some(line as usize)
        }

        /// The lines of [`REGISTRY`], counted from 0.
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "named as the constants are")]
        #[derive(Clone, Copy)]
        enum Line {
            $($name,)+
        }
    };
}

registry! {
    VALIDATION_FAILED = "VALIDATION_FAILED", 400, FIX_REQUEST_AND_RETRY, Caller, Caller, Never, None,
        "The request does not have the shape or the values that are asked for; the message has specifics.";
    TTL_TOO_LONG = "TTL_TOO_LONG", 400, FIX_REQUEST_AND_RETRY, Policy, Caller, Never, None,
        "The requested time to live exceeds the plan's maximum.";
    UNSUPPORTED_FEATURE = "UNSUPPORTED_FEATURE", 400, FIX_REQUEST_AND_RETRY, Caller, Caller, Never, None,
        "This gateway does not offer the protocol or feature that was asked for.";
    UNSUPPORTED_VERSION = "UNSUPPORTED_VERSION", 400, UPGRADE_CLIENT, Caller, Human, Never, None,
        "The two sides have no protocol version in common.";
    PROTOCOL_ERROR = "PROTOCOL_ERROR", 400, UPGRADE_CLIENT, Caller, Human, Never, None,
        "The peer broke a rule of the protocol.";
    IDEMPOTENCY_KEY_INVALID = "IDEMPOTENCY_KEY_INVALID", 400, FIX_REQUEST_AND_RETRY, Caller, Caller, Never, None,
        "The Idempotency-Key is empty, too long, given twice, or holds a byte that is not allowed.";
    IDEMPOTENCY_KEY_REQUIRED = "IDEMPOTENCY_KEY_REQUIRED", 400, FIX_REQUEST_AND_RETRY, Caller, Caller, Never, None,
        "This endpoint asks for an Idempotency-Key.";

    MISSING_BEARER = "missing_bearer", 401, PROVIDE_CREDENTIALS, Caller, Caller, Never, None,
        "The request carries no credential.", aliases ["MISSING_BEARER"];
    AUTH_FAILED = "AUTH_FAILED", 401, REPLACE_CREDENTIALS, Caller, Human, Never, None,
        "The credential is wrong, expired or revoked.";

    BUDGET_EXCEEDED = "BUDGET_EXCEEDED", 402, REQUEST_HUMAN_APPROVAL, Policy, Human, Never, None,
        "The credential's spending cap is reached; only an owner can raise it.",
        aliases ["BudgetExceeded"];
    UPGRADE_REQUIRED = "upgrade_required", 402, UPGRADE_PLAN, Policy, Human, Never, None,
        "The account's plan does not include this.", aliases ["UPGRADE_REQUIRED"];

    FORBIDDEN = "FORBIDDEN", 403, REQUEST_HUMAN_APPROVAL, Policy, Human, Never, None,
        "The credential is good, but does not allow this.";
    ACCESS_DENIED = "ACCESS_DENIED", 403, NO_ACTION_POSSIBLE, Policy, TunnelOwner, Never, None,
        "The tunnel's traffic policy does not admit this visitor.";
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED", 403, FREE_QUOTA_AND_RETRY, Policy, Caller, Never, None,
        "The account or credential has as many of these as it may have.",
        aliases ["QuotaExceeded"];
    TARGET_FORBIDDEN = "TARGET_FORBIDDEN", 403, CONTACT_OWNER, Agent, TunnelOwner, Never, None,
        "The agent's owner does not allow this target.";
    CERTIFICATE_REFUSED = "CERTIFICATE_REFUSED", 403, REQUEST_HUMAN_APPROVAL, Policy, Human, Never, None,
        "The authority will not sign a certificate for this name or holder.";

    NOT_FOUND = "NOT_FOUND", 404, NO_ACTION_POSSIBLE, Caller, Nobody, Never, None,
        "There is nothing here, or nothing that the caller may know of.";
    AWAITING_CERT = "AWAITING_CERT", 404, SIGN_CSR, Agent, TunnelOwner, Never, None,
        "The passthrough tunnel has no certificate yet.";
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED", 405, FIX_REQUEST_AND_RETRY, Caller, Caller, Never, None,
        "The method is not allowed here; the Allow field lists those that are.";
    REQUEST_TIMEOUT = "REQUEST_TIMEOUT", 408, RETRY_WITH_BACKOFF, Caller, Caller, Backoff, None,
        "The request did not arrive whole in time.";

    SUBDOMAIN_TAKEN = "SUBDOMAIN_TAKEN", 409, CHOOSE_DIFFERENT_SUBDOMAIN, Caller, Caller, Never, None,
        "Someone has this subdomain, or had it until a moment ago.";
    SUBDOMAIN_RESERVED = "SUBDOMAIN_RESERVED", 409, CHOOSE_DIFFERENT_SUBDOMAIN, Policy, Caller, Never, None,
        "Nobody may have this subdomain.";
    NAME_TAKEN = "NAME_TAKEN", 409, CHOOSE_DIFFERENT_NAME, Caller, Caller, Never, None,
        "Someone has this name, or had it until a moment ago.";
    NAME_RESERVED = "NAME_RESERVED", 409, CHOOSE_DIFFERENT_NAME, Policy, Caller, Never, None,
        "Nobody may have this name.";
    PORT_UNAVAILABLE = "PORT_UNAVAILABLE", 409, CHOOSE_DIFFERENT_PORT, Caller, Caller, Never, None,
        "The public port is held by someone, or outside the range that is offered.",
        aliases ["PortUnavailable"];
    CONFLICT = "CONFLICT", 409, REFRESH_AND_RETRY, Caller, Caller, Never, None,
        "The state that the resource is in does not allow this.";
    SUPERSEDED = "SUPERSEDED", 409, NO_ACTION_POSSIBLE, Caller, Human, Never, None,
        "A newer registration of the same tunnel has taken over.";
    IDEMPOTENCY_CONFLICT = "IDEMPOTENCY_CONFLICT", 409, USE_NEW_IDEMPOTENCY_KEY, Caller, Caller, Never, None,
        "The Idempotency-Key was used before with another method, path or body.";
    IDEMPOTENCY_IN_FLIGHT = "IDEMPOTENCY_IN_FLIGHT", 409, RETRY_WITH_BACKOFF, Caller, Time, Backoff, None,
        "The first request with this Idempotency-Key is still being carried out.";
    TUNNEL_EXPIRED = "TUNNEL_EXPIRED", 410, REGISTER_AGAIN, Policy, Caller, Never, None,
        "The tunnel's time to live is over.";

    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE", 413, FIX_REQUEST_AND_RETRY, Caller, Caller, Never, None,
        "The body is larger than is taken here.";
    URI_TOO_LONG = "URI_TOO_LONG", 414, FIX_REQUEST_AND_RETRY, Caller, Caller, Never, None,
        "The request target is longer than is taken here.";
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE", 415, FIX_REQUEST_AND_RETRY, Caller, Caller, Never, None,
        "The body is of a kind that is not taken here.";
    EXPECTATION_FAILED = "EXPECTATION_FAILED", 417, FIX_REQUEST_AND_RETRY, Caller, Caller, Never, None,
        "The Expect field asks for something other than 100-continue.";
    MISDIRECTED = "MISDIRECTED", 421, USE_NEW_CONNECTION, Caller, Caller, Once, None,
        "The connection was made for another host than the request names.";
    RATE_LIMITED = "RATE_LIMITED", 429, RETRY_WITH_BACKOFF, Policy, Time, Backoff, None,
        "Too many requests in too short a time.",
        aliases ["rate_limited", "RATE_LIMIT", "rate_limit", "RATE_LIMIT_EXCEEDED", "TOO_MANY_REQUESTS"];
    CERTIFICATE_QUOTA = "CERTIFICATE_QUOTA", 429, RETRY_WITH_BACKOFF, Policy, Time, Backoff, None,
        "Too many certificates for this tunnel in too short a time.";
    IDEMPOTENCY_QUOTA = "IDEMPOTENCY_QUOTA", 429, RETRY_WITH_BACKOFF, Policy, Time, Backoff, None,
        "The caller has as many remembered Idempotency-Keys as it may have.";
    HEADERS_TOO_LARGE = "HEADERS_TOO_LARGE", 431, FIX_REQUEST_AND_RETRY, Caller, Caller, Never, None,
        "The request's header section is larger than is taken here.";

    INTERNAL = "internal", 500, RETRY_WITH_BACKOFF, Edge, Operator, Once, Possible,
        "Something failed on our side; if it fails again, report the request id.", aliases ["INTERNAL"];
    NOT_IMPLEMENTED = "NOT_IMPLEMENTED", 501, FIX_REQUEST_AND_RETRY, Caller, Caller, Never, None,
        "The request uses a transfer coding or method that is not implemented.";

    TUNNEL_OFFLINE = "TUNNEL_OFFLINE", 502, RETRY_WITH_BACKOFF, Agent, TunnelOwner, Backoff, None,
        "No agent is connected for this tunnel.";
    AGENT_DISCONNECTED = "AGENT_DISCONNECTED", 502, RETRY_WITH_BACKOFF, Agent, TunnelOwner, Backoff, Possible,
        "The agent went away while the request was under way.";
    UPSTREAM_UNREACHABLE = "UPSTREAM_UNREACHABLE", 502, RETRY_WITH_BACKOFF, Upstream, TunnelOwner, Backoff, None,
        "The agent cannot connect to the service behind it.";
    UPSTREAM_RESET = "UPSTREAM_RESET", 502, RETRY_WITH_BACKOFF, Upstream, TunnelOwner, Backoff, Possible,
        "The service behind the agent ended the connection before it answered.";
    UPSTREAM_INVALID_RESPONSE = "UPSTREAM_INVALID_RESPONSE", 502, CONTACT_OWNER, Upstream, TunnelOwner, Never,
        Possible, "The service behind the agent answered with something that cannot be passed on.",
        upstream with_upstream_answered;
    BAD_GATEWAY = "BAD_GATEWAY", 502, RETRY_WITH_BACKOFF, Edge, Operator, Backoff, Possible,
        "A server on the way got no good answer from the next one; no more is known.";

    TUNNEL_PAUSED = "TUNNEL_PAUSED", 503, CONTACT_OWNER, Policy, TunnelOwner, Never, None,
        "The tunnel's owner has paused it.";
    TUNNEL_WAKING = "TUNNEL_WAKING", 503, RETRY_WITH_BACKOFF, Agent, Time, Backoff, None,
        "The machine behind the tunnel was asleep and is being woken.";
    DRAINING = "DRAINING", 503, RECONNECT, Edge, Time, Backoff, None,
        "This gateway finishes what it has and takes nothing new.";
    OVERLOADED = "OVERLOADED", 503, RETRY_WITH_BACKOFF, Edge, Time, Backoff, None,
        "This gateway or agent has as much work as it can hold.";
    CERTIFICATE_UNAVAILABLE = "CERTIFICATE_UNAVAILABLE", 503, RETRY_WITH_BACKOFF, Edge, Time, Backoff, None,
        "The authority that signs certificates cannot be reached just now.";
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE", 503, RETRY_WITH_BACKOFF, Edge, Operator, Backoff, Possible,
        "A server on the way cannot do its part just now; no more is known.";

    AGENT_TIMEOUT = "AGENT_TIMEOUT", 504, RETRY_WITH_BACKOFF, Agent, TunnelOwner, Backoff, None,
        "The agent did not take the stream in time.";
    UPSTREAM_TIMEOUT = "UPSTREAM_TIMEOUT", 504, RETRY_WITH_BACKOFF, Upstream, TunnelOwner, Backoff, Possible,
        "The service behind the agent did not answer in time.";
    GATEWAY_TIMEOUT = "GATEWAY_TIMEOUT", 504, RETRY_WITH_BACKOFF, Edge, Operator, Backoff, Possible,
        "A server on the way waited for the next one in vain; no more is known.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_used_once() {
        let aliases = REGISTRY.iter().flat_map(|entry| entry.aliases.iter().copied());
        let mut names: Vec<&str> = REGISTRY.iter().map(|entry| entry.code.as_str()).chain(aliases).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn every_spelling_is_found() {
        for entry in REGISTRY {
            for spelling in entry.aliases.iter().copied().chain([entry.code.as_str()]) {
                assert_eq!(Entry::find(spelling).unwrap().code(), entry.code());
            }
        }
        assert_eq!(Entry::for_status(429).code(), &Code::RATE_LIMITED);
        assert!((0..1000).all(|status| Code::for_status(status).entry().is_some()));
    }

    #[test]
    fn the_table_is_ordered_by_status_and_its_actions_are_known() {
        assert!(REGISTRY.is_sorted_by_key(Entry::status));
        assert!(REGISTRY.iter().all(|entry| entry.next_action().is_known()));
    }

    #[test]
    fn what_may_be_repeated_asks_for_it() {
        for entry in REGISTRY {
            assert_eq!(entry.repeat() != Repeat::Never, entry.next_action().repeats(), "{}", entry.code());
        }
    }

    #[test]
    fn codes_of_the_seeds_ask_what_the_seeds_say() {
        let seeds = [
            ("SUBDOMAIN_TAKEN", "CHOOSE_DIFFERENT_SUBDOMAIN"),
            ("TTL_TOO_LONG", "FIX_REQUEST_AND_RETRY"),
            ("VALIDATION_FAILED", "FIX_REQUEST_AND_RETRY"),
            ("NOT_FOUND", "NO_ACTION_POSSIBLE"),
            ("RATE_LIMITED", "RETRY_WITH_BACKOFF"),
            ("internal", "RETRY_WITH_BACKOFF"),
        ];
        for (code, action) in seeds {
            assert_eq!(Entry::find(code).unwrap().next_action().as_str(), action);
        }
    }
}
