use std::collections::BTreeMap;
use std::ops::Range;

use super::InitialRefusal;

/// The CRYPTO stream of a client, put together from pieces in any order (RFC 9000 §19.6).
///
/// Bytes lie in pages that are made when the first byte of them arrives, so that a single byte at a far offset costs a
/// page and not the space before it. Each byte received is written or compared once.
#[derive(Debug)]
pub(super) struct CryptoStream {
    limit_bytes: usize,
    /// At most `limit_bytes / PAGE_BYTES + 1` pages, and no more than `MAX_PIECES` of them beyond those that are full.
    pages: BTreeMap<usize, Box<[u8; PAGE_BYTES]>>,
    /// What has arrived: in order, apart from each other, none empty. At most `MAX_PIECES`, then the stream is refused.
    pieces: Vec<Range<usize>>,
}

impl CryptoStream {
    pub(super) const fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, pages: BTreeMap::new(), pieces: Vec::new() }
    }

    /// Takes `data` at `offset`. After an error the stream is of no more use.
    pub(super) fn insert(&mut self, offset: u64, data: &[u8]) -> Result<(), InitialRefusal> {
        let piece = self.checked_piece(offset, data.len())?;
        if piece.is_empty() {
            return Ok(());
        }
        // The pieces that touch the new one, those that only border on it included.
        let first = self.pieces.partition_point(|known| known.end < piece.start);
        let last = self.pieces.partition_point(|known| known.start <= piece.end);
        let touched = self.pieces.get(first..last).unwrap_or_default();
        if !touched.iter().all(|known| self.agrees(known, piece.start, data)) {
            return Err(InitialRefusal::CryptoConflict { offset: piece.start });
        }
        let start = touched.first().map_or(piece.start, |known| known.start.min(piece.start));
        let end = touched.last().map_or(piece.end, |known| known.end.max(piece.end));
        if self.pieces.len() - touched.len() >= MAX_PIECES {
            return Err(InitialRefusal::TooManyPieces { limit: MAX_PIECES });
        }
        self.pieces.splice(first..last, std::iter::once(start..end));
        self.write(piece.start, data);
        Ok(())
    }

    /// How many bytes there are from offset 0 without a gap.
    pub(super) fn contiguous_bytes(&self) -> usize {
        self.pieces.first().filter(|piece| piece.start == 0).map_or(0, |piece| piece.end)
    }

    /// Copies out `range`, of which every byte must have arrived.
    pub(super) fn read(&self, range: Range<usize>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(range.len());
        let mut at = range.start;
        while at < range.end {
            let (page, inside) = place(at, range.end - at);
            let slice = self.pages.get(&page).and_then(|page| page.get(inside.clone()));
            bytes.extend_from_slice(slice.unwrap_or_default());
            at += inside.len();
        }
        bytes
    }

    /// Where every stream must end.
    pub(super) const fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// What the stream holds of memory, in whole pages.
    pub(super) fn memory_bytes(&self) -> usize {
        self.pages.len() * PAGE_BYTES
    }

    /// Checks the end before anything is kept: an offset may say 2^62.
    fn checked_piece(&self, offset: u64, bytes: usize) -> Result<Range<usize>, InitialRefusal> {
        let length = u64::try_from(bytes).ok();
        let end = length.and_then(|length| offset.checked_add(length));
        let limit_bytes = self.limit_bytes;
        let too_far = InitialRefusal::CryptoTooFar { end: end.unwrap_or(u64::MAX), limit_bytes };
        let start = usize::try_from(offset).map_err(|_| too_far)?;
        let end = end.and_then(|end| usize::try_from(end).ok()).ok_or(too_far)?;
        if end > limit_bytes { Err(too_far) } else { Ok(start..end) }
    }

    /// Whether the bytes in `known` are those of `data`, as far as both reach.
    fn agrees(&self, known: &Range<usize>, start: usize, data: &[u8]) -> bool {
        let end = start + data.len();
        let mut at = known.start.max(start);
        let end = known.end.min(end);
        while at < end {
            let (page, inside) = place(at, end - at);
            let ours = self.pages.get(&page).and_then(|page| page.get(inside.clone()));
            if ours != data.get(at - start..at - start + inside.len()) {
                return false;
            }
            at += inside.len();
        }
        true
    }

    fn write(&mut self, start: usize, data: &[u8]) {
        let mut at = start;
        let mut rest = data;
        while !rest.is_empty() {
            let (page, inside) = place(at, rest.len());
            let (head, tail) = rest.split_at_checked(inside.len()).unwrap_or_default();
            let page = self.pages.entry(page).or_insert_with(|| Box::new([0; PAGE_BYTES]));
            if let Some(slot) = page.get_mut(inside) {
                slot.copy_from_slice(head);
            }
            at += head.len();
            rest = tail;
        }
    }
}

