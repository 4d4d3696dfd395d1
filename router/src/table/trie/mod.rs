//! A persistent hash trie: a map whose clones share all that did not change.

use std::sync::Arc;

/// A map from 64-bit hashes to values, cloned in constant time and read in few misses of the cache.
///
/// The trie keeps no keys: a caller gives the hash of a key and a question that recognises the key's value. Branches are
/// 128 ways wide; below them stand buckets, small hash tables of up to a few hundred values. At a million values there are
/// two levels of branches, small enough for a core's own cache, so that a lookup waits for memory once, in a bucket, if the
/// value there is enough to recognise it by, and once more if it must follow a pointer. Changing a clone copies the nodes on one path and shares the rest with the original.
///
/// ```text
///   bits 0..7          bits 7..14                  bits 32..64
///   ┌─┬─┬─┬───┬─┐      ┌─┬─┬─┬───┬─┐      ┌────┬────┬────┬───────┬────┐
///   │●│●│●│ … │●│─────▶│●│●│●│ … │●│─────▶│hash│hash│    │   …   │hash│
///   └─┴─┴─┴───┴─┘      └─┴─┴─┴───┴─┘      │ ●  │ ●  │    │       │ ●  │─▶ value
///     branch             branch           └────┴────┴────┴───────┴────┘ bucket: at most 8 slots in a row are looked at
/// ```
#[derive(Debug)]
pub(crate) struct Trie<V> {
    root: Node<V>,
    len: usize,
}

impl<V: Clone> Trie<V> {
    pub(crate) fn new() -> Self {
        Self { root: Node::empty(), len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Puts `value` where `is_it` recognises the one that it replaces, and returns that one.
    pub(crate) fn insert(&mut self, hash: u64, value: V, is_it: impl Fn(&V) -> bool) -> Option<V> {
        let replaced = self.root.insert(0, Leaf { hash, value }, &is_it);
        self.len += usize::from(replaced.is_none());
        replaced
    }

    /// Takes out the value that `is_it` recognises. A miss copies nothing.
    pub(crate) fn remove(&mut self, hash: u64, is_it: impl Fn(&V) -> bool) -> Option<V> {
        self.get(hash, &is_it)?;
        let removed = self.root.remove(0, hash, &is_it);
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// The value with this hash that `is_it` recognises.
    #[inline]
    pub(crate) fn get(&self, hash: u64, is_it: impl Fn(&V) -> bool) -> Option<&V> {
        let mut node = &self.root;
        let mut shift = 0;
        loop {
            match node {
                Node::Branch(below) => node = below.get(index(hash, shift))?,
                Node::Bucket(bucket) => return bucket.get(shift, hash, is_it),
            }
            shift += LEVEL_BITS;
        }
    }

    /// Calls `visit` with each value, in no particular order.
    pub(crate) fn for_each(&self, visit: &mut impl FnMut(&V)) {
        self.root.for_each(visit);
    }
}

impl<V> Clone for Trie<V> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone(), len: self.len }
    }
}

#[derive(Debug)]
enum Node<V> {
    Branch(Arc<[Self; WIDTH]>),
    Bucket(Bucket<V>),
}

/// Values whose hashes agree in the bits of the branches above, each within [`WINDOW`] slots from where its hash points.
/// Where the hashes have no bits left it is a plain list. Either way at most [`MAX_SLOTS`] slots, but for that list.
#[derive(Debug)]
struct Bucket<V> {
    slots: Arc<[Option<Leaf<V>>]>,
}

#[derive(Clone, Debug)]
struct Leaf<V> {
    hash: u64,
    value: V,
}

impl<V: Clone> Node<V> {
    fn empty() -> Self {
        Self::Bucket(Bucket::empty())
    }

