//! The head of a frame, the mask, and what a frame may do wrong (RFC 6455 section 5).

use crate::Violation;

/// What a frame is. Open, since a peer may send any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opcode(u8);

impl Opcode {
    pub(super) const CONTINUATION: Self = Self(0x0);
    pub(super) const TEXT: Self = Self(0x1);
    pub(super) const BINARY: Self = Self(0x2);
    pub(super) const CLOSE: Self = Self(0x8);
    pub(super) const PING: Self = Self(0x9);
    pub(super) const PONG: Self = Self(0xa);

    /// Whether it may stand between the fragments of a message.
    pub(super) const fn is_control(self) -> bool {
        self.0 & 0x8 != 0
    }
}

/// The key of a mask, turned so that its first octet is for the next octet of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(pub(super) [u8; 4]);

impl Key {
    /// Masks `octets` where they lie, or unmasks them: it is the same.
    pub(super) fn mask(&mut self, octets: &mut [u8]) {
        let word = self.word();
        let length = octets.len();
        let (words, rest) = octets.as_chunks_mut::<8>();
        for octets in words {
            *octets = (u64::from_ne_bytes(*octets) ^ word).to_ne_bytes();
        }
        for (octet, key) in rest.iter_mut().zip(word.to_ne_bytes()) {
            *octet ^= key;
        }
        self.turn(length);
    }

    /// Masks `octets` on their way into `out`, which is as long.
    pub(super) fn mask_into(&mut self, out: &mut [u8], octets: &[u8]) {
        let word = self.word();
        let ((out_words, out_rest), (words, rest)) = (out.as_chunks_mut::<8>(), octets.as_chunks::<8>());
        for (out, octets) in out_words.iter_mut().zip(words) {
            *out = (u64::from_ne_bytes(*octets) ^ word).to_ne_bytes();
        }
        for ((out, octet), key) in out_rest.iter_mut().zip(rest).zip(word.to_ne_bytes()) {
            *out = octet ^ key;
        }
        self.turn(octets.len());
    }

    /// Masks all of `octets` but the first `by` and moves it down by so many, in one pass.
    pub(super) fn mask_down(&mut self, octets: &mut [u8], by: usize) {
        let word = self.word();
        let mut to = 0;
        while let Some(mut block) =
            octets.get(to + by..).and_then(|rest| rest.first_chunk::<BLOCK>()).copied()
        {
            let (words, _) = block.as_chunks_mut::<8>();
            for octets in words {
                *octets = (u64::from_ne_bytes(*octets) ^ word).to_ne_bytes();
            }
            if let Some(out) = octets.get_mut(to..).and_then(|out| out.first_chunk_mut()) {
                *out = block;
            }
            to += BLOCK;
        }
        let rest = to + by..octets.len().max(to + by);
        let length = rest.len();
        octets.copy_within(rest, to);
        self.mask(octets.get_mut(to..to + length).unwrap_or_default());
    }

    const fn word(self) -> u64 {
        let [a, b, c, d] = self.0;
        u64::from_ne_bytes([a, b, c, d, a, b, c, d])
    }

    fn turn(&mut self, octets: usize) {
        self.0.rotate_left(octets % 4);
    }
}

/// How much is moved at a time: a multiple of what repeats in a mask.
const BLOCK: usize = 64;

/// What stands before the payload of a frame.
///
/// ```text
/// 82 05                     final, binary, 5 octets
/// 82 fe 01 00 a1 b2 c3 d4   final, binary, 256 octets, masked with a1 b2 c3 d4
/// 89 00                     final, ping, nothing
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) is_final: bool,
    pub(super) opcode: Opcode,
    pub(super) length: u64,
    pub(super) key: Option<Key>,
}

impl Head {
    /// The longest: two octets, a length of eight, a key of four.
    pub(super) const MOST_BYTES: usize = 14;

    /// Reads the head at the front of `octets`, and says how long it is; `None` if more is needed.
    pub(super) fn decode(octets: &[u8]) -> Result<Option<(Self, usize)>, Fault> {
        let Some(([first, second], rest)) = octets.split_first_chunk() else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(Fault::ReservedBits);
        }
        let Some((length, rest)) = length(second & 0x7f, rest)? else { return Ok(None) };
        let (key, rest) = match second & 0x80 {
            0 => (None, rest),
            _ => match rest.split_first_chunk() {
                Some((key, rest)) => (Some(Key(*key)), rest),
                None => return Ok(None),
            },
        };
        let head = Self { is_final: first & 0x80 != 0, opcode: Opcode(first & 0x0f), length, key };
        Ok(Some((head, octets.len() - rest.len())))
    }

    /// Writes it to the front of `out`; says how long it is.
    pub(super) fn encode(&self, out: &mut [u8; Self::MOST_BYTES]) -> usize {
        let masked = if self.key.is_some() { 0x80 } else { 0 };
        out[0] = if self.is_final { 0x80 } else { 0 } | self.opcode.0;
        let (short, wide) = (u8::try_from(self.length), u16::try_from(self.length));
        let used = match (short, wide) {
            (Ok(length @ ..126), _) => {
                out[1] = masked | length;
                2
            }
            (_, Ok(length)) => {
                out[1] = masked | 126;
                out[2..4].copy_from_slice(&length.to_be_bytes());
                4
            }
            (_, Err(_)) => {
                out[1] = masked | 127;
                out[2..10].copy_from_slice(&self.length.to_be_bytes());
                10
            }
        };
        let Some(Key(key)) = self.key else { return used };
        out[used..used + 4].copy_from_slice(&key);
        used + 4
    }
}

