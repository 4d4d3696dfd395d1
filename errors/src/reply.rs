use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use crate::action::NextAction;
use crate::refusal::{Received, Refusal};
use crate::request_id::RequestId;
use crate::retry_after::RetryAfter;
use crate::source::Source;

/// A refusal as a client received it, whatever shape it came in.
///
/// There is always an answer: from the structured envelope, from the seeds' legacy shape without `next_action`, from
/// `application/problem+json`, and by the HTTP status when the body says nothing (a proxy's HTML page, nothing at all,
/// half of something). What is unknown survives; what is unusable is ignored:
///
/// ```
/// use adit_errors::{Code, NextAction, Reply, Shape};
///
/// let reply = Reply::parse(401, br#"{"error":"missing_bearer","message":"no token"}"#);
/// assert_eq!(reply.shape(), Shape::Legacy);
/// assert_eq!(reply.refusal().code(), &Code::MISSING_BEARER);
/// assert_eq!(reply.refusal().next_action(), &NextAction::PROVIDE_CREDENTIALS);
///
/// let reply = Reply::parse(502, b"<html>Bad gateway</html>");
/// assert_eq!(reply.shape(), Shape::Status);
/// assert_eq!(reply.refusal().next_action(), &NextAction::RETRY_WITH_BACKOFF);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    refusal: Refusal,
    request_id: Option<RequestId>,
    status: u16,
    shape: Shape,
}

/// In which shape a refusal came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Shape {
    /// The envelope, with a `next_action`.
    Structured,
    /// `error` and `message`, without `next_action`.
    Legacy,
    /// `application/problem+json` (RFC 9457).
    Problem,
    /// Nothing usable: all that is known comes from the HTTP status.
    Status,
}

/// The longest body that is looked at, in bytes; a longer one counts as none, for no envelope is that long.
pub const MAX_REPLY_BYTES: usize = 64 * 1024;

impl Reply {
    /// Reads the body of an answer with this HTTP status, which ought to be 400 to 599.
    ///
    /// The body is looked at whatever its media type, up to [`MAX_REPLY_BYTES`]. Nothing of a body that is no envelope
    /// gets into the result.
    #[must_use]
    pub fn parse(status: u16, body: &[u8]) -> Self {
        match Fields::read(body) {
            Some(fields) => fields.into_reply(status),
            None => Self::by_status(status),
        }
    }

    /// Takes the id from an `X-Request-Id` field, unless the body had one; a bad id is ignored.
    #[must_use]
    pub fn with_request_id_field(mut self, value: &[u8]) -> Self {
        if self.request_id.is_none() {
            let text = std::str::from_utf8(value).ok();
            self.request_id = text.and_then(|text| RequestId::parse(text.trim()).ok());
        }
        self
    }

    /// Takes the hint from a `Retry-After` field, unless the body had one.
    ///
    /// Only seconds are understood: a date needs a clock, and without a hint the backoff decides.
    #[must_use]
    pub fn with_retry_after_field(mut self, value: &[u8]) -> Self {
        let seconds = std::str::from_utf8(value).ok().and_then(seconds);
        if let (None, Some(seconds)) = (self.refusal.retry_after(), seconds) {
            self.refusal = self.refusal.with_retry_after(RetryAfter::from_secs(seconds));
        }
        self
    }

    /// Takes the source, and whether the upstream answered, from a `Proxy-Status` field as our gateways write it.
    #[must_use]
    pub fn with_proxy_status_field(mut self, value: &[u8]) -> Self {
        let (source, answered) = crate::proxy_status::read(value);
        if let Some(source) = source {
            self.refusal = self.refusal.with_source(source);
        }
        if let Some(answered) = answered {
            self.refusal = self.refusal.with_upstream_answered(answered);
        }
        self
    }

    /// What was refused and why.
    #[must_use]
    pub const fn refusal(&self) -> &Refusal {
        &self.refusal
    }

    /// Takes the refusal out.
    #[must_use]
    pub fn into_refusal(self) -> Refusal {
        self.refusal
    }

    /// The request's id, if body or field had a good one.
    #[must_use]
    pub const fn request_id(&self) -> Option<&RequestId> {
        self.request_id.as_ref()
    }

