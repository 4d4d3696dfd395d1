//! What a visitor gets: an agent's answer as it comes, or an envelope that says why there is none.

use super::hub::Work;
use super::repeat::stream_error;
use adit_errors::{Code, Refusal, RequestId, Style};
use adit_mux::StreamError;
use adit_router::ShareEntrance;
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The body of an answer: streamed, or whole.
pub(super) type Answer = Either<Guarded, Full<Bytes>>;

/// A streamed body that counts as its agent's work for as long as it lives.
pub(super) struct Guarded {
    body: Incoming,
    _work: Work,
}

impl Guarded {
    /// Counts `work` until the body is dropped.
    pub(super) const fn new(body: Incoming, work: Work) -> Self {
        Self { body, _work: work }
    }
}

impl Body for Guarded {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An agent's answer, on its way to the visitor.
pub(super) fn pass(response: Response<Guarded>) -> Response<Answer> {
    response.map(Either::Left)
}

/// An envelope instead of an answer.
pub(super) fn refuse(refusal: Refusal, id: &RequestId, style: &Style) -> Response<Answer> {
    let response: Response<Full<Bytes>> = refusal.with_request_id(id.clone()).to_response(style);
    response.map(Either::Right)
}

/// Sends who came by a share's link on, with a cookie that shows the share.
pub(super) fn enter(entrance: &ShareEntrance) -> Response<Answer> {
    let mut response = Response::new(Either::Right(Full::default()));
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, entrance.location().clone());
    headers.insert(header::SET_COOKIE, entrance.cookie().clone());
    // The link is a secret: it goes to no other page, and stays in no cache.
    headers.insert(header::REFERRER_POLICY, header::HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

/// What the end of a stream says to the visitor who waits for an answer on it.
pub(super) fn refusal_of(error: &(dyn Error + 'static)) -> Refusal {
    Refusal::from(stream_error(error).map_or(Code::UPSTREAM_INVALID_RESPONSE, code_of))
}

fn code_of(error: &StreamError) -> Code {
    match error.close_code() {
        CloseCode::UPSTREAM_UNREACHABLE => Code::UPSTREAM_UNREACHABLE,
        CloseCode::UPSTREAM_TIMEOUT => Code::UPSTREAM_TIMEOUT,
        CloseCode::UPSTREAM_RESET => Code::UPSTREAM_RESET,
        CloseCode::UNKNOWN_TUNNEL => Code::TUNNEL_OFFLINE,
        _ => Code::AGENT_DISCONNECTED,
    }
}
