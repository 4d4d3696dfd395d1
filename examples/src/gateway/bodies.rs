//! Bodies of strangers that are read whole before it is known who sends them, and the room that they share.

use crate::BoxError;
use adit_errors::{Code, Refusal};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long a whole body may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// When to come again if there was no room.
const NO_ROOM: Duration = Duration::from_secs(5);

/// What such bodies may hold together, in octets.
#[derive(Clone, Debug)]
pub(super) struct BodyRoom(Arc<Semaphore>);

impl BodyRoom {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(max_bytes.min(Semaphore::MAX_PERMITS))))
    }

    /// Reads a body whole, if it is no longer than `max_bytes`, comes in time, and finds room.
    ///
    /// # Errors
    /// 413, 408, 503 with a hint, or 400 if it breaks off.
    pub(super) async fn whole<B>(&self, body: B, max_bytes: usize) -> Result<HeldBody, Refusal>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let read = timeout(DEADLINE, self.read(Limited::new(body, max_bytes))).await;
        read.unwrap_or_else(|_| Err(Refusal::from(Code::REQUEST_TIMEOUT)))
    }

    async fn read<B>(&self, body: B) -> Result<HeldBody, Refusal>
    where
        B: http_body::Body<Data = Bytes, Error = BoxError>,
    {
        let mut body = pin!(body);
        let (mut bytes, mut place) = (BytesMut::new(), None::<OwnedSemaphorePermit>);
        while let Some(frame) = body.frame().await {
            // Trailers are nothing to sign.
            let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() else { continue };
            let count = u32::try_from(data.len()).map_err(|_| Refusal::from(Code::PAYLOAD_TOO_LARGE))?;
            let more = Arc::clone(&self.0).try_acquire_many_owned(count);
            let more = more.map_err(|_| Refusal::from(Code::OVERLOADED).with_retry_after(NO_ROOM))?;
            match &mut place {
                Some(place) => place.merge(more),
                None => place = Some(more),
            }
            bytes.extend_from_slice(&data);
        }
        Ok(HeldBody { bytes: bytes.freeze(), place })
    }
}

/// A body, and its place in the room for as long as it is held.
#[derive(Debug)]
pub(super) struct HeldBody {
    bytes: Bytes,
    #[expect(dead_code, reason = "held until the body is dropped")]
    place: Option<OwnedSemaphorePermit>,
}

impl HeldBody {
    /// The body for somebody who has a bound of its own.
    pub(super) fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// The body, which keeps its place until the last copy is gone.
    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for HeldBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What is wrong with a body that was not read to its end.
pub(super) fn broken(error: &BoxError) -> Refusal {
    match error.is::<LengthLimitError>() {
        true => Refusal::from(Code::PAYLOAD_TOO_LARGE),
        false => Refusal::new(Code::VALIDATION_FAILED, "the body broke off"),
    }
}
