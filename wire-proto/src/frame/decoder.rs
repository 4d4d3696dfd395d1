//! Frames out of a stream of octets, however it is cut.

use super::{Frame, FrameError, FrameHeader, HEADER_BYTES};
use bytes::BytesMut;

/// Takes frames off the front of a buffer.
///
/// The answer doesn't depend on how the input is cut. Work is linear in the input also when it comes octet by octet:
/// a header is looked at once.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    /// The header that was read, while its body is awaited.
    awaited: Option<FrameHeader>,
}

impl Decoder {
    /// A decoder at the start of a frame.
    pub const fn new() -> Self {
        Self { awaited: None }
    }

    /// The next whole frame, or `None` until more octets are appended to `input`.
    ///
    /// # Errors
    /// [`FrameError`]: the session is to be closed, and what is left in `input` has no meaning.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let header = match self.awaited {
            Some(header) => header,
            None => {
                let Some(octets) = input.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
                let header = FrameHeader::decode(*octets)?;
                let _ = input.split_to(HEADER_BYTES);
                *self.awaited.insert(header)
            }
        };
        let length = usize::from(header.length());
        if input.len() < length {
            input.reserve(length - input.len());
            return Ok(None);
        }
        self.awaited = None;
        Frame::decode(header, input.split_to(length).freeze()).map(Some)
    }
}
