use std::borrow::Cow;

use crate::code::Code;
use crate::envelope::Envelope;
use crate::problem::Problem;
use crate::proxy_status;

/// A representation of an envelope in HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// The envelope, `application/json`: the default.
    #[default]
    Json,
    /// `application/problem+json` (RFC 9457): the same facts and more, for those who ask for it.
    Problem,
    /// `text/plain`: for a visitor who came with a browser. There is no HTML, so nothing can be injected into it.
    Plain,
}

impl Format {
    /// What an API answers to this `Accept` field: [`Json`](Self::Json), or [`Problem`](Self::Problem) where that is
    /// named and liked no less.
    #[must_use]
    pub fn for_api(accept: &[u8]) -> Self {
        let wishes = Wishes::read(accept);
        if wishes.problem > 0 && wishes.problem >= wishes.json { Self::Problem } else { Self::Json }
    }

    /// What a tunnel's visitor is answered: as [`for_api`](Self::for_api), or [`Plain`](Self::Plain) where text or
    /// HTML is named and liked better than any JSON that is named.
    #[must_use]
    pub fn for_visitor(accept: &[u8]) -> Self {
        let wishes = Wishes::read(accept);
        if wishes.text > wishes.json.max(wishes.problem) { Self::Plain } else { Self::for_api(accept) }
    }

    /// The value of `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Problem => "application/problem+json",
            Self::Plain => "text/plain; charset=utf-8",
        }
    }
}

/// How an envelope is shown in HTTP: its format, the proxy's name, the base of problem types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Style {
    format: Format,
    proxy_name: Cow<'static, str>,
    problem_base: Option<Cow<'static, str>>,
}

impl Style {
    /// [`Format::Json`], by a proxy named `adit`, with problems of type `about:blank`.
    #[must_use]
    pub const fn new() -> Self {
        Self { format: Format::Json, proxy_name: Cow::Borrowed("adit"), problem_base: None }
    }

    /// Sets the format; [`Format::Json`] by default.
    #[must_use]
    pub const fn with_format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Sets the gateway's name in `Proxy-Status`; `adit` by default.
    ///
    /// # Errors
    /// [`StyleError::ProxyName`] unless it is a token of RFC 9651 §3.3.4 of at most 64 bytes, such as `edge-7.example`.
    pub fn with_proxy_name(mut self, name: impl Into<Cow<'static, str>>) -> Result<Self, StyleError> {
        let name = name.into();
        if !is_token(&name) {
            return Err(StyleError::ProxyName {});
        }
        self.proxy_name = name;
        Ok(self)
    }

    /// Sets what stands before the code in a problem's `type`, such as `https://docs.example/errors#`; without it,
    /// the type is `about:blank`.
    ///
    /// # Errors
    /// [`StyleError::ProblemBase`] unless it is 1 to 256 printable ASCII bytes without space, quotes or angle brackets.
    pub fn with_problem_base(mut self, base: impl Into<Cow<'static, str>>) -> Result<Self, StyleError> {
        let base = base.into();
        if !(1..=256).contains(&base.len()) || !base.bytes().all(is_uri_byte) {
            return Err(StyleError::ProblemBase {});
        }
        self.problem_base = Some(base);
        Ok(self)
    }

    /// The format.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }
}

impl Default for Style {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a style is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StyleError {
    /// The name could not stand in `Proxy-Status`.
    #[error("a proxy's name is a token of at most 64 bytes")]
    ProxyName {},
    /// The base could not stand in front of a code in a URI.
    #[error("the base of problem types is 1 to 256 bytes that may stand in a URI")]
    ProblemBase {},
}

impl Envelope {
    /// The body in this style.
    #[must_use]
    pub fn to_body(&self, style: &Style) -> Vec<u8> {
        match style.format {
            Format::Json => self.to_json(),
            Format::Problem => Problem::new(self, style.problem_base.as_deref()).to_json(),
            Format::Plain => self.to_plain(),
        }
    }

    /// The header fields that go with the body, in lower case, ready to send:
    ///
    /// `content-type`, `x-content-type-options: nosniff`, `cache-control: no-store`, `x-request-id`, `proxy-status`;
    /// `retry-after` in whole seconds, rounded up, exactly where there is a hint; `www-authenticate` with status 401,
    /// which must have one (RFC 9110 §15.5.2). Status 405 needs an `allow` field too, which only the router knows.
    #[must_use]
    pub fn fields(&self, style: &Style) -> Vec<(&'static str, String)> {
        let mut fields = vec![
            ("content-type", style.format.content_type().to_owned()),
            ("x-content-type-options", "nosniff".to_owned()),
            ("cache-control", "no-store".to_owned()),
            ("x-request-id", self.request_id().as_str().to_owned()),
            ("proxy-status", proxy_status::write(&style.proxy_name, self.refusal())),
        ];
        if let Some(after) = self.retry_after() {
            fields.push(("retry-after", after.as_secs_rounded_up().to_string()));
        }
        if self.status() == 401 {
            fields.push(("www-authenticate", self.challenge().to_owned()));
        }
        fields
    }

    fn to_plain(&self) -> Vec<u8> {
        format!("{}\n\n{} (request {})\n", self.message(), self.code(), self.request_id()).into_bytes()
    }