    /// The HTTP status it came with, which may differ from the registry's.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The shape it came in.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    fn by_status(status: u16) -> Self {
        let refusal = Refusal::received(status, Received::by_status(status), None, None, None);
        Self { refusal, request_id: None, status, shape: Shape::Status }
    }
}

/// The members of a JSON body that mean something here; all others are skipped without being kept.
#[derive(Default)]
struct Fields<'a> {
    error: Scalar<'a>,
    message: Scalar<'a>,
    next_action: Scalar<'a>,
    request_id: Scalar<'a>,
    retry_after_ms: Scalar<'a>,
    title: Scalar<'a>,
    detail: Scalar<'a>,
    source: Scalar<'a>,
    upstream_answered: Scalar<'a>,
}

impl<'a> Fields<'a> {
    /// `None` if the body is no JSON object, is too long, or names a member of these twice.
    fn read(body: &'a [u8]) -> Option<Self> {
        if body.len() > MAX_REPLY_BYTES {
            return None;
        }
        let mut fields = Self::default();
        let mut reader = serde_json::Deserializer::from_str(std::str::from_utf8(body).ok()?);
        reader.deserialize_map(FieldsVisitor(&mut fields)).ok()?;
        reader.end().ok()?;
        Some(fields)
    }

    fn member(&mut self, name: &str) -> Option<&mut Scalar<'a>> {
        match name {
            "error" => Some(&mut self.error),
            "message" => Some(&mut self.message),
            "next_action" => Some(&mut self.next_action),
            "request_id" => Some(&mut self.request_id),
            "retry_after_ms" => Some(&mut self.retry_after_ms),
            "title" => Some(&mut self.title),
            "detail" => Some(&mut self.detail),
            "source" => Some(&mut self.source),
            "upstream_answered" => Some(&mut self.upstream_answered),
            _ => None,
        }
    }

    fn into_reply(self, status: u16) -> Reply {
        let Some(shape) = self.shape() else { return Reply::by_status(status) };
        let code = self.error.text().and_then(Received::parse);
        let code = code.unwrap_or_else(|| Received::by_status(status));
        let next_action = self.next_action.text().map(action_of);
        let hint = self.retry_after_ms.wait();
        let mut refusal = Refusal::received(status, code, next_action, self.message(), hint);
        if let Some(source) = self.source.text().and_then(Source::parse) {
            refusal = refusal.with_source(source);
        }
        if let Scalar::Flag(answered) = self.upstream_answered {
            refusal = refusal.with_upstream_answered(answered);
        }
        let request_id = self.request_id.text().and_then(|text| RequestId::parse(text).ok());
        Reply { refusal, request_id, status, shape }
    }

    fn shape(&self) -> Option<Shape> {
        let texts = (self.title.text(), self.detail.text(), self.message.text());
        let is_problem = matches!(texts, (Some(_), ..) | (_, Some(_), None));
        match (self.error.text(), self.next_action.text(), self.message.text()) {
            _ if is_problem => Some(Shape::Problem),
            (_, Some(_), _) => Some(Shape::Structured),
            (Some(_), None, _) | (None, None, Some(_)) => Some(Shape::Legacy),
            (None, None, None) => None,
        }
    }

    fn message(&self) -> Option<&str> {
        self.message.text().or_else(|| self.detail.text()).or_else(|| self.title.text())
    }
}

/// Fills the fields in place: they are too large to be handed around.
struct FieldsVisitor<'f, 'a>(&'f mut Fields<'a>);

impl<'de> Visitor<'de> for FieldsVisitor<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(member) = members.next_key_seed(MemberName(&mut *self.0))? {
            match member {
                Some(scalar @ Scalar::Absent) => *scalar = members.next_value()?,
                Some(_) => return Err(A::Error::custom("a member is named twice")),
                None => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Reads a member's name and gives the place for its value, if it has one.
struct MemberName<'f, 'a>(&'f mut Fields<'a>);

impl<'de, 'f, 'a> DeserializeSeed<'de> for MemberName<'f, 'a> {
    type Value = Option<&'f mut Scalar<'a>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<'f, 'a> Visitor<'_> for MemberName<'f, 'a> {
    type Value = Option<&'f mut Scalar<'a>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.member(name))
    }
}

/// A member of any type, of which only texts, numbers and truth values are kept.
#[derive(Default)]
enum Scalar<'a> {
    #[default]
    Absent,
    Other,
    Text(Cow<'a, str>),
    Wait(RetryAfter),
    Flag(bool),
}

