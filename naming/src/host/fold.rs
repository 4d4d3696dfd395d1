//! A domain folded and checked sixteen octets at a time.

use crate::label::MAX_LABEL;

/// Folds a domain into `room` if it is a good one: no empty label, no hyphen at the edge of one, none of more than 63
/// octets, and nothing but letters, digits, underscores, hyphens and dots. `None` otherwise, or if it is empty or longer than
/// the room.
///
/// It says so without a branch on any octet, which the compiler makes vector code of, since the hosts of visitors are
/// nearly always good. What is wrong with the others is for another to find out. Each block is read from the text and written
/// as a whole, since processors wait where a read needs what several recent writes left.
#[inline]
pub(super) fn fold(text: &[u8], room: &mut [[u8; BLOCK]]) -> Option<Folded> {
    let [first, .., last] = text else { return fold_octet(*text.first()?, room) };
    let whole = (text.len() - 1) / BLOCK;
    if is_edge(*first) || is_edge(*last) {
        return None;
    }
    let mut seen = Seen::nothing();
    let (room, rest) = room.split_at_mut_checked(whole)?;
    for (at, room) in room.iter_mut().enumerate() {
        let octets = text.get(at * BLOCK..)?;
        *room = seen.fold(*octets.first_chunk()?, *octets.get(1..)?.first_chunk()?);
    }
    let end = ending(text);
    *rest.first_mut()? = seen.fold(end.to_le_bytes(), behind(end).to_le_bytes());
    seen.verdict(text)
}

/// A good domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Folded {
    /// Where the first label ends.
    pub(super) first_dot: u8,
    /// Whether there is an underscore, or a hyphen behind another: no tunnel's name has these.
    pub(super) is_odd: bool,
}

/// What was seen in the blocks so far, for each place of a block apart.
struct Seen {
    flags: [u8; BLOCK],
    /// The first dot at such a place.
    dots: [u8; BLOCK],
    /// The places of the next block.
    places: [u8; BLOCK],
}

impl Seen {
    #[inline]
    fn nothing() -> Self {
        let places = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
        Self { flags: [0; BLOCK], dots: [u8::MAX; BLOCK], places }
    }

    /// A block in small letters; `next` are the octets one place on.
    #[inline]
    fn fold(&mut self, octets: [u8; BLOCK], next: [u8; BLOCK]) -> [u8; BLOCK] {
        let mut folded = [0; BLOCK];
        for at in 0..BLOCK {
            let (small, flag) = octet(octets[at], next[at]);
            folded[at] = small;
            self.flags[at] |= flag;
            self.dots[at] = self.dots[at].min(if small == b'.' { self.places[at] } else { u8::MAX });
            self.places[at] = self.places[at].wrapping_add(BLOCK_STEP);
        }
        folded
    }

    #[inline]
    fn verdict(&self, text: &[u8]) -> Option<Folded> {
        let flags = u128::from_le_bytes(self.flags);
        if flags & u128::from_le_bytes([BROKEN; BLOCK]) != 0 {
            return None;
        }
        let first_dot = self.dots.iter().fold(u8::MAX, |first, dot| first.min(*dot));
        let first_dot = usize::from(first_dot).min(text.len());
        let has_long_label = || text.split(|octet| *octet == b'.').any(|label| label.len() > MAX_LABEL);
        if first_dot > MAX_LABEL || text.len() - first_dot > MAX_LABEL + 1 && has_long_label() {
            return None;
        }
        let is_odd = flags & u128::from_le_bytes([ODD; BLOCK]) != 0;
        Some(Folded { first_dot: u8::try_from(first_dot).ok()?, is_odd })
    }
}

/// A domain of one octet.
#[cold]
fn fold_octet(only: u8, room: &mut [[u8; BLOCK]]) -> Option<Folded> {
    let (small, flag) = octet(only, PAD);
    room.first_mut()?[0] = small;
    (!is_edge(only) && flag & BROKEN == 0).then_some(Folded { first_dot: 1, is_odd: flag & ODD != 0 })
}

/// The last block, which has 1 to 16 octets of the text, and letters behind them.
#[inline]
fn ending(text: &[u8]) -> u128 {
    let rest = (text.len() - 1) % BLOCK + 1;
    let octets = match text.last_chunk() {
        Some(block) => u128::from_le_bytes(*block) >> bits(BLOCK - rest),
        None => text.iter().rfold(0, |octets, octet| octets << 8 | u128::from(*octet)),
    };
    octets | u128::from_le_bytes([PAD; BLOCK]).checked_shl(bits(rest)).unwrap_or(0)
}