    fn insert(&mut self, shift: u32, leaf: Leaf<V>, is_it: &impl Fn(&V) -> bool) -> Option<V> {
        match self {
            Self::Branch(below) => {
                let next = Arc::make_mut(below).get_mut(index(leaf.hash, shift))?;
                next.insert(shift + LEVEL_BITS, leaf, is_it)
            }
            Self::Bucket(bucket) => match bucket.insert(shift, leaf, is_it) {
                Ok(replaced) => replaced,
                Err(leaf) => {
                    *self = bucket.split(shift);
                    self.insert(shift, leaf, is_it)
                }
            },
        }
    }

    /// The caller has made sure that the value is there.
    fn remove(&mut self, shift: u32, hash: u64, is_it: &impl Fn(&V) -> bool) -> Option<V> {
        match self {
            Self::Branch(below) => {
                let nodes = Arc::make_mut(below);
                let removed = nodes.get_mut(index(hash, shift))?.remove(shift + LEVEL_BITS, hash, is_it);
                if nodes.iter().all(Self::is_empty) {
                    *self = Self::empty();
                }
                removed
            }
            Self::Bucket(bucket) => bucket.remove(shift, hash, is_it),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Branch(_) => false,
            Self::Bucket(bucket) => bucket.slots.is_empty(),
        }
    }

    fn for_each(&self, visit: &mut impl FnMut(&V)) {
        match self {
            Self::Branch(below) => below.iter().for_each(|node| node.for_each(visit)),
            Self::Bucket(bucket) => bucket.leaves().for_each(|leaf| visit(&leaf.value)),
        }
    }
}

impl<V> Clone for Node<V> {
    fn clone(&self) -> Self {
        match self {
            Self::Branch(below) => Self::Branch(Arc::clone(below)),
            Self::Bucket(bucket) => Self::Bucket(bucket.clone()),
        }
    }
}

impl<V> Bucket<V> {
    fn empty() -> Self {
        Self { slots: Arc::default() }
    }

    #[inline]
    fn get(&self, shift: u32, hash: u64, is_it: impl Fn(&V) -> bool) -> Option<&V> {
        self.window(shift, hash).iter().flatten().find(|leaf| leaf.is(hash, &is_it)).map(|leaf| &leaf.value)
    }

    /// The slots in which a value with this hash may be.
    #[inline]
    fn window(&self, shift: u32, hash: u64) -> &[Option<Leaf<V>>] {
        let start = start(self.slots.len(), shift, hash);
        let behind = self.slots.get(start..).unwrap_or_default();
        if shift < u64::BITS { behind.get(..WINDOW).unwrap_or_default() } else { behind }
    }

    fn leaves(&self) -> impl Iterator<Item = &Leaf<V>> {
        self.slots.iter().flatten()
    }
}

impl<V: Clone> Bucket<V> {
    /// Gives the leaf back if there is no room for it without a branch.
    fn insert(
        &mut self,
        shift: u32,
        leaf: Leaf<V>,
        is_it: &impl Fn(&V) -> bool,
    ) -> Result<Option<V>, Leaf<V>> {
        let window = self.window(shift, leaf.hash);
        let is_old = |slot: &Option<Leaf<V>>| slot.as_ref().is_some_and(|found| found.is(leaf.hash, is_it));
        let place = window.iter().position(is_old).or_else(|| window.iter().position(Option::is_none));
        let Some(place) = place else { return self.grow(shift, leaf).map(|()| None) };
        let at = start(self.slots.len(), shift, leaf.hash) + place;
        let slot = Arc::make_mut(&mut self.slots).get_mut(at);
        Ok(slot.and_then(|slot| slot.replace(leaf)).map(|before| before.value))
    }

    fn grow(&mut self, shift: u32, leaf: Leaf<V>) -> Result<(), Leaf<V>> {
        if shift >= u64::BITS {
            self.slots = self.slots.iter().cloned().chain([Some(leaf)]).collect();
            return Ok(());
        }
        let mut slots = next_size(self.slots.len());
        while slots <= MAX_SLOTS {
            if let Some(grown) = Self::of(slots, shift, self.leaves().chain([&leaf])) {
                *self = grown;
                return Ok(());
            }
            slots = next_size(slots);
        }
        Err(leaf)
    }