impl Scalar<'_> {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Absent | Self::Other | Self::Wait(_) | Self::Flag(_) => None,
        }
    }

    const fn wait(&self) -> Option<RetryAfter> {
        match self {
            Self::Wait(wait) => Some(*wait),
            Self::Absent | Self::Other | Self::Text(_) | Self::Flag(_) => None,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Wait(RetryAfter::from_millis(number)))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Other)
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        // JSON has no NaN; what is negative fails here, and what is capped cannot overflow.
        let wait = Duration::try_from_secs_f64(number.min(f64::from(RetryAfter::MAX.as_millis())) / 1000.0);
        Ok(wait.map_or(Scalar::Other, |wait| Scalar::Wait(RetryAfter::from_duration(wait))))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Flag(flag))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}

/// An action that nobody could have meant, such as prose, is one that nothing can be done about.
fn action_of(text: &str) -> NextAction {
    NextAction::parse(text).unwrap_or(NextAction::NO_ACTION_POSSIBLE)
}

/// `delay-seconds` of RFC 9110 §10.2.3: digits and nothing else; too many of them count as very long.
fn seconds(text: &str) -> Option<u64> {
    let digits = text.trim();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Code;
    use crate::registry::REGISTRY;
    use proptest::prelude::*;

    #[test]
    fn x01_every_code_round_trips() {
        for entry in REGISTRY {
            let envelope = Refusal::from(entry.code().clone()).with_request_id(RequestId::from_random(3));
            let reply = Reply::parse(entry.status(), &envelope.to_json());
            assert_eq!(reply.shape(), Shape::Structured);
            assert_eq!(reply.request_id(), Some(envelope.request_id()));
            assert_eq!(reply.refusal(), envelope.refusal());
        }
    }

    #[test]
    fn x04_no_next_action_is_the_legacy_shape() {
        let reply = Reply::parse(402, br#"{"error":"upgrade_required","message":"pro only"}"#);
        assert_eq!(reply.shape(), Shape::Legacy);
        assert_eq!(reply.refusal().code(), &Code::UPGRADE_REQUIRED);
        assert_eq!(reply.refusal().next_action(), &NextAction::UPGRADE_PLAN);
        assert_eq!(reply.refusal().message(), "pro only");
        assert_eq!(reply.request_id(), None);
    }

    #[test]
    fn x04_an_unknown_code_goes_by_status() {
        let reply = Reply::parse(429, br#"{"error":"too_fast","message":"m"}"#);
        assert_eq!(reply.refusal().code().as_str(), "too_fast");
        assert_eq!(reply.refusal().status(), 429);
        assert_eq!(reply.refusal().next_action(), &NextAction::RETRY_WITH_BACKOFF);
        let reply = Reply::parse(422, br#"{"error":"odd_shape","message":"m"}"#);
        assert_eq!(reply.refusal().next_action(), &NextAction::FIX_REQUEST_AND_RETRY);
    }

    #[test]
    fn x04_an_unknown_action_means_stop() {
        let body = br#"{"error":"NOT_FOUND","message":"m","next_action":"PRAY","request_id":"r"}"#;
        let reply = Reply::parse(404, body);
        assert_eq!(reply.refusal().next_action().as_str(), "PRAY");
        assert_eq!(reply.refusal().next_action().effective(), NextAction::NO_ACTION_POSSIBLE);
        let reply = Reply::parse(404, br#"{"error":"X","message":"m","next_action":"do a dance"}"#);
        assert_eq!(reply.refusal().next_action(), &NextAction::NO_ACTION_POSSIBLE);
    }

    #[test]
    fn x04_extra_and_odd_fields_are_ignored() {
        let body =
            br#" {"a":[[{}],null],"error":"TTL_TOO_LONG","message":7,"next_action":"FIX_REQUEST_AND_RETRY",
            "request_id":"a b","retry_after_ms":"soon","b":{"c":1e400000}}"#;
        let reply = Reply::parse(400, body);
        assert_eq!(reply.shape(), Shape::Structured);
        assert_eq!(reply.refusal().code(), &Code::TTL_TOO_LONG);
        assert_eq!(reply.request_id(), None);
        assert_eq!(reply.refusal().retry_after(), None);
    }

    #[test]
    fn x09_received_hints_are_brought_into_range() {
        let wait = |text: &str| {
            let body = format!(r#"{{"error":"internal","message":"m","retry_after_ms":{text}}}"#);
            Reply::parse(500, body.as_bytes()).refusal().retry_after().map(RetryAfter::as_millis)
        };
        let cases = [
            ("1", Some(1)),
            ("0", Some(1)),
            ("86400001", Some(86_400_000)),
            ("18446744073709551615", Some(86_400_000)),
            ("18446744073709551616", Some(86_400_000)),
            ("1e300", Some(86_400_000)),
            ("1.5", Some(2)),
            ("-1", None),
            ("-1e300", None),
            ("null", None),
            ("\"5\"", None),
            ("true", None),
        ];
        for (text, expected) in cases {
            assert_eq!(wait(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_envelope_goes_by_status_and_leaves_nothing() {
        let twice = br#"{"error":"NOT_FOUND","error":"internal"}"#;
        let long = format!(r#"{{"error":"NOT_FOUND","message":"{}"}}"#, "x".repeat(MAX_REPLY_BYTES));
        let bodies: [&[u8]; 10] = [
            b"",
            b"<html>canary</html>",
            b"{",
            b"null",
            b"[\"NOT_FOUND\",\"m\"]",
            b"\"canary\"",
            b"{\"error\":{}}",
            twice,
            long.as_bytes(),
            b"\xff\xfe",
        ];
        for body in bodies {
            let reply = Reply::parse(404, body);
            assert_eq!((reply.shape(), reply.refusal().code()), (Shape::Status, &Code::NOT_FOUND));
            assert!(!format!("{reply:?}").contains("canary"));
        }
        let deep = [b"{\"a\":".as_slice(), &b"[".repeat(10_000)].concat();
        assert_eq!(Reply::parse(404, &deep).shape(), Shape::Status);
    }

    #[test]
    fn an_envelope_with_details_is_still_an_envelope() {
        let body = br#"{"error":"NOT_FOUND","message":"m","next_action":"NO_ACTION_POSSIBLE","detail":"d"}"#;
        let reply = Reply::parse(404, body);
        assert_eq!((reply.shape(), reply.refusal().message()), (Shape::Structured, "m"));
    }

    #[test]
    fn problems_are_read() {
        let foreign =
            br#"{"type":"about:blank","title":"Too Many Requests","status":429,"detail":"calm down"}"#;
        let reply = Reply::parse(429, foreign);
        assert_eq!(reply.shape(), Shape::Problem);
        assert_eq!(reply.refusal().code(), &Code::RATE_LIMITED);
        assert_eq!(reply.refusal().message(), "calm down");
    }

    #[test]
    fn fields_fill_the_gaps_only() {
        let reply = Reply::parse(503, b"").with_retry_after_field(b" 120 ").with_request_id_field(b"r-1");
        assert_eq!(reply.refusal().retry_after(), Some(RetryAfter::from_secs(120)));
        assert_eq!(reply.request_id().map(RequestId::as_str), Some("r-1"));
        let reply = reply.with_retry_after_field(b"1").with_request_id_field(b"r-2");
        assert_eq!(reply.refusal().retry_after(), Some(RetryAfter::from_secs(120)));
        assert_eq!(reply.request_id().map(RequestId::as_str), Some("r-1"));
        for odd in ["", "-1", "1.5", "Wed, 21 Oct 2015 07:28:00 GMT", "99999999999999999999x"] {
            assert_eq!(
                Reply::parse(503, b"").with_retry_after_field(odd.as_bytes()).refusal().retry_after(),
                None
            );
        }
        let far = Reply::parse(503, b"").with_retry_after_field(b"99999999999999999999999");
        assert_eq!(far.refusal().retry_after(), Some(RetryAfter::MAX));
        let reply = Reply::parse(502, b"").with_proxy_status_field(b"adit; error=x; adit-source=agent");
        assert_eq!(reply.refusal().source(), Source::Agent);
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(status in any::<u16>(), body in any::<Vec<u8>>()) {
            let reply = Reply::parse(status, &body);
            prop_assert!(reply.refusal().message().len() <= 1024);
            prop_assert_eq!(reply.status(), status);
        }
    }
}
