//! The first question to a request: can all who read it agree where it goes and where it ends?

use adit_errors::{Code, Refusal};
use adit_naming::{Host, HostError, HostSource};
use http::header::{self, HeaderMap};
use http::{Method, Request, Uri, Version};

use super::framing::{self, Framing};

/// Admits requests of which there can be no two readings.
///
/// Servers behind a gateway differ in what they make of a doubled Host, of a Content-Length beside a coding, of a target
/// with an authority of its own; each difference has been an attack. What is in doubt is refused here, before a tunnel
/// is looked up, and nothing of it is forwarded. The path is not looked at: whatever bytes it has go on as they came.
///
/// The checks, in this order: size of the target and of the head, method, framing, host, form of the target, agreement
/// of host and TLS, expectation. An HTTP library stands before the gate and has checked the syntax of the fields.
#[derive(Clone, Debug)]
pub struct RequestGate {
    max_target_bytes: usize,
    max_head_bytes: usize,
    max_fields: usize,
    allows_extended_connect: bool,
}

impl RequestGate {
    /// The limits of `cases`: target 16 KiB, head 64 KiB, 100 fields.
    #[must_use]
    pub fn new() -> Self {
        Self {
            max_target_bytes: 16 * 1024,
            max_head_bytes: 64 * 1024,
            max_fields: 100,
            allows_extended_connect: false,
        }
    }

    /// The longest target in bytes; 16 KiB unless set. What is longer is answered 414.
    #[must_use]
    pub fn max_target_bytes(self, max_target_bytes: usize) -> Self {
        Self { max_target_bytes, ..self }
    }

    /// The largest head in bytes, counted as HTTP/1 would write it; 64 KiB unless set. What is larger is answered 431.
    #[must_use]
    pub fn max_head_bytes(self, max_head_bytes: usize) -> Self {
        Self { max_head_bytes, ..self }
    }

    /// The most fields; 100 unless set. More are answered 431.
    #[must_use]
    pub fn max_fields(self, max_fields: usize) -> Self {
        Self { max_fields, ..self }
    }

    /// Lets CONNECT pass on HTTP/2 and HTTP/3, for a caller that has found a `:protocol` (RFC 8441); off unless set.
    /// Without one, the caller must refuse it.
    #[must_use]
    pub fn allow_extended_connect(self, allows_extended_connect: bool) -> Self {
        Self { allows_extended_connect, ..self }
    }

    /// Checks a request. `server_name` is the name of the TLS session that it came in, `None` without TLS.
    ///
    /// # Errors
    /// [`GateError`]; its [`reaction`](GateError::reaction) says what becomes of the connection.
    pub fn admit<B>(&self, request: &Request<B>, server_name: Option<&Host>) -> Result<Admitted, GateError> {
        let (version, uri, headers) = (request.version(), request.uri(), request.headers());
        self.check_size(uri, headers)?;
        self.check_method(request.method(), version)?;
        check_framing(version, headers)?;
        let host = host_of(version, uri, headers)?;
        check_target(request.method(), uri)?;
        if server_name.is_some_and(|name| *name != host) {
            return Err(GateError::Misdirected {});
        }
        check_expectation(headers)?;
        Ok(Admitted { host })
    }

    fn check_size(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), GateError> {
        let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
        let target = authority.saturating_add(uri.path_and_query().map_or(0, |path| path.as_str().len()));
        if target > self.max_target_bytes {
            return Err(GateError::TargetTooLong { max_bytes: self.max_target_bytes });
        }
        if headers.len() > self.max_fields {
            return Err(GateError::TooManyFields { max_fields: self.max_fields });
        }
        // A line is `name: value` and its end.
        let line = |(name, value): (&header::HeaderName, &header::HeaderValue)| {
            name.as_str().len().saturating_add(value.len()).saturating_add(4)
        };
        let head = headers.iter().map(line).fold(target, usize::saturating_add);
        if head > self.max_head_bytes {
            return Err(GateError::HeadTooLarge { max_bytes: self.max_head_bytes });
        }
        Ok(())
    }

    fn check_method(&self, method: &Method, version: Version) -> Result<(), GateError> {
        match *method {
            Method::TRACE => Err(GateError::MethodRefused {}),
            Method::CONNECT if !(self.allows_extended_connect && version >= Version::HTTP_2) => {
                Err(GateError::MethodRefused {})
            }
            _ => Ok(()),
        }
    }
}

