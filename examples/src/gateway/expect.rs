//! A request's body that waits until the upstream wants it (`Expect: 100-continue`, RFC 9110 §10.1.1).

use http::{HeaderMap, Request, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::PollSemaphore;

/// How long an upstream is waited for that may not know the expectation; the RFC lets clients go on, too.
const PATIENCE: Duration = Duration::from_secs(1);

/// A visitor's body on its way to the upstream. Reading it makes hyper tell the visitor to go on, so it isn't read before
/// the upstream said so.
pub(super) struct Awaited<B> {
    body: B,
    go: Option<PollSemaphore>,
}

/// Lets the body wait for the upstream's 100, if the visitor waits for one.
pub(super) fn await_continue<B>(request: Request<B>) -> Request<Awaited<B>> {
    if !waits(request.headers()) {
        return request.map(|body| Awaited { body, go: None });
    }
    let go = Arc::new(Semaphore::new(0));
    let (on_continue, late) = (Arc::clone(&go), Arc::downgrade(&go));
    let mut request = request.map(|body| Awaited { body, go: Some(PollSemaphore::new(go)) });
    hyper::ext::on_informational(&mut request, move |response| {
        if response.status() == StatusCode::CONTINUE {
            on_continue.add_permits(1);
        }
    });
    tokio::spawn(async move {
        tokio::time::sleep(PATIENCE).await;
        if let Some(go) = late.upgrade() {
            go.add_permits(1);
        }
    });
    request
}

fn waits(headers: &HeaderMap) -> bool {
    headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

impl<B: Body + Unpin> Body for Awaited<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        if let Some(go) = &mut self.go {
            // Dropping the permit is fine: nobody else waits for one.
            drop(ready!(go.poll_acquire(cx)));
            self.go = None;
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
