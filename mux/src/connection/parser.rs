//! Frames out of the octets that come, without waiting for the end of a payload.

use crate::Violation;
use adit_wire_proto::frame::{Frame, FrameError, FrameHeader, FrameKind, HEADER_BYTES};
use bytes::{Buf, Bytes, BytesMut};

/// Cuts input into headers, payload and whole control frames.
///
/// Payload is passed on as it comes; only headers and the bodies of other frames that mean something are kept until they
/// are whole: at most 4,100 octets, or as many as a datagram may have. A length that is announced reserves nothing.
#[derive(Debug)]
pub(crate) struct Parser {
    state: State,
    /// Octets of the header or body that is awaited: at most 4,100 or `max_datagram`.
    carry: BytesMut,
    max_datagram: u16,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Header,
    Body(FrameHeader),
    Payload { left: usize },
    Skip { left: usize },
}

/// What the parser found next.
#[derive(Debug)]
pub(crate) enum Item {
    /// A DATA frame begins. Its payload follows in [`Item::Payload`].
    Data(FrameHeader),
    /// The next `length` octets of the input are payload of the DATA frame that began, and are the caller's to take;
    /// `last` if the frame ends there.
    Payload { length: usize, last: bool },
    /// A whole frame of another kind.
    Frame(FrameHeader, Frame),
    /// A frame begins that means nothing to us, and will be skipped.
    Skipped(FrameHeader),
}

impl Parser {
    /// For datagrams of at most so many octets, 0 for none.
    pub(crate) fn new(max_datagram: u16) -> Self {
        Self { state: State::Header, carry: BytesMut::new(), max_datagram }
    }

    /// Whether a frame has begun and not ended.
    pub(crate) fn is_inside_frame(&self) -> bool {
        !matches!(self.state, State::Header) || !self.carry.is_empty()
    }

    /// The header of the next frame, if that is DATA and lies in the input as a whole; its payload is the caller's to
    /// take. Most frames are; [`next`](Self::next) sees to the others.
    pub(crate) fn whole_data(&self, input: &mut Bytes) -> Result<Option<FrameHeader>, Violation> {
        let (State::Header, true) = (self.state, self.carry.is_empty()) else { return Ok(None) };
        let Some(octets) = input.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let header = FrameHeader::decode(*octets)?;
        let is_whole = input.len() >= HEADER_BYTES + usize::from(header.length());
        if header.kind() != FrameKind::DATA || !is_whole {
            return Ok(None);
        }
        input.advance(HEADER_BYTES);
        Ok(Some(header))
    }

    /// The next item, or `None` if the input is used up.
    pub(crate) fn next(&mut self, input: &mut Bytes) -> Result<Option<Item>, Violation> {
        loop {
            match self.state {
                State::Header => {
                    let Some(octets) = self.take_header(input) else { return Ok(None) };
                    let header = FrameHeader::decode(octets)?;
                    self.check_datagram(header)?;
                    if let Some(item) = self.begin(header) {
                        return Ok(Some(item));
                    }
                }
                State::Body(header) => return self.body(header, input),
                State::Payload { left } => {
                    if left > 0 && input.is_empty() {
                        return Ok(None);
                    }
                    let length = left.min(input.len());
                    let left = left - length;
                    self.state = if left == 0 { State::Header } else { State::Payload { left } };
                    return Ok(Some(Item::Payload { length, last: left == 0 }));
                }
                State::Skip { left } => {
                    let skipped = left.min(input.len());
                    input.advance(skipped);
                    if left > skipped {
                        self.state = State::Skip { left: left - skipped };
                        return Ok(None);
                    }
                    self.state = State::Header;
                }
            }
        }
    }

    fn take_header(&mut self, input: &mut Bytes) -> Option<[u8; HEADER_BYTES]> {
        if self.carry.is_empty()
            && let Some(octets) = input.first_chunk::<HEADER_BYTES>().copied()
        {
            input.advance(HEADER_BYTES);
            return Some(octets);
        }
        self.carry_up_to(HEADER_BYTES, input);
        let octets = self.carry.first_chunk::<HEADER_BYTES>().copied()?;
        self.carry.clear();
        Some(octets)
    }

    /// Refuses a datagram that is too long before any of it is kept.
    fn check_datagram(&self, header: FrameHeader) -> Result<(), Violation> {
        let (length, limit) = (header.length(), self.max_datagram);
        if header.kind() == FrameKind::DATAGRAM && (length > limit || limit == 0) {
            return Err(Violation::DatagramTooLarge { length, limit });
        }
        Ok(())
    }

    fn begin(&mut self, header: FrameHeader) -> Option<Item> {
        let left = usize::from(header.length());
        if header.kind() == FrameKind::DATA {
            self.state = State::Payload { left };
            return Some(Item::Data(header));
        }
        let is_known = header.kind().name().is_some();
        if !is_known || header.kind() == FrameKind::PAD {
            self.state = State::Skip { left };
            return Some(Item::Skipped(header));
        }
        self.state = State::Body(header);
        None
    }

    fn body(&mut self, header: FrameHeader, input: &mut Bytes) -> Result<Option<Item>, Violation> {
        let length = usize::from(header.length());
        let body = if self.carry.is_empty() && input.len() >= length {
            input.split_to(length)
        } else {
            self.carry_up_to(length, input);
            if self.carry.len() < length {
                return Ok(None);
            }
            std::mem::take(&mut self.carry).freeze()
        };
        self.state = State::Header;
        Frame::decode(header, body).map(|frame| Some(Item::Frame(header, frame))).map_err(FrameError::into)
    }

    fn carry_up_to(&mut self, length: usize, input: &mut Bytes) {
        let missing = length.saturating_sub(self.carry.len()).min(input.len());
        self.carry.extend_from_slice(&input.split_to(missing));
    }
}
