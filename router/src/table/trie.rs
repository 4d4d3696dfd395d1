//! A persistent hash trie: a map whose clones share all that did not change.

use std::sync::Arc;

/// A map from 64-bit hashes to values, 64 ways wide at each level, cloned in constant time.
///
/// The trie keeps no keys: a caller gives the hash of a key and a question that recognises the key's value. Changing a
/// clone copies the nodes on one path (three at a million values) and shares the rest with the original.
///
/// ```text
///   bits 0..6      bits 6..12     bits 12..18
///   ┌─┬─┬─┬─┐      ┌─┬─┬─┐        ┌─┬─┐
///   │ │●│ │●│─────▶│ │●│ │───────▶│●│●│─▶ value      absent slots take no room: a bitmap says which are there
///   └─┴─┴─┴─┘      └─┴─┴─┘        └─┴─┘
/// ```
#[derive(Debug)]
pub(crate) struct Trie<V> {
    root: Node<V>,
}

impl<V: Clone> Trie<V> {
    pub(crate) fn new() -> Self {
        Self { root: Node::empty() }
    }

    /// Puts `value` where `is_it` recognises the one that it replaces, and returns that one.
    pub(crate) fn insert(&mut self, hash: u64, value: V, is_it: impl Fn(&V) -> bool) -> Option<V> {
        self.root.insert(0, Leaf { hash, value }, &is_it)
    }

    /// Takes out the value that `is_it` recognises. A miss copies nothing.
    pub(crate) fn remove(&mut self, hash: u64, is_it: impl Fn(&V) -> bool) -> Option<V> {
        self.get(hash, &is_it)?;
        self.root.remove(0, hash, &is_it)
    }

    /// The value with this hash that `is_it` recognises.
    #[inline]
    pub(crate) fn get(&self, hash: u64, is_it: impl Fn(&V) -> bool) -> Option<&V> {
        let mut node = &self.root;
        let mut shift = 0;
        while shift < HASH_BITS {
            match node.slots.get(node.position(hash, shift)?)? {
                Slot::Branch(next) => node = next,
                Slot::Leaf(leaf) => return leaf.is(hash, &is_it).then_some(&leaf.value),
            }
            shift += LEVEL_BITS;
        }
        node.slots.iter().filter_map(Slot::leaf).find(|leaf| leaf.is(hash, &is_it)).map(|leaf| &leaf.value)
    }

    /// Calls `visit` with each value, in the order of the hashes' bits.
    pub(crate) fn for_each(&self, visit: &mut impl FnMut(&V)) {
        self.root.for_each(visit);
    }
}

impl<V> Clone for Trie<V> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone() }
    }
}

/// One level. Invariant above the last level: `slots.len() == bitmap.count_ones()`. Below it, where the hash has no
/// bits left, `bitmap` is unused and `slots` is a plain list of the leaves whose hashes are equal.
#[derive(Debug)]
struct Node<V> {
    bitmap: u64,
    slots: Arc<[Slot<V>]>,
}

#[derive(Clone, Debug)]
enum Slot<V> {
    Branch(Node<V>),
    Leaf(Leaf<V>),
}

#[derive(Clone, Debug)]
struct Leaf<V> {
    hash: u64,
    value: V,
}

impl<V: Clone> Node<V> {
    fn empty() -> Self {
        Self { bitmap: 0, slots: Arc::default() }
    }

    fn insert(&mut self, shift: u32, leaf: Leaf<V>, is_it: &impl Fn(&V) -> bool) -> Option<V> {
        if shift >= HASH_BITS {
            return self.insert_equal_hash(leaf, is_it);
        }
        let Some(index) = self.position(leaf.hash, shift) else {
            self.insert_slot(shift, leaf);
            return None;
        };
        let slot = Arc::make_mut(&mut self.slots).get_mut(index)?;
        match slot {
            Slot::Branch(next) => next.insert(shift + LEVEL_BITS, leaf, is_it),
            Slot::Leaf(found) if found.is(leaf.hash, is_it) => {
                Some(std::mem::replace(&mut found.value, leaf.value))
            }
            Slot::Leaf(found) => {
                *slot = Slot::Branch(Self::pair(shift + LEVEL_BITS, found.clone(), leaf));
                None
            }
        }
    }

