//! UDP flows (SPEC, "Datagrams").

use crate::message::MessageError;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// One message of a UDP flow, where the carrier has datagrams of its own (QUIC).
///
/// On the native carrier the flow stands in the id of a DATAGRAM frame instead.
///
/// ```text
/// +---------------------------------------------------------------+
/// | flow (8): the id of the stream whose head opened the flow     |
/// +---------------------------------------------------------------+
/// | payload: all that is left, also nothing                     ...
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    flow: u64,
    payload: Bytes,
}

impl Datagram {
    /// The longest payload that any carrier takes, in octets: what fits a UDP datagram over IPv4.
    pub const MAX_PAYLOAD_BYTES: usize = 65_507;

    /// A message of a flow.
    ///
    /// # Errors
    /// [`MessageError::FieldTooLarge`] over [`MAX_PAYLOAD_BYTES`](Self::MAX_PAYLOAD_BYTES).
    pub fn new(flow: u64, payload: Bytes) -> Result<Self, MessageError> {
        if payload.len() > Self::MAX_PAYLOAD_BYTES {
            let limit = Self::MAX_PAYLOAD_BYTES;
            return Err(MessageError::FieldTooLarge { field: "datagram.payload", limit });
        }
        Ok(Self { flow, payload })
    }

    /// Reads a whole datagram of the carrier.
    ///
    /// # Errors
    /// [`MessageError::Malformed`] if it is shorter than its flow, [`MessageError::FieldTooLarge`] if it is too long.
    /// Drop it; the session lives.
    pub fn decode(mut octets: Bytes) -> Result<Self, MessageError> {
        let flow = octets.try_get_u64().map_err(|_| MessageError::Malformed)?;
        Self::new(flow, octets)
    }

    /// The octets for a datagram of the carrier.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(8 + self.payload.len());
        out.put_u64(self.flow);
        out.put_slice(&self.payload);
        out.into()
    }

    /// The flow.
    pub const fn flow(&self) -> u64 {
        self.flow
    }

    /// The message.
    pub const fn payload(&self) -> &Bytes {
        &self.payload
    }
}

/// Takes the messages of a UDP flow off its stream: what a carrier without datagrams, or a message over their size,
/// falls back to.
///
/// ```text
/// +-------------------------------+-------------------------------+
/// | length (2)                    | payload (length)              |   repeated
/// +-------------------------------+-------------------------------+
/// ```
///
/// The answer doesn't depend on how the input is cut; nothing is reserved.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RecordDecoder {}

impl RecordDecoder {
    /// A decoder at the start of a record.
    pub const fn new() -> Self {
        Self {}
    }

    /// The next message, also an empty one, or `None` until more octets are appended to `input`.
    ///
    /// # Errors
    /// [`MessageError::TooLarge`] on the length alone: reset the stream with its code.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, MessageError> {
        let Some(length) = input.first_chunk::<2>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes(*length));
        if length > Datagram::MAX_PAYLOAD_BYTES {
            return Err(MessageError::TooLarge { length, limit: Datagram::MAX_PAYLOAD_BYTES });
        }
        if input.len() < 2 + length {
            return Ok(None);
        }
        Ok(Some(input.split_to(2 + length).split_off(2).freeze()))
    }
}

/// Writes a message of a UDP flow as [`RecordDecoder`] reads it.
///
/// # Errors
/// [`MessageError::TooLarge`] over [`Datagram::MAX_PAYLOAD_BYTES`]; nothing was written.
pub fn encode_record(payload: &[u8], out: &mut BytesMut) -> Result<(), MessageError> {
    let (length, limit) = (payload.len(), Datagram::MAX_PAYLOAD_BYTES);
    let announced = u16::try_from(length).ok().filter(|_| length <= limit);
    out.put_u16(announced.ok_or(MessageError::TooLarge { length, limit })?);
    out.put_slice(payload);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w01_datagrams_and_records_survive_a_round_trip() {
        for payload in [&b""[..], b"x", &[7; Datagram::MAX_PAYLOAD_BYTES]] {
            let datagram = Datagram::new(4, Bytes::copy_from_slice(payload)).unwrap();
            assert_eq!(Datagram::decode(datagram.encode()).unwrap(), datagram);
            let mut wire = BytesMut::new();
            encode_record(payload, &mut wire).unwrap();
            assert_eq!(RecordDecoder::new().decode(&mut wire).unwrap().unwrap(), payload);
            assert!(wire.is_empty());
        }
    }

    #[test]
    fn w02_every_prefix_of_a_record_asks_for_more() {
        let mut wire = BytesMut::new();
        encode_record(b"hello", &mut wire).unwrap();
        for cut in 0..wire.len() {
            assert_eq!(RecordDecoder::new().decode(&mut BytesMut::from(&wire[..cut])), Ok(None));
        }
        assert_eq!(Datagram::decode(Bytes::from_static(b"1234567")), Err(MessageError::Malformed));
    }

    #[test]
    fn w03_a_record_over_the_limit_is_refused_on_its_length_alone() {
        let error = RecordDecoder::new().decode(&mut BytesMut::from(&[0xff, 0xff][..])).unwrap_err();
        assert_eq!(error.close_code(), crate::CloseCode::FRAME_TOO_LARGE);
        assert!(encode_record(&[0; 65_508], &mut BytesMut::new()).is_err());
    }
}
