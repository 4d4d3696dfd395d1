//! Room for the limits of so many addresses, whatever strangers do.

use std::array;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};

use governor::nanos::Nanos;
use governor::state::StateStore;

/// Addresses that count as one: an IPv4 address, or an IPv6 network of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Prefix {
    V4(Ipv4Addr),
    V6(u64),
}

impl Prefix {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d].into_iter().fold(0, |prefix, part| prefix << 16 | u64::from(part)))
            }
        }
    }
}

/// A table of sets of eight: an address has one set, by a keyed hash, and pushes out only there.
pub(super) struct AddressTable {
    /// As many as a power of two; never grows.
    sets: Box<[Mutex<Set>]>,
    hasher: RandomState,
}

type Set = [Option<Slot>; WAYS];

#[derive(Clone, Copy, Debug)]
struct Slot {
    prefix: Prefix,
    /// When its requests would have been let in at an even pace: what governor keeps.
    arrival: Nanos,
}

impl AddressTable {
    pub(super) fn new(max_addresses: usize, hasher: RandomState) -> Self {
        let sets = max_addresses.div_ceil(WAYS).max(1).next_power_of_two();
        Self { sets: (0..sets).map(|_| Mutex::new(array::from_fn(|_| None))).collect(), hasher }
    }

    fn set(&self, prefix: &Prefix) -> &Mutex<Set> {
        let hash = usize::try_from(self.hasher.hash_one(prefix) & u64::from(u32::MAX)).unwrap_or_default();
        // There is at least one set, and their number is a power of two.
        &self.sets[hash & (self.sets.len() - 1)]
    }
}

impl StateStore for AddressTable {
    type Key = Prefix;

    fn measure_and_replace<T, F, E>(&self, prefix: &Prefix, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut set = self.set(prefix).lock().unwrap_or_else(PoisonError::into_inner);
        let known = set.iter().position(|slot| slot.is_some_and(|slot| slot.prefix == *prefix));
        let arrival = known.and_then(|way| set[way]).map(|slot| slot.arrival);
        let (outcome, arrival) = measure(arrival)?;
        let way = known.unwrap_or_else(|| most_recovered(&set));
        set[way] = Some(Slot { prefix: *prefix, arrival });
        Ok(outcome)
    }
}

/// An empty place, or that of the address which has waited longest: forgetting it gives away least.
fn most_recovered(set: &Set) -> usize {
    let places = set.iter().enumerate();
    places.min_by_key(|(_, slot)| slot.map(|slot| slot.arrival)).map_or(0, |(way, _)| way)
}

impl fmt::Debug for AddressTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressTable").field("sets", &self.sets.len()).finish_non_exhaustive()
    }
}

const WAYS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_visitor_is_its_network_and_a_mapped_address_is_ipv4() {
        let prefix = |text: &str| Prefix::of(text.parse().unwrap());
        assert_eq!(prefix("2001:db8:1:2:3::4"), prefix("2001:db8:1:2::ffff"));
        assert_ne!(prefix("2001:db8:1:2::1"), prefix("2001:db8:1:3::1"));
        assert_eq!(prefix("::ffff:192.0.2.7"), prefix("192.0.2.7"));
        assert_ne!(prefix("192.0.2.7"), prefix("192.0.2.8"));
    }

    #[test]
    fn a_full_table_forgets_the_address_that_waited_longest_and_grows_for_nobody() {
        let table = AddressTable::new(8, RandomState::new());
        let put = |number: u8, arrival: u64| {
            let prefix = Prefix::V6(number.into());
            let before = table.measure_and_replace(&prefix, |before| Ok::<_, ()>((before, arrival.into())));
            before.unwrap().map(Nanos::as_u64)
        };
        for number in 0..8 {
            assert_eq!(put(number, 100 + u64::from(number)), None);
        }
        assert_eq!(put(8, 500), None, "pushes out number 0");
        assert_eq!(put(1, 600), Some(101));
        assert_eq!(put(0, 700), None, "was forgotten; pushes out number 2");
        assert_eq!(put(2, 800), None);
        assert_eq!(table.sets.len(), 1);
    }
}
