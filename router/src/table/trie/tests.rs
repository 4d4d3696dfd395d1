use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::OwnedRouteKey;
use super::*;

#[test]
fn a_clone_keeps_what_the_original_changes() {
    let mut trie = filled(10_000);
    let before = trie.clone();
    trie.remove(mix(7), |value| value.0 == 7);
    trie.insert(mix(8), (8, 80), |value| value.0 == 8);
    assert_eq!(before.get(mix(7), |value| value.0 == 7), Some(&(7, 7)));
    assert_eq!(before.get(mix(8), |value| value.0 == 8), Some(&(8, 8)));
    assert_eq!(trie.get(mix(7), |value| value.0 == 7), None);
    assert_eq!((count(&before), count(&trie)), (10_000, 9_999));
    assert_eq!((before.len(), trie.len()), (10_000, 9_999));
}

#[test]
fn values_with_equal_hashes_are_told_apart() {
    let mut trie = Trie::new();
    for key in 0..1_000 {
        assert_eq!(trie.insert(42, (key, key), |value| value.0 == key), None);
    }
    assert_eq!(trie.insert(42, (5, 50), |value| value.0 == 5), Some((5, 5)));
    assert_eq!(trie.get(42, |value| value.0 == 5), Some(&(5, 50)));
    assert_eq!(trie.get(42, |value| value.0 == 1_000), None);
    for key in 0..1_000 {
        assert!(trie.remove(42, |value| value.0 == key).is_some());
    }
    assert_eq!((count(&trie), trie.len()), (0, 0));
}

#[test]
fn slots_and_nodes_are_two_words() {
    assert_eq!(size_of::<Option<Leaf<Arc<u8>>>>(), 16);
    assert_eq!(size_of::<Node<Arc<u8>>>(), 16);
}

/// A key and a pointer beside the hash: lookups pay for each line of the cache that slots are larger.
#[test]
fn a_slot_with_a_key_is_five_words() {
    assert_eq!(size_of::<Option<Leaf<(OwnedRouteKey, Arc<u8>)>>>(), 40);
}

#[test]
fn an_emptied_trie_has_no_nodes_left() {
    let mut trie = filled(5_000);
    assert!(matches!(trie.root, Node::Branch(_)));
    for key in 0..5_000 {
        trie.remove(mix(key), |value| value.0 == key);
    }
    assert!(trie.root.is_empty());
}

#[test]
fn a_bucket_of_which_little_is_left_gives_memory_back() {
    let mut trie = filled(100);
    let slots = |trie: &Trie<_>| match &trie.root {
        Node::Bucket(bucket) => bucket.slots.len(),
        Node::Branch(_) => panic!("a branch for so few"),
    };
    let before = slots(&trie);
    for key in 0..98 {
        trie.remove(mix(key), |value| value.0 == key);
    }
    assert!(slots(&trie) * 8 <= before);
    assert!(trie.get(mix(99), |value| value.0 == 99).is_some());
}

/// What `FEATURES.md` and the README promise about memory rests on how full buckets are.
#[test]
fn buckets_are_more_than_a_third_full() {
    let trie = filled(100_000);
    let mut slots = 0;
    count_slots(&trie.root, &mut slots);
    assert!(slots < 3 * 100_000, "{slots} slots");
}

proptest! {
    #[test]
    fn any_list_of_changes_agrees_with_a_map(
        changes in prop::collection::vec((0u8..4, 0u64..500), 0..1_000),
        // All bits; those that meet in all but the last, or all but the first; hardly any.
        hashes in prop::sample::select(vec![u64::MAX, 0x3f << 58, 0x7f, 3]),
    ) {
        let mut model = BTreeMap::new();
        let mut trie = Trie::new();
        for (step, (action, key)) in (0u64..).zip(changes) {
            let hash = mix(key) & hashes;
            if action > 0 {
                let replaced = trie.insert(hash, (key, step), |value: &(u64, u64)| value.0 == key);
                prop_assert_eq!(replaced.map(|value| value.1), model.insert(key, step));
            } else {
                let removed = trie.remove(hash, |value| value.0 == key);
                prop_assert_eq!(removed.map(|value| value.1), model.remove(&key));
            }
            prop_assert_eq!(trie.len(), model.len());
        }
        let mut seen = BTreeMap::new();
        trie.for_each(&mut |value| { seen.insert(value.0, value.1); });
        prop_assert_eq!(&seen, &model);
        for key in 0..500 {
            let found = trie.get(mix(key) & hashes, |value| value.0 == key).map(|value| value.1);
            prop_assert_eq!(found, model.get(&key).copied());
        }
    }
}

fn count<V: Clone>(trie: &Trie<V>) -> usize {
    let mut count = 0;
    trie.for_each(&mut |_| count += 1);
    count
}

fn count_slots<V>(node: &Node<V>, slots: &mut usize) {
    match node {
        Node::Branch(below) => below.iter().for_each(|node| count_slots(node, slots)),
        Node::Bucket(bucket) => *slots += bucket.slots.len(),
    }
}

fn filled(count: u64) -> Trie<(u64, u64)> {
    let mut trie = Trie::new();
    for key in 0..count {
        trie.insert(mix(key), (key, key), |value: &(u64, u64)| value.0 == key);
    }
    trie
}

/// The finalizer of SplitMix64.
fn mix(key: u64) -> u64 {
    let key = key.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let key = (key ^ (key >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let key = (key ^ (key >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    key ^ (key >> 31)
}
