use std::fmt;

use serde::ser::SerializeStruct;

use crate::action::NextAction;
use crate::code::Code;
use crate::refusal::Refusal;
use crate::request_id::RequestId;
use crate::retry_after::RetryAfter;
use crate::source::{Effect, Fixer, Repeat, Source};

/// A refusal of one request: what the caller gets to see.
///
/// Its JSON has these fields, in this order, and no other; the last one only where there is a hint, so always with
/// status 429 and 500:
///
/// ```
/// use adit_errors::{Code, Refusal, RequestId};
///
/// let id = RequestId::parse("9a3f-11").unwrap();
/// let envelope = Refusal::new(Code::RATE_LIMITED, "slow down").with_request_id(id);
/// assert_eq!(
///     String::from_utf8(envelope.to_json()).unwrap(),
///     concat!(
///         r#"{"error":"RATE_LIMITED","message":"slow down","next_action":"RETRY_WITH_BACKOFF","#,
///         r#""request_id":"9a3f-11","retry_after_ms":1000}"#
///     )
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    refusal: Refusal,
    request_id: RequestId,
}

impl Envelope {
    /// The refusal of the request with this id. With status 429 or 500 and no hint, which a peer's refusal may lack, it
    /// gets a hint of one second: callers are promised one.
    #[must_use]
    pub const fn new(refusal: Refusal, request_id: RequestId) -> Self {
        let promised = matches!(refusal.status(), 429 | 500) && refusal.retry_after().is_none();
        let refusal = if promised { refusal.with_hint(RetryAfter::from_secs(1)) } else { refusal };
        Self { refusal, request_id }
    }

    /// The JSON body, `application/json`: at most 8 KiB, whatever stands in the message.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Strings and a number into memory: there is nothing in it that could fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What was refused and why, without the request's id.
    #[must_use]
    pub const fn refusal(&self) -> &Refusal {
        &self.refusal
    }

    /// Takes both parts out.
    #[must_use]
    pub fn into_parts(self) -> (Refusal, RequestId) {
        (self.refusal, self.request_id)
    }

    /// The name of the request, as in its `X-Request-Id` field.
    #[must_use]
    pub const fn request_id(&self) -> &RequestId {
        &self.request_id
    }

    /// See [`Refusal::code`].
    #[must_use]
    pub const fn code(&self) -> &Code {
        self.refusal.code()
    }

    /// See [`Refusal::next_action`].
    #[must_use]
    pub const fn next_action(&self) -> &NextAction {
        self.refusal.next_action()
    }

    /// See [`Refusal::message`].
    #[must_use]
    pub fn message(&self) -> &str {
        self.refusal.message()
    }

    /// See [`Refusal::retry_after`].
    #[must_use]
    pub const fn retry_after(&self) -> Option<RetryAfter> {
        self.refusal.retry_after()
    }

    /// See [`Refusal::status`].
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.refusal.status()
    }

    /// See [`Refusal::source`].
    #[must_use]
    pub const fn source(&self) -> Source {
        self.refusal.source()
    }

    /// See [`Refusal::upstream_answered`].
    #[must_use]
    pub const fn upstream_answered(&self) -> bool {
        self.refusal.upstream_answered()
    }

    /// See [`Refusal::fixer`].
    #[must_use]
    pub fn fixer(&self) -> Fixer {
        self.refusal.fixer()
    }

    /// See [`Refusal::repeat`].
    #[must_use]
    pub fn repeat(&self) -> Repeat {
        self.refusal.repeat()
    }

    /// See [`Refusal::effect`].
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.refusal.effect()
    }
}

impl fmt::Display for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (request {})", self.refusal, self.request_id)
    }
}

impl std::error::Error for Envelope {}

impl serde::Serialize for Envelope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hint = self.retry_after();
        let mut fields = serializer.serialize_struct("Envelope", if hint.is_some() { 5 } else { 4 })?;
        fields.serialize_field("error", self.code())?;
        fields.serialize_field("message", self.message())?;
        fields.serialize_field("next_action", self.next_action())?;
        fields.serialize_field("request_id", self.request_id())?;
        match hint {
            Some(hint) => fields.serialize_field("retry_after_ms", &hint)?,
            None => fields.skip_field("retry_after_ms")?,
        }
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x03_quotes_newlines_and_a_megabyte_are_still_short_valid_json() {
        for hostile in ["\"},{\"error\":\"", "a\nb\r\nc", "\\\"\u{1}", "<script>", "'; --"] {
            for message in [hostile.to_owned(), hostile.repeat(1 << 17)] {
                let envelope = Refusal::new(Code::VALIDATION_FAILED, message).with_request_id(id());
                let json = envelope.to_json();
                assert!(json.len() < 8192);
                let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
                assert_eq!(value["error"], "VALIDATION_FAILED");
                assert_eq!(value["message"], envelope.message());
                assert!(envelope.message().len() <= 1024);
            }
        }
    }

    #[test]
    fn x01_a_peers_refusal_gets_the_promised_hint() {
        for status in [429, 500] {
            let refusal = crate::Reply::parse(status, br#"{"error":"odd","message":"m"}"#).into_refusal();
            assert_eq!(refusal.retry_after(), None);
            assert_eq!(refusal.with_request_id(id()).retry_after(), Some(RetryAfter::from_secs(1)));
        }
        let refusal = crate::Reply::parse(503, b"").into_refusal();
        assert_eq!(refusal.with_request_id(id()).retry_after(), None);
    }

    #[test]
    fn it_fits_into_a_result() {
        assert!(size_of::<Envelope>() <= 112);
    }

    fn id() -> RequestId {
        RequestId::from_random(1)
    }
}