/// The octets of a last block one place on.
#[inline]
fn behind(end: u128) -> u128 {
    end >> 8 | u128::from(PAD) << 120
}

#[inline]
fn bits(octets: usize) -> u32 {
    u32::try_from(octets * 8).unwrap_or(u32::MAX)
}

/// An octet in small letters, and what is to be said of it before the next one.
#[inline]
const fn octet(octet: u8, next: u8) -> (u8, u8) {
    let small = octet | 0x20;
    let is_letter = small.wrapping_sub(b'a') < 26;
    let is_digit = octet.wrapping_sub(b'0') < 10;
    let (is_dot, is_hyphen, is_underscore) = (octet == b'.', octet == b'-', octet == b'_');
    let is_good = is_letter | is_digit | is_dot | is_hyphen | is_underscore;
    let is_broken = !is_good | is_dot & is_edge(next) | is_hyphen & (next == b'.');
    let is_odd = is_underscore | is_hyphen & (next == b'-');
    let flag = if is_broken { BROKEN } else { 0 } | if is_odd { ODD } else { 0 };
    (if is_letter { small } else { octet }, flag)
}

/// What can't stand at the edge of a domain, or behind a dot.
#[inline]
const fn is_edge(octet: u8) -> bool {
    octet == b'.' || octet == b'-'
}

const BROKEN: u8 = 1;
const ODD: u8 = 2;

/// What stands behind the end: good beside anything.
const PAD: u8 = b'a';

/// Octets that are looked at together.
pub(super) const BLOCK: usize = 16;
const BLOCK_STEP: u8 = 16;

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    const ROOM: [[u8; BLOCK]; 16] = [[0; BLOCK]; 16];

    #[test]
    fn each_octet_is_what_the_plain_words_say_at_each_place() {
        for length in [1, 2, 15, 16, 17, 18, 31, 32, 33, 34, 48, 63] {
            for (place, octet) in (0..length).flat_map(|place| (0..=u8::MAX).map(move |octet| (place, octet)))
            {
                let mut text = vec![b'Z'; length];
                text[place] = octet;
                let is_inner = place > 0 && place + 1 < length;
                let may_stand = octet.is_ascii_alphanumeric() || octet == b'_' || is_inner && is_edge(octet);
                let mut room = ROOM;
                let first_dot = if octet == b'.' { place } else { length };
                let expected = Folded { first_dot: u8::try_from(first_dot).unwrap(), is_odd: octet == b'_' };
                assert_eq!(
                    fold(&text, &mut room),
                    may_stand.then_some(expected),
                    "{octet} at {place} of {length}"
                );
                if may_stand {
                    assert_eq!(room.as_flattened()[..length], text.to_ascii_lowercase());
                }
            }
        }
    }

    #[test]
    fn neighbours_are_seen_wherever_they_stand() {
        for (pair, is_good, is_odd) in
            [(b"..", false, false), (b".-", false, false), (b"-.", false, false), (b"--", true, true)]
        {
            for length in [4, 17, 18, 33, 34, 63] {
                for place in 1..length - 2 {
                    let mut text = vec![b'a'; length];
                    text[place..place + 2].copy_from_slice(pair);
                    let folded = fold(&text, &mut ROOM.clone());
                    assert_eq!(
                        folded.map(|folded| folded.is_odd),
                        is_good.then_some(is_odd),
                        "{pair:?} at {place}"
                    );
                }
            }
        }
    }

    #[test]
    fn labels_and_domains_have_their_longest() {
        let mut room = ROOM;
        assert_eq!(fold(b"", &mut room), None);
        let label = [b'a'; 63];
        let longest = [&label[..], &label, &label, &label[..61]].join(&b'.');
        assert_eq!(fold(&longest, &mut room).unwrap().first_dot, 63);
        assert_eq!(fold(&[&longest[..], b"abcd"].concat(), &mut room), None, "longer than the room");
        assert_eq!(fold(&[b'a'; 64], &mut room), None);
        assert_eq!(fold(&[b"b.", &[b'a'; 64][..], b".c"].concat(), &mut room), None);
    }
}
