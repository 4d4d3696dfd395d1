//! A request whose session died before the answer began: whether it is sent again, on the session that came after.
//!
//! ```text
//!   the agent never saw it ─────────────────────┐
//!   the session is lost ── method idempotent? ──┼─ none of the body gone? ── an agent comes in time? ── sent again
//!                            no │               no │                           no │
//!                               └──────────────────┴────────────────── 502 AGENT_DISCONNECTED
//! ```

use super::hub::{Facts, Hub, Link};
use super::reply::refusal_of;
use super::visit::Sent;
use crate::BoxError;
use adit_errors::{Code, Refusal};
use adit_mux::StreamError;
use adit_router::{Generation, Tunnel};
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request};
use http_body::{Body, Frame, SizeHint};
use std::error::Error;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How often a request is sent again at the most: a request that ends every session it comes to is to end few.
const MAX_REPEATS: u32 = 2;

/// How long an agent may take to come back: it dials within half a second, and falls back from a network that drops its
/// datagrams within five.
const RETURN_DEADLINE: Duration = Duration::from_secs(5);

/// How a request came to no answer.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) refusal: Refusal,
    pub(super) loss: Loss,
}

/// What is known of a request that came to no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// Its session is over, or silent: it may have been acted upon.
    Session,
    /// The agent refused its stream unread.
    Unseen,
    /// Something else, which is no reason to try again.
    Other,
}

impl Unanswered {
    /// By what the exchange on a stream failed with.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        let loss = stream_error(error).map_or(Loss::Other, Loss::of);
        Self { refusal: refusal_of(error), loss }
    }

    /// Its session gave no sign of life since the agent moved to another one.
    pub(super) fn forsaken() -> Self {
        Self { refusal: Refusal::from(Code::AGENT_DISCONNECTED), loss: Loss::Session }
    }
}

impl Loss {
    /// What the end of a stream says of what was asked on it.
    pub(super) fn of(error: &StreamError) -> Self {
        match (error, error.close_code()) {
            (StreamError::Session(_), _) => Self::Session,
            (StreamError::Refused, _) => Self::Unseen,
            // The agent's registration on that session has ended, or is about to (SPEC, section 10).
            (_, CloseCode::REFUSED | CloseCode::DRAINING | CloseCode::UNKNOWN_TUNNEL) => Self::Unseen,
            _ => Self::Other,
        }
    }
}

impl From<Refusal> for Unanswered {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, loss: Loss::Other }
    }
}

/// What the stream of an exchange ended with, if that is why the exchange failed.
pub(super) fn stream_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a StreamError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        // An I/O error shows what it wraps only this way.
        let wrapped = || error.downcast_ref().and_then(StreamError::of);
        if let Some(stream) = error.downcast_ref::<StreamError>().or_else(wrapped) {
            return Some(stream);
        }
        cause = error.source();
    }
    None
}

/// A request that is kept as long as it may have to be sent again.
pub(super) struct Original {
    parts: Parts,
    body: Arc<Mutex<Lent>>,
    repeats: u32,
}

/// A body, until somebody else gets it.
struct Lent {
    body: Option<Sent>,
    /// Whether a part of it is gone.
    is_begun: bool,
}

impl Original {
    /// Keeps a request, and gives the first copy of it.
    pub(super) fn keep(request: Request<Sent>) -> (Self, Request<Borrowed>) {
        let (parts, body) = request.into_parts();
        let original = Self { parts, body: lend(body), repeats: 0 };
        let first = original.copy();
        (original, first)
    }

    /// Whether the request would be sent again now.
    pub(super) fn may_repeat(&self, loss: Loss) -> bool {
        let is_safe = match loss {
            Loss::Session => self.parts.method.is_idempotent() && self.parts.method != Method::CONNECT,
            Loss::Unseen => true,
            Loss::Other => false,
        };
        is_safe && self.repeats < MAX_REPEATS && !held(&self.body).is_begun
    }

    /// Another copy: those before it have no body any more. `None` if it may not be sent again, whatever was so before.
    pub(super) fn again(&mut self, loss: Loss) -> Option<Request<Borrowed>> {
        if !self.may_repeat(loss) {
            return None;
        }
        let body = {
            let mut lent = held(&self.body);
            // Looked at again: the copy before may have been under way.
            if lent.is_begun {
                return None;
            }
            lent.body.take()?
        };
        self.body = lend(body);
        self.repeats += 1;
        Some(self.copy())
    }