    /// The node that two leaves of different keys share from this level on.
    fn pair(shift: u32, one: Leaf<V>, other: Leaf<V>) -> Self {
        if shift >= HASH_BITS {
            return Self { bitmap: 0, slots: Arc::new([Slot::Leaf(one), Slot::Leaf(other)]) };
        }
        let (bit, other_bit) = (bit_of(one.hash, shift), bit_of(other.hash, shift));
        if bit == other_bit {
            let below = Self::pair(shift + LEVEL_BITS, one, other);
            return Self { bitmap: bit, slots: Arc::new([Slot::Branch(below)]) };
        }
        let (low, high) = if bit < other_bit { (one, other) } else { (other, one) };
        Self { bitmap: bit | other_bit, slots: Arc::new([Slot::Leaf(low), Slot::Leaf(high)]) }
    }

    /// Only hashes that agree in all bits come here. They are keyed, so that nobody can choose names that do.
    fn insert_equal_hash(&mut self, leaf: Leaf<V>, is_it: &impl Fn(&V) -> bool) -> Option<V> {
        let found = self.slots.iter().filter_map(Slot::leaf).position(|found| is_it(&found.value));
        let Some(index) = found else {
            self.slots = self.slots.iter().cloned().chain([Slot::Leaf(leaf)]).collect();
            return None;
        };
        let Slot::Leaf(found) = Arc::make_mut(&mut self.slots).get_mut(index)? else { return None };
        Some(std::mem::replace(&mut found.value, leaf.value))
    }

    fn insert_slot(&mut self, shift: u32, leaf: Leaf<V>) {
        let bit = bit_of(leaf.hash, shift);
        let (before, after) = self.slots.split_at(self.rank(bit));
        let slots = before.iter().cloned().chain([Slot::Leaf(leaf)]).chain(after.iter().cloned()).collect();
        self.bitmap |= bit;
        self.slots = slots;
    }

    /// The caller has made sure that the value is there.
    fn remove(&mut self, shift: u32, hash: u64, is_it: &impl Fn(&V) -> bool) -> Option<V> {
        if shift >= HASH_BITS {
            let index = self.slots.iter().filter_map(Slot::leaf).position(|leaf| leaf.is(hash, is_it))?;
            return self.remove_slot(index);
        }
        let index = self.position(hash, shift)?;
        if let Slot::Leaf(_) = self.slots.get(index)? {
            self.bitmap &= !bit_of(hash, shift);
            return self.remove_slot(index);
        }
        let slot = Arc::make_mut(&mut self.slots).get_mut(index)?;
        let Slot::Branch(next) = slot else { return None };
        let removed = next.remove(shift + LEVEL_BITS, hash, is_it);
        // A branch with one leaf becomes that leaf, so that a trie's shape depends only on what is in it.
        if let [Slot::Leaf(last)] = &*next.slots {
            *slot = Slot::Leaf(last.clone());
        }
        removed
    }

    fn remove_slot(&mut self, index: usize) -> Option<V> {
        let removed = self.slots.get(index)?.leaf()?.value.clone();
        let (before, after) = self.slots.split_at(index);
        self.slots = before.iter().chain(after.iter().skip(1)).cloned().collect();
        Some(removed)
    }

    fn for_each(&self, visit: &mut impl FnMut(&V)) {
        for slot in self.slots.iter() {
            match slot {
                Slot::Branch(next) => next.for_each(visit),
                Slot::Leaf(leaf) => visit(&leaf.value),
            }
        }
    }
}

impl<V> Node<V> {
    #[inline]
    fn position(&self, hash: u64, shift: u32) -> Option<usize> {
        let bit = bit_of(hash, shift);
        (self.bitmap & bit != 0).then(|| self.rank(bit))
    }

    /// How many slots stand before that of `bit`.
    #[inline]
    fn rank(&self, bit: u64) -> usize {
        let before = (self.bitmap & (bit - 1)).count_ones();
        usize::try_from(before).unwrap_or(usize::MAX)
    }
}

