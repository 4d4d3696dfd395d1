//! The route table at a million tunnels, beside the maps that one would take otherwise.
//!
//! `cargo bench -p adit-benches --bench router` first prints a table: every row measured in this run, on the same hosts in
//! the same order, without and with 1,000 registrations a second on another thread; before it, what no lookup can do
//! without: waiting for memory. Criterion's figures follow.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]
#![allow(clippy::as_conversions, reason = "counts and nanoseconds, for people")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use adit_naming::{Destination, Host, HostSource, TunnelNameRef, Zone, Zones};
use adit_router::{Dispatch, Join, RouteKey, RouteTable, TunnelId};
use criterion::{Criterion, criterion_group, criterion_main};
use dashmap::DashMap;

const TUNNELS: u64 = 1_000_000;
/// Hosts that most visitors want, for the second half of the table.
const HOT: u64 = 1_000;
const LOOKUPS: usize = 1_000_000;
const ROUNDS: usize = 7;
const REGISTRATIONS_A_SECOND: u64 = 1_000;

criterion_group!(benches, table_of_all, criterion_figures);
criterion_main!(benches);

fn table_of_all(_: &mut Criterion) {
    limits();
    let zones = zones();
    let adit = adit();
    let locked = locked();
    let papaya = papaya_map();
    let dashmap = dashmap();
    let matchit = matchit_router();
    let reader = RefCell::new(adit.reader());
    let adit_reader = |host: &[u8]| {
        let host = Host::parse(host, HostSource::Header).unwrap();
        let key = RouteKey::of(zones.classify(&host), |_| None);
        key.and_then(|key| reader.borrow_mut().find(key).map(|tunnel| tunnel.id().as_u128())).is_some()
    };
    let adit_find = |host: &[u8]| {
        let host = Host::parse(host, HostSource::Header).unwrap();
        RouteKey::of(zones.classify(&host), |_| None).and_then(|key| adit.find(key)).is_some()
    };
    let adit_look = |host: &[u8]| {
        let host = Host::parse(host, HostSource::Header).unwrap();
        let key = RouteKey::of(zones.classify(&host), |_| None);
        key.and_then(|key| adit.look(key, |tunnel| tunnel.id().as_u128())).is_some()
    };
    let adit_dispatch = |host: &[u8]| {
        let host = Host::parse(host, HostSource::Header).unwrap();
        let Some(key) = RouteKey::of(zones.classify(&host), |_| None) else { return false };
        // Who was replaced between the lookup and the beginning is looked up again.
        (0..8)
            .any(|_| adit.find(key).and_then(|tunnel| Dispatch::new(7).next(&tunnel)?.begin().ok()).is_some())
    };
    let locked_find = |host: &[u8]| {
        let host = Host::parse(host, HostSource::Header).unwrap();
        let Destination::TunnelByName { name, .. } = zones.classify(&host) else { return false };
        locked.read().unwrap().get(name.as_str()).cloned().is_some()
    };
    let papaya_find = |host: &[u8]| {
        let host = Host::parse(host, HostSource::Header).unwrap();
        let Destination::TunnelByName { name, .. } = zones.classify(&host) else { return false };
        papaya.pin().get(name.as_str()).cloned().is_some()
    };
    let dashmap_find = |host: &[u8]| {
        let host = Host::parse(host, HostSource::Header).unwrap();
        let Destination::TunnelByName { name, .. } = zones.classify(&host) else { return false };
        dashmap.get(name.as_str()).map(|entry| Arc::clone(&entry)).is_some()
    };
    let matchit_find = |host: &[u8]| {
        let host = Host::parse(host, HostSource::Header).unwrap();
        let Destination::TunnelByName { name, .. } = zones.classify(&host) else { return false };
        matchit.read().unwrap().at(name.as_str()).map(|matched| Arc::clone(matched.value)).is_ok()
    };
    let parse = |host: &[u8]| {
        let host = Host::parse(host, HostSource::Header).unwrap();
        matches!(zones.classify(&host), Destination::TunnelByName { .. })
    };
    let register_adit = |number: u64| {
        adit.attach(TunnelId::from_u128(u128::from(number)), Join::Replace, number).unwrap();
    };
    let register_locked = |number: u64| {
        drop(locked.write().unwrap().insert(name(number), Arc::new((number, Arc::new(number)))))
    };
    let register_papaya =
        |number: u64| drop(papaya.pin().insert(name(number), Arc::new((number, Arc::new(number)))).cloned());

    let register_dashmap =
        |number: u64| drop(dashmap.insert(name(number), Arc::new((number, Arc::new(number)))));
    let register_matchit = |number: u64| {
        let mut router = matchit.write().unwrap();
        *router.at_mut(&name(number)).unwrap().value = Arc::new((number, Arc::new(number)));
    };

    for (title, hosts) in
        [("any of 1,000,000 hosts", Hosts::new(TUNNELS)), ("1,000 hot hosts", Hosts::new(HOT))]
    {
        println!("\n{title}, ns a lookup    quiet  with {REGISTRATIONS_A_SECOND} registrations/s  ratio");
        row("host parsing alone", &hosts, parse, |_| {});
        row("adit: parse, find with a reader", &hosts, adit_reader, register_adit);
        row("adit: parse, find", &hosts, adit_find, register_adit);
        row("adit: parse, look", &hosts, adit_look, register_adit);
        row("adit: parse, find, choose, begin", &hosts, adit_dispatch, register_adit);
        row("RwLock<HashMap>: parse, get", &hosts, locked_find, register_locked);
        row("papaya: parse, get", &hosts, papaya_find, register_papaya);
        row("DashMap: parse, get", &hosts, dashmap_find, register_dashmap);
        row("RwLock<matchit>: parse, at", &hosts, matchit_find, register_matchit);
    }
    let hosts = Hosts::new(HOT);
    let allocations = allocation_counter::measure(|| {
        for host in hosts.iter() {
            assert!(adit_find(host) && adit_look(host) && adit_reader(host));
        }
    });
    println!("\nallocations in {} lookups: {}", LOOKUPS * 3, allocations.count_total);
}

