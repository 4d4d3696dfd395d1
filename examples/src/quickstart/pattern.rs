//! A body that both sides can make for themselves, so that only a digest has to be compared.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use sha2::{Digest, Sha256};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// How much one frame of the body carries, in octets.
const CHUNK: usize = 64 * 1024;

/// A streamed body of a given length whose octets follow from their position; never whole in memory.
pub(crate) struct Pattern {
    chunk: Bytes,
    left: u64,
}

impl Pattern {
    /// A body of `length` octets.
    pub(crate) fn new(length: u64) -> Self {
        // A prime period, so that a lost or doubled chunk shifts everything behind it.
        let chunk: Vec<u8> = (0..251u8).cycle().take(CHUNK).collect();
        Self { chunk: Bytes::from(chunk), left: length }
    }

    /// The digest of the whole body.
    pub(crate) fn digest(length: u64) -> String {
        let mut body = Self::new(length);
        let mut hash = Sha256::new();
        while let Some(chunk) = body.next() {
            hash.update(&chunk);
        }
        hex(&hash.finalize())
    }

    fn next(&mut self) -> Option<Bytes> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(CHUNK);
        self.left -= u64::try_from(length).unwrap_or(0);
        (length > 0).then(|| self.chunk.slice(..length))
    }
}

impl Body for Pattern {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.next().map(|chunk| Ok(Frame::data(chunk))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
