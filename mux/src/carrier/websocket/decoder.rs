//! Reads frames where they lie.

use super::frame::{Fault, Head, Key, Opcode};

/// What comes in: takes octets as they are read, and leaves those of the messages.
///
/// ```text
///        +-----------------------------+
///        v                             |
///  [a head] --data--> [its payload] ---+  octets are unmasked and moved to the front
///        |                             |
///        +---control--> [125 octets] --+  kept until they are whole; then a ping is due, or the end
/// ```
///
/// Does no I/O, and keeps nothing of a message: a length that is announced reserves no memory.
#[derive(Debug)]
pub(super) struct Decoder {
    /// Whether frames have to be masked, as those that a server gets.
    takes_masked: bool,
    /// The head that is coming.
    head: [u8; Head::MOST_BYTES],
    head_bytes: usize,
    frame: Option<Frame>,
    /// How long the message is so far whose final frame is yet to come.
    message: Option<u64>,
    /// The payload of the control frame that is coming.
    control: Short,
    ping: Option<Short>,
    end: Option<End>,
}

/// The frame whose payload is coming.
#[derive(Clone, Copy, Debug)]
struct Frame {
    head: Head,
    left: u64,
}

/// The payload of a control frame.
#[derive(Clone, Copy)]
pub(super) struct Short {
    octets: [u8; Self::MOST_BYTES],
    length: usize,
}

/// Why nothing more is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The peer sent a Close, with a code or without.
    Closed(Option<u16>),
    Broken(Fault),
}

impl Decoder {
    pub(super) const fn new(takes_masked: bool) -> Self {
        Self {
            takes_masked,
            head: [0; Head::MOST_BYTES],
            head_bytes: 0,
            frame: None,
            message: None,
            control: Short::EMPTY,
            ping: None,
            end: None,
        }
    }

    /// Takes all of `octets`; moves what belongs to messages to their front, and says how much that is.
    ///
    /// What comes behind the [`end`](Self::end) is dropped.
    pub(super) fn decode(&mut self, octets: &mut [u8]) -> usize {
        let (mut at, mut kept) = (0, 0);
        while self.end.is_none()
            && let Some(rest) = octets.get(at..).filter(|rest| !rest.is_empty())
        {
            let taken = match self.frame {
                None => self.begin(rest),
                Some(frame) => {
                    let taken = usize::try_from(frame.left).map_or(rest.len(), |left| left.min(rest.len()));
                    if frame.head.opcode.is_control() {
                        self.control.extend(rest.get(..taken).unwrap_or_default());
                        self.take(taken, frame.head.key);
                    } else {
                        let key = unmask(octets, at, kept, taken, frame.head.key);
                        kept += taken;
                        self.take(taken, key);
                    }
                    taken
                }
            };
            at += taken;
        }
        kept
    }

    /// The payload of the last ping that was not answered yet.
    pub(super) const fn take_ping(&mut self) -> Option<Short> {
        self.ping.take()
    }

    pub(super) const fn has_ping(&self) -> bool {
        self.ping.is_some()
    }

    pub(super) const fn end(&self) -> Option<End> {
        self.end
    }

    /// Takes octets of a head; says how many.
    fn begin(&mut self, octets: &[u8]) -> usize {
        let before = self.head_bytes;
        for (to, from) in self.head.iter_mut().skip(before).zip(octets) {
            *to = *from;
            self.head_bytes += 1;
        }
        match Head::decode(self.head.get(..self.head_bytes).unwrap_or_default()) {
            // Invariant: the longest head is whole with as many octets as fit, so more are always taken.
            Ok(None) => self.head_bytes - before,
            Ok(Some((head, length))) => {
                self.head_bytes = 0;
                match self.check(&head) {
                    Ok(()) => {
                        self.frame = Some(Frame { head, left: head.length });
                        self.control = Short::EMPTY;
                        self.take(0, head.key);
                    }
                    Err(fault) => self.end = Some(End::Broken(fault)),
                }
                length.saturating_sub(before)
            }
            Err(fault) => {
                self.end = Some(End::Broken(fault));
                octets.len()
            }
        }
    }

    /// Whether a frame may stand here.
    fn check(&mut self, head: &Head) -> Result<(), Fault> {
        // Sections 5.1: a server must close a connection whose frames aren't masked, a client one whose are.
        if head.key.is_some() != self.takes_masked {
            return Err(Fault::Mask);
        }
        match head.opcode {
            Opcode::CLOSE | Opcode::PING | Opcode::PONG => {
                // Section 5.5.
                let is_short = head.length <= SHORT_MOST && head.is_final;
                return is_short.then_some(()).ok_or(Fault::Control);
            }
            Opcode::TEXT => return Err(Fault::Text),
            // Section 5.4.
            Opcode::BINARY if self.message.is_some() => return Err(Fault::Fragments),
            Opcode::CONTINUATION if self.message.is_none() => return Err(Fault::Fragments),
            Opcode::BINARY | Opcode::CONTINUATION => {}
            _ => return Err(Fault::Opcode),
        }
        let length = self.message.unwrap_or(0).saturating_add(head.length);
        if length > LONGEST_MESSAGE {
            return Err(Fault::TooLong);
        }
        self.message = Some(length);
        Ok(())
    }