impl Default for RequestGate {
    fn default() -> Self {
        Self::new()
    }
}

/// A request that passed the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Admitted {
    /// The host it is for, in canonical form: the only one to route by.
    pub host: Host,
}

/// Why a request is not let in. Nothing of it may be forwarded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GateError {
    /// The target is too long (414).
    #[error("the request target is longer than {max_bytes} bytes")]
    TargetTooLong {
        /// The limit.
        max_bytes: usize,
    },
    /// The head is too large (431).
    #[error("the request head is larger than {max_bytes} bytes")]
    HeadTooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// There are too many fields (431).
    #[error("the request has more than {max_fields} header fields")]
    TooManyFields {
        /// The limit.
        max_fields: usize,
    },
    /// CONNECT or TRACE (405): a tunnel is no forward proxy, and nobody's secrets are echoed.
    #[error("the method is not allowed here")]
    MethodRefused {},
    /// Content-Length is repeated, or not a plain decimal number below 2⁶⁴ (400, RFC 9112 §6.3).
    #[error("Content-Length must be sent once, as a plain decimal number")]
    ContentLength {},
    /// Transfer-Encoding is repeated, does not end in `chunked`, or stands in a version without it (400).
    #[error("Transfer-Encoding must be sent once, as chunked, and only in HTTP/1.1")]
    TransferEncoding {},
    /// A coding beside `chunked` (501, RFC 9112 §6.1).
    #[error("no transfer coding but chunked is understood here")]
    UnsupportedCoding {},
    /// Both Content-Length and Transfer-Encoding: the mark of request smuggling (400).
    #[error("Content-Length and Transfer-Encoding exclude each other")]
    LengthAndCoding {},
    /// A field about the connection in HTTP/2 or HTTP/3 (RFC 9113 §8.2.2).
    #[error("HTTP/2 and HTTP/3 have no connection fields")]
    ConnectionField {},
    /// No host at all, or an empty one (400, RFC 9112 §3.2).
    #[error("the request names no host")]
    HostMissing {},
    /// More than one Host (400).
    #[error("the request names its host more than once")]
    HostRepeated {},
    /// The host can't be one (400).
    #[error("the request's host is not valid: {source}")]
    HostInvalid {
        /// What is wrong with it.
        source: HostError,
    },
    /// The target's authority and Host differ (400).
    #[error("the request target and Host name different hosts")]
    HostDiffers {},
    /// The target has a form that its method doesn't allow, or a foreign scheme (400, RFC 9112 §3.2).
    #[error("the request target has no form that its method allows")]
    TargetInvalid {},
    /// The host is not the one that TLS was set up for (421, RFC 9110 §7.4).
    #[error("this connection was made for another host")]
    Misdirected {},
    /// An expectation other than 100-continue (417, RFC 9110 §10.1.1).
    #[error("the only expectation understood here is 100-continue")]
    ExpectationUnknown {},
}

impl GateError {
    /// What becomes of the request and its connection, in this version of HTTP.
    #[must_use]
    pub fn reaction(&self, version: Version) -> Reaction {
        match self {
            Self::ContentLength {}
            | Self::TransferEncoding {}
            | Self::UnsupportedCoding {}
            | Self::LengthAndCoding {}
            | Self::ConnectionField {}
            | Self::HostMissing {}
            | Self::HostRepeated {}
            | Self::HostDiffers {} => match version >= Version::HTTP_2 {
                true => Reaction::ResetStream,
                false => Reaction::AnswerAndClose,
            },
            // What follows an over-long head can't be found any more.
            Self::TargetTooLong { .. } | Self::HeadTooLarge { .. } | Self::TooManyFields { .. } => {
                Reaction::AnswerAndClose
            }
            Self::MethodRefused {}
            | Self::HostInvalid { .. }
            | Self::TargetInvalid {}
            | Self::Misdirected {}
            | Self::ExpectationUnknown {} => Reaction::Answer,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::TargetTooLong { .. } => Code::URI_TOO_LONG,
            Self::HeadTooLarge { .. } | Self::TooManyFields { .. } => Code::HEADERS_TOO_LARGE,
            Self::MethodRefused {} => Code::METHOD_NOT_ALLOWED,
            Self::UnsupportedCoding {} => Code::NOT_IMPLEMENTED,
            Self::Misdirected {} => Code::MISDIRECTED,
            Self::ExpectationUnknown {} => Code::EXPECTATION_FAILED,
            Self::ContentLength {}
            | Self::TransferEncoding {}
            | Self::LengthAndCoding {}
            | Self::ConnectionField {}
            | Self::HostMissing {}
            | Self::HostRepeated {}
            | Self::HostInvalid { .. }
            | Self::HostDiffers {}
            | Self::TargetInvalid {} => Code::VALIDATION_FAILED,
        }
    }
}

