//! A domain folded and checked sixteen octets at a time.

use crate::{label::MAX_LABEL, zone::MAX_DOMAIN};

/// Folds a domain into `room` if it is a good one: no empty label, no hyphen at the edge of one, none of more than 63
/// octets, and nothing but letters, digits, underscores, hyphens and dots. `None` otherwise, or if it is empty or too long.
///
/// It says so without a branch on any octet, which the compiler makes vector code of, since the hosts of visitors are
/// nearly always good. What is wrong with the others is for another to find out.
#[inline]
pub(super) fn fold(text: &[u8], room: &mut [u8; ROOM]) -> Option<Folded> {
    let (last, before) = text.split_last()?;
    if text.len() > MAX_DOMAIN || is_edge(*text.first()?) || is_edge(*last) {
        return None;
    }
    let mut flags = [0; WIDTH];
    match before.len().checked_sub(WIDTH) {
        Some(end) => {
            // The last window may overlap the one before, which changes nothing.
            for at in (0..end).step_by(WIDTH).chain([end]) {
                window(
                    text.get(at..)?.first_chunk()?,
                    text.get(at + 1..)?.first_chunk()?,
                    room.get_mut(at..)?.first_chunk_mut()?,
                    &mut flags,
                );
            }
        }
        None => {
            for ((pair, room), flags) in text.windows(2).zip(room.iter_mut()).zip(&mut flags) {
                let (small, flag) = octet(pair[0], pair[1]);
                (*room, *flags) = (small, flag);
            }
        }
    }
    let (small, flag) = octet(*last, b'a');
    *room.get_mut(before.len())? = small;
    let flags = flags.iter().fold(flag, |all, flag| all | flag);
    if flags & BROKEN != 0 {
        return None;
    }
    let folded = room.get(..text.len())?;
    let first_dot = first_dot(room, text.len());
    if text.len() > MAX_LABEL && folded.split(|octet| *octet == b'.').any(|label| label.len() > MAX_LABEL) {
        return None;
    }
    Some(Folded { len: text.len(), first_dot, is_odd: flags & ODD != 0 })
}

/// A good domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Folded {
    pub(super) len: usize,
    /// Where the first label ends.
    pub(super) first_dot: usize,
    /// Whether there is an underscore, or a hyphen behind another: no tunnel's name has these.
    pub(super) is_odd: bool,
}

#[inline]
fn window(octets: &[u8; WIDTH], next: &[u8; WIDTH], room: &mut [u8; WIDTH], flags: &mut [u8; WIDTH]) {
    for at in 0..WIDTH {
        let (small, flag) = octet(octets[at], next[at]);
        room[at] = small;
        flags[at] |= flag;
    }
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

/// Where the first dot stands, eight octets at a time; `len` if it has none.
#[inline]
fn first_dot(room: &[u8; ROOM], len: usize) -> usize {
    let mut at = 0;
    for octets in room.as_chunks().0 {
        let others = u64::from_le_bytes(*octets) ^ u64::from_le_bytes([b'.'; 8]);
        // The lowest high bit is that of the first octet which is zero (the ones above it may be anything's).
        let zero = others.wrapping_sub(u64::from_le_bytes([1; 8])) & !others & u64::from_le_bytes([0x80; 8]);
        if zero != 0 {
            return len.min(at + usize::try_from(zero.trailing_zeros() / 8).unwrap_or(0));
        }
        at += 8;
        if at >= len {
            break;
        }
    }
    len
}

const BROKEN: u8 = 1;
const ODD: u8 = 2;

/// Octets that are looked at together.
const WIDTH: usize = 16;

/// Room for every domain, in whole vectors.
pub(super) const ROOM: usize = 256;

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn each_octet_is_what_the_plain_words_say_at_each_place() {
        for length in [1, 2, 15, 16, 17, 18, 31, 32, 33, 34, 48, 63] {
            for (place, octet) in (0..length).flat_map(|place| (0..=u8::MAX).map(move |octet| (place, octet)))
            {
                let mut text = vec![b'Z'; length];
                text[place] = octet;
                let is_inner = place > 0 && place + 1 < length;
                let may_stand = octet.is_ascii_alphanumeric() || octet == b'_' || is_inner && is_edge(octet);
                let mut room = [0; ROOM];
                let first_dot = if octet == b'.' { place } else { length };
                let expected = Folded { len: length, first_dot, is_odd: octet == b'_' };
                assert_eq!(
                    fold(&text, &mut room),
                    may_stand.then_some(expected),
                    "{octet} at {place} of {length}"
                );
                if may_stand {
                    assert_eq!(room[..length], text.to_ascii_lowercase());
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
                    let folded = fold(&text, &mut [0; ROOM]);
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
        let mut room = [0; ROOM];
        assert_eq!(fold(b"", &mut room), None);
        let label = [b'a'; 63];
        let longest = [&label[..], &label, &label, &label[..61]].join(&b'.');
        assert_eq!(fold(&longest, &mut room).unwrap().first_dot, 63);
        assert_eq!(fold(&[&longest[..], b"a"].concat(), &mut room), None);
        assert_eq!(fold(&[b'a'; 64], &mut room), None);
        assert_eq!(fold(&[b"b.", &[b'a'; 64][..], b".c"].concat(), &mut room), None);
    }
}
