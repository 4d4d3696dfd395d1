//! Messages out of the control stream, however it is cut.

use crate::message::MessageError;
use bytes::{Bytes, BytesMut};

/// The longest control message, in octets, without its length field.
pub const MAX_MESSAGE_BYTES: usize = 65_536;

/// Takes the octets of one message after the other off the front of a buffer.
///
/// Reserves nothing: the caller's buffer grows with what was received. Work is linear in the input also when it comes
/// octet by octet.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct MessageDecoder {}

impl MessageDecoder {
    /// A decoder at the start of a message.
    pub const fn new() -> Self {
        Self {}
    }

    /// The octets of the next whole message, or `None` until more are appended to `input`.
    ///
    /// # Errors
    /// [`MessageError::TooLarge`] on the length alone: end the session with its code.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, MessageError> {
        let Some(length) = input.first_chunk::<4>() else { return Ok(None) };
        // Saturating where usize is narrower: that is over the limit too.
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > MAX_MESSAGE_BYTES {
            return Err(MessageError::TooLarge { length, limit: MAX_MESSAGE_BYTES });
        }
        if input.len() < 4 + length {
            return Ok(None);
        }
        Ok(Some(input.split_to(4 + length).split_off(4).freeze()))
    }
}

/// Puts the length in front.
pub(super) fn frame(message: &impl prost::Message) -> Result<Bytes, MessageError> {
    let length = message.encoded_len();
    let announced = u32::try_from(length).ok().filter(|_| length <= MAX_MESSAGE_BYTES);
    let Some(announced) = announced else {
        return Err(MessageError::TooLarge { length, limit: MAX_MESSAGE_BYTES });
    };
    let mut out = Vec::with_capacity(4 + length);
    out.extend(announced.to_be_bytes());
    // Can't fail: a vector grows.
    message.encode(&mut out).map_err(|_| MessageError::Malformed)?;
    Ok(out.into())
}
