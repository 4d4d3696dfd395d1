//! `tokio_util::codec` for frames and control messages (feature `codec`).

use crate::MessageError;
use crate::control::{AgentMessage, GatewayMessage, MessageDecoder};
use crate::frame::{Decoder, Frame, FrameError};
use bytes::BytesMut;
use std::io;

/// Frames of the native carrier, both ways.
#[derive(Clone, Debug, Default)]
pub struct FrameCodec {
    decoder: Decoder,
}

impl FrameCodec {
    /// A codec at the start of a frame.
    pub const fn new() -> Self {
        Self { decoder: Decoder::new() }
    }
}

/// Control messages, from the agent's side: reads the gateway's, writes the agent's.
#[derive(Clone, Debug, Default)]
pub struct AgentCodec {
    decoder: MessageDecoder,
}

impl AgentCodec {
    /// A codec at the start of a message.
    pub const fn new() -> Self {
        Self { decoder: MessageDecoder::new() }
    }
}

/// Control messages, from the gateway's side: reads the agent's, writes the gateway's.
#[derive(Clone, Debug, Default)]
pub struct GatewayCodec {
    decoder: MessageDecoder,
}

impl GatewayCodec {
    /// A codec at the start of a message.
    pub const fn new() -> Self {
        Self { decoder: MessageDecoder::new() }
    }
}

/// How a codec fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// A bad frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A bad control message, or one of ours that breaks a limit.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// A frame of ours with a head, reason or payload over its limit; nothing was written.
    #[error("a frame with a part over its limit")]
    TooLarge,
    /// The stream failed, or ended inside a frame.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl tokio_util::codec::Decoder for FrameCodec {
    type Item = Frame;
    type Error = CodecError;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, CodecError> {
        Ok(self.decoder.decode(input)?)
    }

    fn decode_eof(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, CodecError> {
        match self.decode(input)? {
            None if !input.is_empty() || !self.decoder.is_at_boundary() => {
                Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
            }
            frame => Ok(frame),
        }
    }
}

impl tokio_util::codec::Encoder<Frame> for FrameCodec {
    type Error = CodecError;

    fn encode(&mut self, frame: Frame, out: &mut BytesMut) -> Result<(), CodecError> {
        if !frame.fits() {
            return Err(CodecError::TooLarge);
        }
        frame.encode(out);
        Ok(())
    }
}

macro_rules! control_codec {
    ($codec:ident reads $read:ident, writes $written:ident) => {
        impl tokio_util::codec::Decoder for $codec {
            type Item = $read;
            type Error = CodecError;

            fn decode(&mut self, input: &mut BytesMut) -> Result<Option<$read>, CodecError> {
                let octets = self.decoder.decode(input)?;
                Ok(octets.map($read::decode).transpose()?)
            }
        }

        impl tokio_util::codec::Encoder<$written> for $codec {
            type Error = CodecError;

            fn encode(&mut self, message: $written, out: &mut BytesMut) -> Result<(), CodecError> {
                out.extend_from_slice(&message.encode()?);
                Ok(())
            }
        }
    };
}

control_codec!(AgentCodec reads GatewayMessage, writes AgentMessage);
control_codec!(GatewayCodec reads AgentMessage, writes GatewayMessage);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Drain, Notice};
    use bytes::Bytes;
    use std::time::Duration;
    use tokio_util::codec::{Decoder, Encoder};

    #[test]
    fn frames_pass_and_an_end_inside_one_is_an_error() {
        let mut wire = BytesMut::new();
        let frame = Frame::Data { id: 1, payload: Bytes::from_static(b"x"), fin: true };
        FrameCodec::new().encode(frame.clone(), &mut wire).unwrap();
        assert_eq!(FrameCodec::new().decode_eof(&mut wire.clone()).unwrap(), Some(frame));
        wire.truncate(8);
        assert!(FrameCodec::new().decode_eof(&mut wire).is_err());
        let reason = Bytes::from(vec![0; 257]);
        let long = Frame::Close { code: crate::CloseCode::NONE, reason };
        assert!(matches!(FrameCodec::new().encode(long, &mut wire), Err(CodecError::TooLarge)));
    }

    #[test]
    fn control_messages_pass() {
        let mut wire = BytesMut::new();
        let leave = AgentMessage::Leave { deadline: Duration::from_secs(1) };
        AgentCodec::new().encode(leave.clone(), &mut wire).unwrap();
        assert_eq!(GatewayCodec::new().decode(&mut wire).unwrap(), Some(leave));
        let drain = Notice::Drain(Drain::new(Duration::from_secs(1)));
        GatewayCodec::new().encode(GatewayMessage::Notice(drain.clone()), &mut wire).unwrap();
        let read = AgentCodec::new().decode(&mut wire).unwrap();
        assert!(matches!(read, Some(GatewayMessage::Notice(notice)) if notice == drain));
    }
}