/// What a load costs that waits for the one before it, in as much memory as the parts of the table have.
fn limits() {
    println!("one load after another, at random in");
    for (title, bytes) in [
        ("16 KiB (a core's own cache)", 16 << 10),
        ("32 MiB (a million hashes and pointers)", 32 << 20),
        ("128 MiB (a million tunnels)", 128 << 20),
    ] {
        println!("{title:40} {:6.1} ns", chase(bytes));
    }
}

/// One cycle through all lines of `bytes` of memory, in the order of a shuffled deck.
fn chase(bytes: usize) -> f64 {
    let lines = bytes / size_of::<Line>();
    let mut order: Vec<usize> = (0..lines).collect();
    for at in (1..lines).rev() {
        order.swap(at, mix(at as u64) as usize % (at + 1));
    }
    let mut memory = vec![Line::default(); lines];
    for (at, line) in order.iter().enumerate() {
        memory[*line][0] = order[(at + 1) % lines] as u64;
    }
    let mut at = 0;
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            (0..LOOKUPS).for_each(|_| at = memory[at][0] as usize);
            start.elapsed().as_nanos() as f64 / LOOKUPS as f64
        })
        .collect();
    black_box(at);
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

type Line = [u64; 8];

fn criterion_figures(criterion: &mut Criterion) {
    let zones = zones();
    let adit = adit();
    let hosts = Hosts::new(TUNNELS);
    let mut turns = hosts.iter().cycle();
    criterion.bench_function("router/find by host of 1,000,000", |bencher| {
        bencher.iter(|| {
            let host = Host::parse(turns.next().unwrap(), HostSource::Header).unwrap();
            RouteKey::of(zones.classify(&host), |_| None).and_then(|key| adit.find(key))
        });
    });
    let mut number = 0;
    criterion.bench_function("router/registration at 1,000,000", |bencher| {
        bencher.iter(|| {
            number = (number + 7_919) % TUNNELS;
            adit.attach(TunnelId::from_u128(u128::from(number)), Join::Replace, number).unwrap()
        });
    });
}

