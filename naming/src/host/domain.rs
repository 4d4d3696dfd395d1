//! The canonical text of a host, in the host itself unless it is uncommonly long.

use alloc::boxed::Box;

use super::fold::{BLOCK, Folded, fold};
use crate::zone::MAX_DOMAIN;

/// Room for a canonical domain of at most [`Room::OCTETS`] octets, in a host itself.
///
/// It is aligned and filled in whole blocks: who moves a host just made reads back blocks as they were written, for which
/// processors need not wait.
// Invariant: all octets are ASCII.
#[derive(Clone, Copy)]
#[repr(align(16))]
pub(super) struct Room([[u8; BLOCK]; BLOCKS]);

impl Room {
    pub(super) const EMPTY: Self = Self([[0; BLOCK]; BLOCKS]);

    /// A label of 63, a dot, and a zone of 32.
    pub(super) const OCTETS: usize = BLOCK * BLOCKS;

    /// Takes the canonical form of `name`; `None` if it is no good domain, or too long.
    #[inline]
    pub(super) fn fold(&mut self, name: &[u8]) -> Option<Folded> {
        fold(name, &mut self.0)
    }

    /// The first `len` octets.
    #[inline]
    pub(super) fn as_str(&self, len: u8) -> &str {
        ascii(self.0.as_flattened(), usize::from(len))
    }
}

/// The canonical form of a domain that is too long for a [`Room`]; `None` if it is no good one.
#[cold]
pub(super) fn fold_long(name: &[u8]) -> Option<(Box<str>, Folded)> {
    if name.len() > MAX_DOMAIN {
        return None;
    }
    let mut room = [[0; BLOCK]; MAX_DOMAIN.div_ceil(BLOCK)];
    let folded = fold(name, &mut room)?;
    Some((ascii(room.as_flattened(), name.len()).into(), folded))
}

#[inline]
fn ascii(octets: &[u8], len: usize) -> &str {
    // Whole blocks are checked several octets at a time; those behind the end are cut off again.
    core::str::from_utf8(&octets[..len.next_multiple_of(BLOCK)])
        .ok()
        .and_then(|text| text.get(..len))
        .expect("only ASCII was stored")
}

const BLOCKS: usize = 6;

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::super::{Host, HostError, HostSource};
    use super::*;

    #[test]
    fn text_of_each_length_comes_back() {
        for length in 1..=MAX_DOMAIN {
            let text: String = "aB9.".chars().cycle().take(length - 1).chain(['z']).collect();
            let host = Host::parse(text.as_bytes(), HostSource::Sni).unwrap();
            assert_eq!(host.domain(), Some(&*text.to_ascii_lowercase()));
            assert_eq!(host.split_first_label().map(|(label, _)| label), (length > 4).then_some("ab9"));
            let mut room = Room::EMPTY;
            assert_eq!(room.fold(text.as_bytes()).is_some(), length <= Room::OCTETS);
            assert_eq!(fold_long(text.as_bytes()).unwrap().0, text.to_ascii_lowercase().into());
        }
    }

    #[test]
    fn a_host_is_128_octets() {
        assert_eq!(size_of::<Host>(), 128);
        assert_eq!(size_of::<Result<Host, HostError>>(), 128);
    }
}