/// The page of offset `at`, and which part of it the next `bytes` bytes take, up to its end.
fn place(at: usize, bytes: usize) -> (usize, Range<usize>) {
    let inside = at % PAGE_BYTES;
    (at / PAGE_BYTES, inside..PAGE_BYTES.min(inside.saturating_add(bytes)))
}

/// Chrome cuts a hello into about 30 pieces; nobody sensible leaves so many gaps (case Q-10).
pub(super) const MAX_PIECES: usize = 64;
const PAGE_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pieces_merge_over_page_borders() {
        let message: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let mut stream = CryptoStream::new(65_535);
        for start in [300_u16, 900, 0, 600] {
            let piece = &message[start.into()..1000.min(usize::from(start) + 300)];
            stream.insert(start.into(), piece).unwrap();
        }
        assert_eq!(stream.contiguous_bytes(), 1000);
        assert_eq!(stream.read(0..1000), message);
        assert_eq!(stream.pieces.len(), 1);
        assert_eq!(stream.memory_bytes(), 1024);
    }

    #[test]
    fn a_conflict_is_found_in_any_of_the_pieces() {
        let mut stream = CryptoStream::new(100);
        stream.insert(0, b"abc").unwrap();
        stream.insert(6, b"ghi").unwrap();
        assert_eq!(stream.insert(1, b"bcdefgH"), Err(InitialRefusal::CryptoConflict { offset: 1 }));
        assert_eq!(stream.insert(2, b"Cdef"), Err(InitialRefusal::CryptoConflict { offset: 2 }));
        assert_eq!(stream.insert(3, b"def"), Ok(()));
        assert_eq!(stream.read(0..9), b"abcdefghi");
    }

    #[test]
    fn far_offsets_cost_nothing() {
        let mut stream = CryptoStream::new(65_535);
        for offset in [65_535, 1 << 40, (1 << 62) - 1, u64::MAX] {
            let refused = stream.insert(offset, b"a").unwrap_err();
            assert!(matches!(refused, InitialRefusal::CryptoTooFar { limit_bytes: 65_535, .. }), "{offset}");
        }
        assert_eq!(stream.memory_bytes(), 0);
        stream.insert(65_534, b"a").unwrap();
        assert_eq!(stream.memory_bytes(), PAGE_BYTES);
    }

    proptest! {
        /// Against the plainest model: an array of bytes that may be known.
        #[test]
        fn agrees_with_an_array(pieces in prop::collection::vec((0_u16..700, 0_u16..300), 1..40)) {
            let message: Vec<u8> = (0..1000_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let mut model = [false; 1000];
            let mut stream = CryptoStream::new(1000);
            for (start, length) in pieces {
                let (start, end) = (usize::from(start), usize::from(start + length));
                prop_assert_eq!(stream.insert(start.try_into().unwrap(), &message[start..end]), Ok(()));
                model[start..end].fill(true);
                let prefix = model.iter().take_while(|known| **known).count();
                prop_assert_eq!(stream.contiguous_bytes(), prefix);
                prop_assert_eq!(stream.read(0..prefix), &message[..prefix]);
                let runs = model.chunk_by(|a, b| a == b).filter(|run| run[0]).count();
                prop_assert_eq!(stream.pieces.len(), runs);
            }
        }
    }
}