/// The length of the payload, and what is behind it; `None` if more is needed.
fn length(short: u8, octets: &[u8]) -> Result<Option<(u64, &[u8])>, Fault> {
    let (length, rest, least) = match short {
        126 => match octets.split_first_chunk() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest, 126),
            None => return Ok(None),
        },
        127 => match octets.split_first_chunk() {
            Some((length, rest)) => (u64::from_be_bytes(*length), rest, 0x1_0000),
            None => return Ok(None),
        },
        short => (u64::from(short), octets, 0),
    };
    // Section 5.2: in as few octets as it needs, and the highest bit is 0.
    if length < least || length >> 63 != 0 {
        return Err(Fault::Length);
    }
    Ok(Some((length, rest)))
}

/// A rule that the peer broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Text,
    TooLong,
    ReservedBits,
    Opcode,
    Mask,
    Length,
    Control,
    Fragments,
    CloseCode,
    CloseReason,
}

impl Fault {
    /// The code of the Close that tells the peer (RFC 6455 section 7.4.1).
    pub(super) const fn close_number(self) -> u16 {
        match self {
            Self::Text => 1003,
            Self::CloseReason => 1007,
            Self::TooLong => 1009,
            Self::ReservedBits
            | Self::Opcode
            | Self::Mask
            | Self::Length
            | Self::Control
            | Self::Fragments
            | Self::CloseCode => 1002,
        }
    }

    pub(super) const fn violation(self) -> Violation {
        let rule = match self {
            Self::Text => return Violation::TextMessage,
            Self::TooLong => return Violation::MessageTooLong,
            Self::ReservedBits => "reserved bits are 0",
            Self::Opcode => "the opcode is a known one",
            Self::Mask => "frames of the client are masked, those of the server aren't",
            Self::Length => "a length is as short as it can be",
            Self::Control => "a control frame is whole, and no longer than 125 octets",
            Self::Fragments => "a message is continued to its end",
            Self::CloseCode => "a Close has a code that may be sent",
            Self::CloseReason => "the reason in a Close is UTF-8",
        };
        Violation::MessageFrame { rule }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The heads of RFC 6455 section 5.7, and the edges of the three lengths.
    #[test]
    fn heads_are_these_octets() {
        let key = Some(Key([0x37, 0xfa, 0x21, 0x3d]));
        let (binary, ping) = (Opcode::BINARY, Opcode::PING);
        type Row = (Opcode, bool, u64, Option<Key>, &'static [u8]);
        let table: &[Row] = &[
            (Opcode::TEXT, true, 5, None, &[0x81, 0x05]),
            (Opcode::TEXT, true, 5, key, &[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d]),
            (Opcode::TEXT, false, 3, None, &[0x01, 0x03]),
            (Opcode::CONTINUATION, true, 2, None, &[0x80, 0x02]),
            (ping, true, 5, None, &[0x89, 0x05]),
            (Opcode::PONG, true, 5, key, &[0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d]),
            (binary, true, 125, None, &[0x82, 0x7d]),
            (binary, true, 126, None, &[0x82, 0x7e, 0x00, 0x7e]),
            (binary, true, 256, None, &[0x82, 0x7e, 0x01, 0x00]),
            (binary, true, 65_535, key, &[0x82, 0xfe, 0xff, 0xff, 0x37, 0xfa, 0x21, 0x3d]),
            (binary, true, 65_536, None, &[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]),
            (Opcode::CLOSE, true, 0, None, &[0x88, 0x00]),
        ];
        for (opcode, is_final, length, key, octets) in table {
            let head = Head { is_final: *is_final, opcode: *opcode, length: *length, key: *key };
            let mut out = [0; Head::MOST_BYTES];
            let used = head.encode(&mut out);
            assert_eq!(&out[..used], *octets);
            assert_eq!(Head::decode(octets), Ok(Some((head, octets.len()))));
            for cut in 0..octets.len() {
                assert_eq!(Head::decode(&octets[..cut]), Ok(None), "{octets:02x?} cut at {cut}");
            }
        }
    }

    #[test]
    fn heads_that_break_a_rule_are_told_by_it() {
        for bits in [0x40, 0x20, 0x10] {
            assert_eq!(Head::decode(&[0x82 | bits, 0]), Err(Fault::ReservedBits));
        }
        let lengths: &[&[u8]] = &[
            &[0x82, 0x7e, 0, 125],
            &[0x82, 0x7f, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
            &[0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0],
            &[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4],
        ];
        for octets in lengths {
            assert_eq!(Head::decode(octets), Err(Fault::Length), "{octets:02x?}");
        }
    }

    #[test]
    fn masks_are_the_same_however_octets_are_cut() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let plain: Vec<u8> = (0..100).collect();
        let expected: Vec<u8> =
            plain.iter().zip(key.iter().cycle()).map(|(octet, key)| octet ^ key).collect();
        for cut in 0..=plain.len() {
            let (mut turned, mut in_place) = (Key(key), plain.clone());
            let (first, second) = in_place.split_at_mut(cut);
            turned.mask(first);
            turned.mask(second);
            assert_eq!(in_place, expected);
            let (mut turned, mut copied) = (Key(key), vec![0; plain.len()]);
            let (first, second) = copied.split_at_mut(cut);
            turned.mask_into(first, &plain[..cut]);
            turned.mask_into(second, &plain[cut..]);
            assert_eq!(copied, expected);
            let (mut turned, mut moved) = (Key(key), [vec![0; cut], plain.clone()].concat());
            turned.mask_down(&mut moved, cut);
            assert_eq!(&moved[..plain.len()], expected);
        }
    }
}
