//! Requests, responses and codes.

use super::dialect::extended;
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use h2::Reason;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};

/// What a request of the gateway is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The frames beside the streams; the first request, and the only one of its kind.
    Control,
    /// A stream of the gateway.
    Stream,
    /// A stream that the agent may make its own.
    Invitation,
}

impl Purpose {
    const fn path(self) -> &'static str {
        match self {
            Self::Control => "/control",
            Self::Stream => "/stream",
            Self::Invitation => "/invitation",
        }
    }

    /// What a request is for; `None` if it is none of ours.
    pub(super) fn of(protocol: Option<&str>, request: &Request<()>) -> Option<Self> {
        if request.method() != Method::CONNECT || protocol != Some(PROTOCOL) {
            return None;
        }
        [Self::Control, Self::Stream, Self::Invitation]
            .into_iter()
            .find(|purpose| purpose.path() == request.uri().path())
    }
}

pub(super) fn request(purpose: Purpose, head: Option<&Bytes>) -> Request<()> {
    let mut request = Request::new(());
    *request.uri_mut() = Uri::from_static(match purpose {
        Purpose::Control => "https://adit/control",
        Purpose::Stream => "https://adit/stream",
        Purpose::Invitation => "https://adit/invitation",
    });
    if let Some(head) = head {
        request.headers_mut().insert(HEAD, encoded(head));
    }
    extended(PROTOCOL, request)
}

/// The answer to a request: 200, with the head of a stream that the agent opens on an invitation.
pub(super) fn response(head: Option<&Bytes>) -> Response<()> {
    let mut response = Response::new(());
    if let Some(head) = head {
        response.headers_mut().insert(HEAD, encoded(head));
    }
    response
}

/// The head in a request or an answer.
pub(super) fn head(headers: &HeaderMap) -> Result<Bytes, HeadError> {
    let value = headers.get(HEAD).ok_or(HeadError::Malformed)?;
    let head = BASE64URL_NOPAD.decode(value.as_bytes()).map_err(|_| HeadError::Malformed)?;
    if head.len() > usize::from(adit_wire_proto::frame::MAX_HEAD_BYTES) {
        return Err(HeadError::TooLarge { length: u16::try_from(head.len()).unwrap_or(u16::MAX) });
    }
    Ok(head.into())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadError {
    Malformed,
    TooLarge { length: u16 },
}

/// Trailers that end a sending half with a code.
pub(super) fn reset_trailers(code: CloseCode) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert(RESET, HeaderValue::from(code.as_u32()));
    trailers
}

/// The code in trailers; `None` if they only end the half. A code that is no number is a stream of no use.
pub(super) fn reset_code(trailers: &HeaderMap) -> Option<CloseCode> {
    let value = trailers.get(RESET)?;
    // Digits only: `parse` takes a sign too.
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|octet| octet.is_ascii_digit()));
    let number = digits.and_then(|text| text.parse().ok());
    Some(number.map_or(CloseCode::MALFORMED, CloseCode::from_u32))
}

/// A code in a RST_STREAM. Those that don't fit are CANCELLED there.
pub(super) fn reset_number(code: CloseCode) -> u32 {
    let low = u16::try_from(code.as_u32()).unwrap_or_else(|_| widened(CloseCode::CANCELLED));
    CODES | u32::from(low)
}

/// What a RST_STREAM means for a stream.
pub(super) fn close_code(number: u32) -> CloseCode {
    match Reason::from(number) {
        _ if number & 0xffff_0000 == CODES => CloseCode::from_u32(number & 0xffff),
        Reason::REFUSED_STREAM => CloseCode::REFUSED,
        Reason::PROTOCOL_ERROR => CloseCode::PROTOCOL,
        Reason::FLOW_CONTROL_ERROR => CloseCode::FLOW_CONTROL,
        Reason::STREAM_CLOSED => CloseCode::STREAM_CLOSED,
        Reason::ENHANCE_YOUR_CALM => CloseCode::ENHANCE_CALM,
        _ => CloseCode::CANCELLED,
    }
}

fn widened(code: CloseCode) -> u16 {
    u16::try_from(code.as_u32()).unwrap_or(u16::MAX)
}

fn encoded(head: &Bytes) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(BASE64URL_NOPAD.encode(head)))
        .unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Where codes of ours begin among those of HTTP/2, which has 32 bits and uses few of them.
const CODES: u32 = 0xad17_0000;
const PROTOCOL: &str = "adit";
const HEAD: &str = "adit-head";
const RESET: &str = "adit-reset";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_and_purposes_come_back() {
        for purpose in [Purpose::Control, Purpose::Stream, Purpose::Invitation] {
            let octets = Bytes::from((0..=255).collect::<Vec<u8>>());
            let request = request(purpose, Some(&octets));
            assert_eq!(Purpose::of(Some("adit"), &request), Some(purpose));
            assert_eq!(Purpose::of(Some("other"), &request), None);
            assert_eq!(Purpose::of(None, &request), None);
            assert_eq!(head(request.headers()), Ok(octets));
        }
        assert_eq!(Purpose::of(Some("adit"), &Request::new(())), None);
        assert_eq!(head(&HeaderMap::new()), Err(HeadError::Malformed));
    }

    #[test]
    fn codes_come_back_and_those_without_room_are_cancelled() {
        for code in [CloseCode::NONE, CloseCode::UPSTREAM_RESET, CloseCode::from_u32(0xffff)] {
            assert_eq!(close_code(reset_number(code)), code);
        }
        assert_eq!(close_code(reset_number(CloseCode::from_u32(0x1_0000))), CloseCode::CANCELLED);
        assert_eq!(reset_number(CloseCode::DRAINING), 0xad17_0012);
        let code = CloseCode::from_u32(u32::MAX);
        assert_eq!(reset_code(&reset_trailers(code)), Some(code));
        let mut odd = HeaderMap::new();
        assert_eq!(reset_code(&odd), None);
        odd.insert(RESET, HeaderValue::from_static("-1"));
        assert_eq!(reset_code(&odd).unwrap(), CloseCode::MALFORMED);
    }
}