    /// Takes note of octets of the frame's payload, which may be its last.
    fn take(&mut self, octets: usize, key: Option<Key>) {
        let Some(frame) = &mut self.frame else { return };
        frame.left = frame.left.saturating_sub(u64::try_from(octets).unwrap_or(u64::MAX));
        frame.head.key = key;
        if frame.left > 0 {
            return;
        }
        let head = frame.head;
        self.frame = None;
        match head.opcode {
            Opcode::PING => self.ping = Some(self.control.unmasked(head.key)),
            Opcode::CLOSE => self.end = Some(self.control.unmasked(head.key).close()),
            Opcode::PONG => {}
            _ if head.is_final => self.message = None,
            _ => {}
        }
    }
}

/// Moves `length` octets from `at` to `to`, which is not behind it, and unmasks them; gives the key for what follows.
fn unmask(octets: &mut [u8], at: usize, to: usize, length: usize, key: Option<Key>) -> Option<Key> {
    match key {
        None if at != to => {
            octets.copy_within(at..at + length, to);
            None
        }
        None => None,
        Some(mut key) if at == to => {
            key.mask(octets.get_mut(at..at + length).unwrap_or_default());
            Some(key)
        }
        Some(mut key) => {
            key.mask_down(octets.get_mut(to..at + length).unwrap_or_default(), at - to);
            Some(key)
        }
    }
}

impl Short {
    /// RFC 6455 section 5.5.
    pub(super) const MOST_BYTES: usize = 125;

    pub(super) const EMPTY: Self = Self { octets: [0; Self::MOST_BYTES], length: 0 };

    /// The payload of a Close.
    pub(super) fn of_close(number: Option<u16>) -> Self {
        let mut short = Self::EMPTY;
        if let Some(number) = number {
            short.extend(&number.to_be_bytes());
        }
        short
    }

    pub(super) fn octets(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }

    /// Adds what fits, which is all of a control frame.
    fn extend(&mut self, octets: &[u8]) {
        for (to, from) in self.octets.iter_mut().skip(self.length).zip(octets) {
            *to = *from;
            self.length += 1;
        }
    }

    fn unmasked(mut self, key: Option<Key>) -> Self {
        if let Some(mut key) = key {
            key.mask(&mut self.octets);
        }
        self
    }

    /// What a Close with this payload says (sections 5.5.1, 7.4).
    fn close(&self) -> End {
        let Some((number, reason)) = self.octets().split_first_chunk() else {
            return if self.length == 0 { End::Closed(None) } else { End::Broken(Fault::CloseCode) };
        };
        match u16::from_be_bytes(*number) {
            _ if std::str::from_utf8(reason).is_err() => End::Broken(Fault::CloseReason),
            number @ (1000..=1003 | 1007..=1014 | 3000..=4999) => End::Closed(Some(number)),
            _ => End::Broken(Fault::CloseCode),
        }
    }
}

impl std::fmt::Debug for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Short").field(&self.octets()).finish()
    }
}