fn row(title: &str, hosts: &Hosts, look_up: impl Fn(&[u8]) -> bool, register: impl Fn(u64) + Sync) {
    let quiet = median(hosts, &look_up);
    let is_done = AtomicBool::new(false);
    let busy = std::thread::scope(|scope| {
        scope.spawn(|| register_steadily(&is_done, &register));
        let busy = median(hosts, &look_up);
        is_done.store(true, Ordering::Relaxed);
        busy
    });
    println!("{title:36} {quiet:6.1} {busy:10.1} {:22.2}", busy / quiet);
}

fn median(hosts: &Hosts, look_up: impl Fn(&[u8]) -> bool) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            let found = hosts.iter().filter(|host| black_box(look_up(black_box(host)))).count();
            let elapsed = start.elapsed();
            assert_eq!(found, LOOKUPS);
            elapsed.as_nanos() as f64 / LOOKUPS as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn register_steadily(is_done: &AtomicBool, register: &impl Fn(u64)) {
    let start = Instant::now();
    let mut registered = 0;
    while !is_done.load(Ordering::Relaxed) {
        let due = start.elapsed().as_millis() as u64 * REGISTRATIONS_A_SECOND / 1_000;
        while registered < due {
            registered += 1;
            register(mix(registered) % TUNNELS);
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

fn adit() -> RouteTable<u64> {
    let table = RouteTable::new();
    let built = allocation_counter::measure(|| {
        table
            .update(|update| {
                for number in 0..TUNNELS {
                    let (id, text) = (TunnelId::from_u128(u128::from(number)), name(number));
                    let key = RouteKey::name(TunnelNameRef::parse(&text).unwrap()).into_owned();
                    update.publish(id, [key], ()).unwrap();
                    update.attach(id, Join::Replace, number).unwrap();
                }
                Ok::<_, ()>(())
            })
            .unwrap();
    });
    println!(
        "adit: {} bytes a tunnel with one agent, by name and by id",
        built.bytes_current / TUNNELS as i64
    );
    table
}

fn locked() -> RwLock<HashMap<String, Entry>> {
    RwLock::new((0..TUNNELS).map(|number| (name(number), Arc::new((number, Arc::new(number))))).collect())
}

fn papaya_map() -> papaya::HashMap<String, Entry> {
    let map = papaya::HashMap::with_capacity(TUNNELS as usize);
    for number in 0..TUNNELS {
        map.pin().insert(name(number), Arc::new((number, Arc::new(number))));
    }
    map
}

fn dashmap() -> DashMap<String, Entry> {
    (0..TUNNELS).map(|number| (name(number), Arc::new((number, Arc::new(number))))).collect()
}

fn matchit_router() -> RwLock<matchit::Router<Entry>> {
    let mut router = matchit::Router::new();
    for number in 0..TUNNELS {
        router.insert(name(number), Arc::new((number, Arc::new(number)))).unwrap();
    }
    RwLock::new(router)
}

/// What the other maps hold: a tunnel that points to its agent.
type Entry = Arc<(u64, Arc<u64>)>;

/// Hosts in the order of a shuffled deck, one after another in memory as they would come from a socket.
struct Hosts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Hosts {
    fn new(of: u64) -> Self {
        let mut hosts = Self { bytes: Vec::new(), ends: vec![0] };
        for turn in 0..LOOKUPS as u64 {
            hosts.bytes.extend_from_slice(format!("{}.tunnel.example", name(mix(turn) % of)).as_bytes());
            hosts.ends.push(hosts.bytes.len());
        }
        hosts
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.ends.windows(2).map(|ends| &self.bytes[ends[0]..ends[1]])
    }
}

fn name(number: u64) -> String {
    format!("quiet-river-{number:x}-{:03x}", mix(number) >> 52)
}

fn zones() -> Zones {
    Zones::new([Zone::parse("tunnel.example").unwrap()]).unwrap()
}

/// Two numbers never meet (the finalizer of SplitMix64), so that order and names look like chance and repeat exactly.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}