impl From<&GateError> for Refusal {
    fn from(error: &GateError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// What to do with a request that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reaction {
    /// Answer with the refusal; the connection may be used further.
    Answer,
    /// Answer with the refusal and close: where the next request begins is in doubt.
    AnswerAndClose,
    /// Reset the stream with PROTOCOL_ERROR; the others go on.
    ResetStream,
}

fn check_framing(version: Version, headers: &HeaderMap) -> Result<(), GateError> {
    if version >= Version::HTTP_2 && framing::has_connection_field(headers) {
        return Err(GateError::ConnectionField {});
    }
    match framing::of(headers) {
        Framing::Unclear => Err(GateError::ContentLength {}),
        Framing::UnclearCoding => Err(GateError::TransferEncoding {}),
        Framing::Both => Err(GateError::LengthAndCoding {}),
        Framing::OtherCoding => Err(GateError::UnsupportedCoding {}),
        Framing::Chunked if version != Version::HTTP_11 => Err(GateError::TransferEncoding {}),
        Framing::Chunked | Framing::Length(_) | Framing::None => Ok(()),
    }
}

/// The host that target and Host agree on.
fn host_of(version: Version, uri: &Uri, headers: &HeaderMap) -> Result<Host, GateError> {
    let authority = match uri.authority() {
        Some(authority) => Some(parse(authority.as_str().as_bytes(), authority_source(version))?),
        None => None,
    };
    let mut fields = headers.get_all(header::HOST).iter();
    let field = match fields.next() {
        Some(field) => Some(parse(field.as_bytes(), HostSource::Header)?),
        None => None,
    };
    if fields.next().is_some() {
        return Err(GateError::HostRepeated {});
    }
    match (authority, field) {
        (Some(authority), Some(field)) if !is_same(&authority, &field) => Err(GateError::HostDiffers {}),
        (Some(host), None) if version < Version::HTTP_2 => {
            // RFC 9112 §3.2.2: even with an absolute target, HTTP/1.1 sends Host.
            if version == Version::HTTP_11 { Err(GateError::HostMissing {}) } else { Ok(host) }
        }
        (Some(host), _) | (None, Some(host)) => Ok(host),
        (None, None) => Err(GateError::HostMissing {}),
    }
}

fn parse(host: &[u8], source: HostSource) -> Result<Host, GateError> {
    match host {
        [] => Err(GateError::HostMissing {}),
        host => Host::parse(host, source).map_err(|source| GateError::HostInvalid { source }),
    }
}

fn authority_source(version: Version) -> HostSource {
    if version >= Version::HTTP_2 { HostSource::Authority } else { HostSource::Header }
}

/// Both name the same host, and no two different ports.
fn is_same(one: &Host, other: &Host) -> bool {
    one == other && one.port().zip(other.port()).is_none_or(|(one, other)| one == other)
}

fn check_target(method: &Method, uri: &Uri) -> Result<(), GateError> {
    if uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return Err(GateError::TargetInvalid {});
    }
    match uri.path() {
        path if path.starts_with('/') => Ok(()),
        "*" if *method == Method::OPTIONS => Ok(()),
        // Extended CONNECT aside, a target without a path is the authority form, for CONNECT only.
        _ => Err(GateError::TargetInvalid {}),
    }
}

fn check_expectation(headers: &HeaderMap) -> Result<(), GateError> {
    let mut expectations = headers.get_all(header::EXPECT).iter();
    match expectations.all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        true => Ok(()),
        false => Err(GateError::ExpectationUnknown {}),
    }
}

#[cfg(test)]
mod tests;