/// The longest message taken, fragments together (`SPEC.md` section 15.1).
pub(super) const LONGEST_MESSAGE: u64 = 1024 * 1024;
const SHORT_MOST: u64 = 125;

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of octets that come in pieces of `most`: the messages' octets, the last ping, the end.
    fn decode(takes_masked: bool, octets: &[u8], most: usize) -> (Vec<u8>, Option<Vec<u8>>, Option<End>) {
        let mut decoder = Decoder::new(takes_masked);
        let mut all = Vec::new();
        for piece in octets.chunks(most) {
            let mut piece = piece.to_vec();
            let kept = decoder.decode(&mut piece);
            all.extend_from_slice(&piece[..kept]);
        }
        (all, decoder.take_ping().map(|ping| ping.octets().to_vec()), decoder.end())
    }

    fn end_of(octets: &[u8]) -> Option<End> {
        let at_once = decode(false, octets, octets.len());
        assert_eq!(decode(false, octets, 1), at_once, "{octets:02x?}");
        at_once.2
    }

    fn frame(opcode: Opcode, is_final: bool, key: Option<Key>, payload: &[u8]) -> Vec<u8> {
        let (mut head, mut payload) = ([0; Head::MOST_BYTES], payload.to_vec());
        let length = u64::try_from(payload.len()).unwrap();
        let used = Head { is_final, opcode, length, key }.encode(&mut head);
        if let Some(mut key) = key {
            key.mask(&mut payload);
        }
        [&head[..used], &payload].concat()
    }

    #[test]
    fn messages_come_out_however_they_are_cut_fragmented_and_masked() {
        let payload: Vec<u8> = (0..70_000_u32).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
        for key in [None, Some(Key([1, 2, 3, 250]))] {
            let mut octets = Vec::new();
            octets.extend(frame(Opcode::BINARY, true, key, &payload[..1]));
            octets.extend(frame(Opcode::PONG, true, key, b"nobody asked"));
            octets.extend(frame(Opcode::BINARY, false, key, &payload[1..300]));
            octets.extend(frame(Opcode::PING, true, key, b"first"));
            octets.extend(frame(Opcode::CONTINUATION, false, key, &[]));
            octets.extend(frame(Opcode::PING, true, key, b"last"));
            octets.extend(frame(Opcode::CONTINUATION, true, key, &payload[300..]));
            octets.extend(frame(Opcode::BINARY, true, key, &[]));
            let close = frame(Opcode::CLOSE, true, key, &[0x03, 0xe9, b'b', b'y', b'e']);
            octets.extend(close);
            octets.extend(frame(Opcode::BINARY, true, key, b"behind the end"));
            for most in [1, 2, 3, 5, 64, 1_000, octets.len()] {
                let (all, ping, end) = decode(key.is_some(), &octets, most);
                assert!(all == payload, "pieces of {most}");
                assert_eq!(ping.as_deref(), Some(&b"last"[..]));
                assert_eq!(end, Some(End::Closed(Some(1001))));
            }
        }
    }

    #[test]
    fn a_frame_that_breaks_a_rule_is_the_end() {
        let long = [&[0x82, 0x7f][..], &(LONGEST_MESSAGE + 1).to_be_bytes()].concat();
        let half = [&[0x02, 0x7f][..], &LONGEST_MESSAGE.to_be_bytes()].concat();
        let mut fragments = half.clone();
        fragments.resize(half.len() + usize::try_from(LONGEST_MESSAGE).unwrap(), 7);
        fragments.extend_from_slice(&[0x80, 0x01]);
        let table: &[(&[u8], Fault)] = &[
            (&[0xc2, 0x00], Fault::ReservedBits),
            (&[0x82, 0x80, 1, 2, 3, 4], Fault::Mask),
            (&[0x83, 0x00], Fault::Opcode),
            (&[0x8b, 0x00], Fault::Opcode),
            (&[0x81, 0x00], Fault::Text),
            (&[0x01, 0x01, b'a'], Fault::Text),
            (&[0x80, 0x00], Fault::Fragments),
            (&[0x02, 0x00, 0x82, 0x00], Fault::Fragments),
            (&[0x02, 0x00, 0x80, 0x00, 0x80, 0x00], Fault::Fragments),
            (&[0x09, 0x00], Fault::Control),
            (&[0x89, 0x7e, 0, 126], Fault::Control),
            (&[0x88, 0x7f, 0, 0, 0, 1, 0, 0, 0, 0], Fault::Control),
            (&[0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0], Fault::Length),
            (&long, Fault::TooLong),
            (&fragments, Fault::TooLong),
            (&[0x88, 0x01, 0x03], Fault::CloseCode),
            (&[0x88, 0x02, 0x03, 0xed], Fault::CloseCode),
            (&[0x88, 0x02, 0x00, 0x00], Fault::CloseCode),
            (&[0x88, 0x02, 0x13, 0x88], Fault::CloseCode),
            (&[0x88, 0x03, 0x03, 0xe8, 0xff], Fault::CloseReason),
        ];
        for (octets, fault) in table {
            assert_eq!(end_of(octets), Some(End::Broken(*fault)), "{:02x?}", &octets[..octets.len().min(20)]);
        }
        let unmasked = decode(true, &[0x82, 0x01, 0x00], 3);
        assert_eq!(unmasked, (vec![], None, Some(End::Broken(Fault::Mask))));
    }

    #[test]
    fn a_close_may_have_no_code_or_any_that_may_be_sent() {
        assert_eq!(end_of(&[0x88, 0x00]), Some(End::Closed(None)));
        for number in [1000_u16, 1003, 1007, 1014, 3000, 4999] {
            let [high, low] = number.to_be_bytes();
            assert_eq!(end_of(&[0x88, 0x02, high, low]), Some(End::Closed(Some(number))));
        }
        assert_eq!(end_of(&[0x82, 0x01, 0x00, 0x89, 0x00]), None);
    }
}