    fn copy(&self) -> Request<Borrowed> {
        Request::from_parts(self.parts.clone(), Borrowed(Arc::clone(&self.body)))
    }
}

/// Waits, not for long, until the tunnel that `find` gives has another agent than the `lost` one. Whether it has.
pub(super) async fn await_another(
    hub: &Hub,
    lost: Generation,
    find: impl Fn(&Hub) -> Option<Arc<Tunnel<Link, Facts>>>,
    deadline: Instant,
) -> bool {
    let Some(tunnel) = find(hub) else { return false };
    let mut changes = tunnel.facts().life.changes();
    let deadline = deadline.min(Instant::now() + RETURN_DEADLINE);
    loop {
        let Some(tunnel) = find(hub) else { return false };
        if tunnel.agents().iter().any(|agent| agent.generation() != lost) {
            return true;
        }
        if !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
            return false;
        }
    }
}

/// A body as one copy of its request has it.
pub(super) struct Borrowed(Arc<Mutex<Lent>>);

impl Body for Borrowed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut lent = held(&self.0);
        let Some(body) = &mut lent.body else {
            return Poll::Ready(Some(Err("the request goes another way".into())));
        };
        let polled = Pin::new(body).poll_frame(cx);
        lent.is_begun |= matches!(polled, Poll::Ready(Some(_)));
        polled
    }

    fn is_end_stream(&self) -> bool {
        held(&self.0).body.as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        held(&self.0).body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

fn lend(body: Sent) -> Arc<Mutex<Lent>> {
    Arc::new(Mutex::new(Lent { body: Some(body), is_begun: false }))
}

fn held(body: &Mutex<Lent>) -> MutexGuard<'_, Lent> {
    body.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Either, Full};

    fn original(method: Method, body: &'static str) -> (Original, Request<Borrowed>) {
        let body = Either::Right(Full::from(body));
        Original::keep(Request::builder().method(method).uri("/path").body(body).unwrap())
    }

    #[tokio::test]
    async fn what_may_have_been_acted_upon_is_repeated_only_if_that_is_the_same_as_once() {
        let repeated = [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE];
        for method in repeated {
            let (mut original, first) = original(method.clone(), "body");
            let second = original.again(Loss::Session).expect("it may");
            assert_eq!((second.method(), second.uri().path()), (&method, "/path"));
            assert_eq!(second.into_body().collect().await.unwrap().to_bytes(), "body");
            assert!(first.into_body().collect().await.is_err(), "the copy before has it no more");
        }
        for method in [Method::POST, Method::PATCH, Method::CONNECT] {
            let (mut original, _first) = original(method, "body");
            assert!(original.again(Loss::Session).is_none());
            assert!(original.again(Loss::Other).is_none());
            assert!(original.again(Loss::Unseen).is_some(), "nobody has seen it");
        }
    }

    #[tokio::test]
    async fn nothing_is_repeated_without_its_whole_body_or_for_ever() {
        let (mut begun, mut first) = original(Method::PUT, "body");
        assert!(first.body_mut().frame().await.is_some());
        for loss in [Loss::Session, Loss::Unseen] {
            assert!(!begun.may_repeat(loss) && begun.again(loss).is_none());
        }
        let (mut empty, first) = original(Method::GET, "");
        assert!(first.body().is_end_stream());
        for _ in 0..MAX_REPEATS {
            assert!(empty.again(Loss::Session).is_some());
        }
        assert!(empty.again(Loss::Session).is_none());
    }

    #[test]
    fn the_end_of_a_session_is_told_from_that_of_a_stream() {
        let loss = |error: StreamError| Unanswered::of(&std::io::Error::from(error)).loss;
        assert_eq!(loss(StreamError::Refused), Loss::Unseen);
        assert_eq!(loss(StreamError::Reset { code: CloseCode::UNKNOWN_TUNNEL }), Loss::Unseen);
        assert_eq!(loss(StreamError::Reset { code: CloseCode::UPSTREAM_RESET }), Loss::Other);
        assert_eq!(loss(StreamError::Stopped { code: CloseCode::UPSTREAM_UNREACHABLE }), Loss::Other);
        assert_eq!(Unanswered::of(&std::io::Error::other("cut")).loss, Loss::Other);
    }
}
