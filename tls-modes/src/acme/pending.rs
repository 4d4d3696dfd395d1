use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, SystemTime};

use crate::acme::BoardError;

/// Answers that a certificate authority may ask for, each until its time is over.
#[derive(Debug)]
pub(super) struct Pending<K, V> {
    /// At most `max`.
    entries: HashMap<K, Entry<V>>,
    max: usize,
    lifetime: Duration,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    expires: SystemTime,
}

impl<K: Eq + Hash, V> Pending<K, V> {
    pub(super) fn new(max: usize, lifetime: Duration) -> Self {
        Self { entries: HashMap::new(), max, lifetime }
    }

    /// Adds an entry. One that is still alive is never replaced: its order would fail for no reason of its own.
    pub(super) fn insert(&mut self, now: SystemTime, key: K, value: V) -> Result<(), BoardError> {
        let expires = now.checked_add(self.lifetime).unwrap_or(now);
        if self.entries.get(&key).is_some_and(|entry| now < entry.expires) {
            return Err(BoardError::Busy);
        }
        if self.entries.len() >= self.max {
            self.entries.retain(|_, entry| now < entry.expires);
        }
        if self.entries.len() >= self.max {
            return Err(BoardError::Full);
        }
        self.entries.insert(key, Entry { value, expires });
        Ok(())
    }

    pub(super) fn find<Q>(&self, now: SystemTime, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.entries.get(key).filter(|entry| now < entry.expires).map(|entry| &entry.value)
    }

    pub(super) fn remove<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.entries.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_bounded_expire_and_are_never_replaced_alive() {
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let mut pending = Pending::new(2, Duration::from_secs(10));
        assert_eq!(pending.insert(at(0), "a", 1), Ok(()));
        assert_eq!(pending.insert(at(9), "a", 2), Err(BoardError::Busy));
        assert_eq!(pending.find(at(9), "a"), Some(&1));
        assert_eq!(pending.find(at(10), "a"), None);
        assert_eq!(pending.insert(at(10), "a", 3), Ok(()));
        assert_eq!(pending.insert(at(11), "b", 4), Ok(()));
        assert_eq!(pending.insert(at(12), "c", 5), Err(BoardError::Full));
        assert_eq!(pending.insert(at(20), "c", 5), Ok(()), "what has expired makes room");
        pending.remove("b");
        assert_eq!((pending.find(at(20), "b"), pending.find(at(20), "c")), (None, Some(&5)));
    }
}
