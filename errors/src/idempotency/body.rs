use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

/// A body of which the beginning may have been read already: what was read, then the rest.
///
/// Nothing gets lost or added: a body that fails half-way fails half-way here too.
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub struct Buffered<B: Body> {
    read: Option<Bytes>,
    trailers: Option<HeaderMap>,
    failure: Option<B::Error>,
    rest: Option<B>,
}

impl<B: Body<Data = Bytes> + Unpin> Buffered<B> {
    /// A body that is passed on as it is.
    #[must_use]
    pub const fn untouched(body: B) -> Self {
        Self { read: None, trailers: None, failure: None, rest: Some(body) }
    }

    /// A body that is all here.
    #[must_use]
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self { read: Some(bytes.into()), trailers: None, failure: None, rest: None }
    }

    /// A body that yields these bytes, then fails.
    pub(super) const fn failing(bytes: Bytes, failure: B::Error) -> Self {
        Self { read: Some(bytes), trailers: None, failure: Some(failure), rest: None }
    }

    /// Reads a body, up to `limit` bytes of it.
    pub(super) async fn read(mut body: B, limit: usize) -> Reading<B> {
        if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
            return Reading::Partial { body: Self::untouched(body) };
        }
        let mut read = BytesMut::new();
        loop {
            let frame = match body.frame().await {
                None => return Reading::Whole { bytes: read.freeze() },
                Some(Err(error)) => return Reading::Failed { bytes: read.freeze(), error },
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                // Empty frames must not keep us here forever without the limit being reached: the peer sends them, and
                // each costs it more than it costs us.
                Ok(data) => read.extend_from_slice(&data),
                Err(frame) => {
                    let trailers = frame.into_trailers().ok();
                    let body = Self { read: Some(read.freeze()), trailers, failure: None, rest: Some(body) };
                    return Reading::Partial { body };
                }
            }
            if read.len() > limit {
                let body =
                    Self { read: Some(read.freeze()), trailers: None, failure: None, rest: Some(body) };
                return Reading::Partial { body };
            }
        }
    }
}

/// What was read may hold secrets, so it is not shown.
impl<B: Body> fmt::Debug for Buffered<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Buffered(..)")
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Buffered<B>
where
    B::Error: Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(read) = self.read.take().filter(|read| !read.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(read))));
        }
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        let read = self.read.as_ref().is_none_or(Bytes::is_empty);
        read && self.trailers.is_none()
            && self.failure.is_none()
            && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.read.as_ref().map_or(0, |read| u64::try_from(read.len()).unwrap_or(u64::MAX));
        let rest = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint
    }
}

/// How far reading a body got.
pub(super) enum Reading<B: Body> {
    /// To its end, within the limit and without trailers.
    Whole { bytes: Bytes },
    /// Not to the end: it is too long, or has trailers. Nothing of it is lost.
    Partial { body: Buffered<B> },
    /// To a failure.
    Failed { bytes: Bytes, error: B::Error },
}