    /// RFC 6750 §3: a request without a credential is told the scheme and nothing else.
    fn challenge(&self) -> &'static str {
        if self.code() == &Code::MISSING_BEARER { "Bearer" } else { "Bearer error=\"invalid_token\"" }
    }
}

/// How much each kind of answer is liked, in thousandths; 0 where it is not named.
#[derive(Default)]
struct Wishes {
    json: u16,
    problem: u16,
    text: u16,
}

impl Wishes {
    /// Reads the ranges of an `Accept` field (RFC 9110 §12.5.1); a field that is too long counts as none.
    fn read(accept: &[u8]) -> Self {
        let mut wishes = Self::default();
        let text = std::str::from_utf8(accept).ok().filter(|text| text.len() <= MAX_ACCEPT_BYTES);
        for range in text.unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default();
            let quality = parts.find_map(quality).unwrap_or(1000);
            let kind = match media_type.to_ascii_lowercase().as_str() {
                "application/json" => &mut wishes.json,
                "application/problem+json" => &mut wishes.problem,
                "text/plain" | "text/html" | "text/*" => &mut wishes.text,
                _ => continue,
            };
            *kind = (*kind).max(quality);
        }
        wishes
    }
}

/// A weight in thousandths (RFC 9110 §12.4.2); one that is malformed counts as 0.
fn quality(parameter: &str) -> Option<u16> {
    let value = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="))?;
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(0);
    }
    let thousandths: u16 = format!("{decimals:0<3}").parse().unwrap_or(0);
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => Some(0),
    }
}

/// `sf-token` of RFC 9651 §3.3.4.
fn is_token(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte);
    let starts = name.bytes().next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'*');
    starts && name.len() <= 64 && name.bytes().all(inner)
}

const fn is_uri_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
}

/// Longer than any browser's; what is longer still is no wish but an attempt to keep us busy.
const MAX_ACCEPT_BYTES: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Refusal;
    use crate::registry::REGISTRY;
    use crate::request_id::RequestId;
    use crate::retry_after::RetryAfter;

    #[test]
    fn problems_come_on_request_only() {
        let cases = [
            ("", Format::Json),
            ("*/*", Format::Json),
            ("application/json", Format::Json),
            ("application/*", Format::Json),
            ("application/problem+json", Format::Problem),
            ("Application/Problem+JSON ; q=0.5, */*", Format::Problem),
            ("application/problem+json, application/json", Format::Problem),
            ("application/problem+json;q=0.4, application/json;q=0.5", Format::Json),
            ("application/problem+json;q=0", Format::Json),
            ("application/problem+json;q=2", Format::Json),
            ("text/html", Format::Json),
        ];
        for (accept, expected) in cases {
            assert_eq!(Format::for_api(accept.as_bytes()), expected, "{accept}");
        }
        assert_eq!(Format::for_api(&vec![b','; 1 << 20]), Format::Json);
        assert_eq!(Format::for_api(b"\xff"), Format::Json);
    }

    #[test]
    fn browsers_get_plain_text() {
        let firefox = b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        assert_eq!(Format::for_visitor(firefox), Format::Plain);
        assert_eq!(Format::for_visitor(b"*/*"), Format::Json);
        assert_eq!(Format::for_visitor(b"application/json, text/plain, */*"), Format::Json);
        assert_eq!(Format::for_visitor(b"application/problem+json"), Format::Problem);
    }

    #[test]
    fn x12_every_answer_is_json_not_sniffed_not_stored_and_no_html() {
        for entry in REGISTRY {
            let envelope =
                Refusal::new(entry.code().clone(), "<b>&").with_request_id(RequestId::from_random(1));
            let fields = envelope.fields(&Style::new());
            let value = |name| fields.iter().find(|field| field.0 == name).map(|field| field.1.as_str());
            assert_eq!(value("content-type"), Some("application/json"));
            assert_eq!(value("x-content-type-options"), Some("nosniff"));
            assert_eq!(value("cache-control"), Some("no-store"));
            assert_eq!(value("x-request-id"), Some(envelope.request_id().as_str()));
            assert_eq!(value("retry-after").is_some(), envelope.retry_after().is_some());
            assert_eq!(value("www-authenticate").is_some(), entry.status() == 401);
        }
        for format in [Format::Json, Format::Problem, Format::Plain] {
            assert!(!format.content_type().contains("html"));
        }
    }

    #[test]
    fn the_two_hints_agree() {
        let after = RetryAfter::from_millis(1001);
        let refusal = Refusal::from(Code::OVERLOADED).with_retry_after(after);
        let envelope = refusal.with_request_id(RequestId::from_random(1));
        let fields = envelope.fields(&Style::new());
        assert!(fields.contains(&("retry-after", "2".to_owned())));
    }

    #[test]
    fn styles_are_checked() {
        let style = Style::new();
        assert!(style.clone().with_proxy_name("edge-7.example").is_ok());
        for bad in ["", "7", "a b", "a\r\nb", "ä", "a;b", &"a".repeat(65)] {
            assert_eq!(style.clone().with_proxy_name(bad.to_owned()), Err(StyleError::ProxyName {}));
        }
        for bad in ["", "a b", "\"", &"a".repeat(257)] {
            assert_eq!(style.clone().with_problem_base(bad.to_owned()), Err(StyleError::ProblemBase {}));
        }
    }
}
