//! Which deliveries came before.

use std::collections::{BTreeSet, VecDeque};

use sha2::{Digest, Sha256};

/// The last deliveries by the digests of their ids, so that an id of any length takes 32 bytes.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    capacity: usize,
    /// The same digests as `known`, oldest first; at most `capacity`.
    order: VecDeque<[u8; 32]>,
    known: BTreeSet<[u8; 32]>,
}

impl Memory {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, order: VecDeque::new(), known: BTreeSet::new() }
    }

    /// Whether the delivery came before; from now on it did.
    pub(super) fn is_known(&mut self, id: &[u8]) -> bool {
        let digest = Sha256::digest(id).into();
        if !self.known.insert(digest) {
            return true;
        }
        self.order.push_back(digest);
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut memory = Memory::new(2);
        assert!(!memory.is_known(b"a"));
        assert!(!memory.is_known(b"b"));
        assert!(memory.is_known(b"a"));
        assert!(!memory.is_known(b"c"));
        assert!(!memory.is_known(b"a"), "forgotten when c came");
        assert_eq!((memory.order.len(), memory.known.len()), (2, 2));
    }
}