impl<V> Clone for Node<V> {
    fn clone(&self) -> Self {
        Self { bitmap: self.bitmap, slots: Arc::clone(&self.slots) }
    }
}

impl<V> Slot<V> {
    fn leaf(&self) -> Option<&Leaf<V>> {
        match self {
            Self::Leaf(leaf) => Some(leaf),
            Self::Branch(_) => None,
        }
    }
}

impl<V> Leaf<V> {
    #[inline]
    fn is(&self, hash: u64, is_it: &impl Fn(&V) -> bool) -> bool {
        self.hash == hash && is_it(&self.value)
    }
}

#[inline]
fn bit_of(hash: u64, shift: u32) -> u64 {
    1 << ((hash >> shift) & (WIDTH - 1))
}

const HASH_BITS: u32 = u64::BITS;
const LEVEL_BITS: u32 = 6;
const WIDTH: u64 = 1 << LEVEL_BITS;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_clone_keeps_what_the_original_changes() {
        let mut trie = filled(1_000);
        let before = trie.clone();
        trie.remove(mix(7), |value| value.0 == 7);
        trie.insert(mix(8), (8, 80), |value| value.0 == 8);
        assert_eq!(before.get(mix(7), |value| value.0 == 7), Some(&(7, 7)));
        assert_eq!(before.get(mix(8), |value| value.0 == 8), Some(&(8, 8)));
        assert_eq!(trie.get(mix(7), |value| value.0 == 7), None);
        assert_eq!((count(&before), count(&trie)), (1_000, 999));
    }

    #[test]
    fn values_with_equal_hashes_are_told_apart() {
        let mut trie = Trie::new();
        for key in 0..100 {
            assert_eq!(trie.insert(42, (key, key), |value| value.0 == key), None);
        }
        assert_eq!(trie.insert(42, (5, 50), |value| value.0 == 5), Some((5, 5)));
        assert_eq!(trie.get(42, |value| value.0 == 5), Some(&(5, 50)));
        assert_eq!(trie.get(42, |value| value.0 == 100), None);
        for key in 0..100 {
            assert!(trie.remove(42, |value| value.0 == key).is_some());
        }
        assert_eq!(count(&trie), 0);
    }

    #[test]
    fn a_slot_is_as_small_as_a_branch() {
        assert_eq!(size_of::<Slot<Arc<u8>>>(), 24);
    }

    #[test]
    fn an_emptied_trie_has_no_nodes_left() {
        let mut trie = filled(500);
        for key in 0..500 {
            trie.remove(mix(key), |value| value.0 == key);
        }
        assert!(trie.root.slots.is_empty());
        assert_eq!(trie.root.bitmap, 0);
    }

    proptest! {
        #[test]
        fn any_list_of_changes_agrees_with_a_map(changes in prop::collection::vec((any::<bool>(), 0u64..200), 0..400)) {
            let mut model = BTreeMap::new();
            let mut trie = Trie::new();
            for (step, (is_insert, key)) in (0u64..).zip(changes) {
                // Hashes that meet in all but their last bits make deep paths and lists.
                let hash = (key % 50) << 58;
                if is_insert {
                    let replaced = trie.insert(hash, (key, step), |value: &(u64, u64)| value.0 == key);
                    prop_assert_eq!(replaced.map(|value| value.1), model.insert(key, step));
                } else {
                    let removed = trie.remove(hash, |value| value.0 == key);
                    prop_assert_eq!(removed.map(|value| value.1), model.remove(&key));
                }
                prop_assert_eq!(count(&trie), model.len());
            }
            let mut seen = BTreeMap::new();
            trie.for_each(&mut |value| { seen.insert(value.0, value.1); });
            prop_assert_eq!(seen, model);
        }
    }

    fn count<V: Clone>(trie: &Trie<V>) -> usize {
        let mut count = 0;
        trie.for_each(&mut |_| count += 1);
        count
    }

    fn filled(count: u64) -> Trie<(u64, u64)> {
        let mut trie = Trie::new();
        for key in 0..count {
            trie.insert(mix(key), (key, key), |value: &(u64, u64)| value.0 == key);
        }
        trie
    }

    fn mix(key: u64) -> u64 {
        key.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31)
    }
}