    /// The branch that takes the place of a full bucket.
    fn split(&self, shift: u32) -> Node<V> {
        let mut below: [_; WIDTH] = std::array::from_fn(|_| Node::empty());
        for leaf in self.leaves() {
            if let Some(node) = below.get_mut(index(leaf.hash, shift)) {
                // They are all different, so that there is nothing to recognise.
                node.insert(shift + LEVEL_BITS, leaf.clone(), &|_| false);
            }
        }
        Node::Branch(Arc::new(below))
    }

    fn remove(&mut self, shift: u32, hash: u64, is_it: &impl Fn(&V) -> bool) -> Option<V> {
        let is_it = |slot: &Option<Leaf<V>>| slot.as_ref().is_some_and(|leaf| leaf.is(hash, is_it));
        let place = self.window(shift, hash).iter().position(is_it)?;
        let at = start(self.slots.len(), shift, hash) + place;
        let removed = Arc::make_mut(&mut self.slots).get_mut(at)?.take()?;
        self.shrink(shift);
        Some(removed.value)
    }

    /// Gives memory back: a bucket of which little is left becomes a smaller one.
    fn shrink(&mut self, shift: u32) {
        let count = self.leaves().count();
        if count == 0 {
            *self = Self::empty();
        } else if shift >= u64::BITS {
            self.slots = self.leaves().cloned().map(Some).collect();
        } else if self.slots.len() > WINDOW && count < self.slots.len() / 4 {
            // If chance has it that they don't fit, they stay.
            let smaller = Self::of(self.slots.len() / 2, shift, self.leaves());
            self.slots = smaller.map_or_else(|| Arc::clone(&self.slots), |smaller| smaller.slots);
        }
    }

    /// A bucket of so many slots, if the leaves find room in them.
    fn of<'a>(slots: usize, shift: u32, leaves: impl Iterator<Item = &'a Leaf<V>>) -> Option<Self>
    where
        V: 'a,
    {
        let slots = slots.max(WINDOW);
        let mut filled = vec![None; slots];
        for leaf in leaves {
            let window = filled.get_mut(start(slots, shift, leaf.hash)..)?.get_mut(..WINDOW)?;
            *window.iter_mut().find(|slot| slot.is_none())? = Some(leaf.clone());
        }
        Some(Self { slots: filled.into() })
    }
}

impl<V> Clone for Bucket<V> {
    fn clone(&self) -> Self {
        Self { slots: Arc::clone(&self.slots) }
    }
}

impl<V> Leaf<V> {
    #[inline]
    fn is(&self, hash: u64, is_it: &impl Fn(&V) -> bool) -> bool {
        self.hash == hash && is_it(&self.value)
    }
}

/// Which way a hash takes in a branch.
#[inline]
fn index(hash: u64, shift: u32) -> usize {
    let way = hash.checked_shr(shift).unwrap_or(0) & (WIDTH_BITS - 1);
    usize::try_from(way).unwrap_or(0)
}

/// Where a hash points in a bucket of so many slots, by the half of its bits that branches use last.
#[inline]
fn start(slots: usize, shift: u32, hash: u64) -> usize {
    if shift >= u64::BITS || slots < WINDOW {
        return 0;
    }
    let starts = u64::try_from(slots - WINDOW + 1).unwrap_or(1);
    // Below 2³² times the few hundred starts.
    usize::try_from(((hash >> 32) * starts) >> 32).unwrap_or(0)
}

/// Half as many again, so that buckets are two thirds to wholly as full as they can be.
fn next_size(slots: usize) -> usize {
    (slots + slots / 2).max(WINDOW)
}

const LEVEL_BITS: u32 = 7;
const WIDTH: usize = 1 << LEVEL_BITS;
const WIDTH_BITS: u64 = 1 << LEVEL_BITS;

/// Slots that a lookup looks at, at most; nearly always it is the first or the second.
const WINDOW: usize = 8;

/// Of one bucket. Larger ones make changes dearer, which copy them; smaller ones make more branches, which lookups wait for.
const MAX_SLOTS: usize = 320;

#[cfg(test)]
mod tests;
