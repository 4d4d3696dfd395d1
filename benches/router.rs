//! The route table at a million tunnels, beside the maps that one would take otherwise.
//!
//! `cargo bench -p adit-benches --bench router` first prints a table: every row measured in this run, on the same hosts in
//! the same order, without and with 1,000 registrations a second on another thread, and as a multiple of what no lookup can do
//! without: parsing the host, and waiting for memory once. What the waits cost is measured before. Criterion's figures follow.
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
/// Hosts that most visitors want, for the last part of the table.
const HOT: u64 = 1_000;
const LOOKUPS: usize = 1_000_000;
const ROUNDS: usize = 5;
/// Registrations that become visible in one step, as when an agent with many tunnels comes.
const BURST: u64 = 20_000;
const REGISTRATIONS_A_SECOND: u64 = 1_000;

criterion_group!(benches, table_of_all, criterion_figures);
criterion_main!(benches);

fn table_of_all(_: &mut Criterion) {
    let waits = waits();
    let zones = zones();
    let adit = adit();
    let locked = locked();
    let papaya = papaya_map();
    let dashmap = dashmap();
    let matchit = matchit_router();
    let reader = RefCell::new(adit.reader());
    // All look at the entry where it stands, and wait for nothing behind it.
    let adit_reader = |host: &[u8]| {
        let host = Host::parse(host, HostSource::Header).unwrap();
        let key = RouteKey::of(zones.classify(&host), |_| None);
        key.is_some_and(|key| reader.borrow_mut().find(key).map(black_box).is_some())
    };
    let adit_look = |host: &[u8]| {
        let host = Host::parse(host, HostSource::Header).unwrap();
        let key = RouteKey::of(zones.classify(&host), |_| None);
        key.is_some_and(|key| adit.look(key, |tunnel| black_box(tunnel).id()).is_some())
    };
    let locked_get = |host: &[u8]| {
        let host = Host::parse(host, HostSource::Header).unwrap();
        let Destination::TunnelByName { name, .. } = zones.classify(&host) else { return false };
        locked.read().unwrap().get(name.as_str()).map(black_box).is_some()
    };
    let papaya_get = |host: &[u8]| {
        let host = Host::parse(host, HostSource::Header).unwrap();
        let Destination::TunnelByName { name, .. } = zones.classify(&host) else { return false };
        papaya.pin().get(name.as_str()).map(black_box).is_some()
    };
    let dashmap_get = |host: &[u8]| {
        let host = Host::parse(host, HostSource::Header).unwrap();
        let Destination::TunnelByName { name, .. } = zones.classify(&host) else { return false };
        dashmap.get(name.as_str()).map(|entry| std::ptr::from_ref(black_box(&*entry))).is_some()
    };
    let matchit_at = |host: &[u8]| {
        let host = Host::parse(host, HostSource::Header).unwrap();
        let Destination::TunnelByName { name, .. } = zones.classify(&host) else { return false };
        matchit
            .read()
            .unwrap()
            .at(name.as_str())
            .map(|matched| std::ptr::from_ref(black_box(matched.value)))
            .is_ok()
    };
    // These go on to the handle, or keep what they found.
    let adit_handle = |host: &[u8]| {
        let host = Host::parse(host, HostSource::Header).unwrap();
        let key = RouteKey::of(zones.classify(&host), |_| None);
        let mut reader = reader.borrow_mut();
        key.and_then(|key| reader.find(key)?.agents().first().map(|agent| black_box(*agent.handle())))
            .is_some()
    };
    let locked_handle = |host: &[u8]| {
        let host = Host::parse(host, HostSource::Header).unwrap();
        let Destination::TunnelByName { name, .. } = zones.classify(&host) else { return false };
        locked.read().unwrap().get(name.as_str()).map(|entry| black_box(*entry.1)).is_some()
    };
    let adit_find = |host: &[u8]| {
        let host = Host::parse(host, HostSource::Header).unwrap();
        RouteKey::of(zones.classify(&host), |_| None).and_then(|key| adit.find(key)).is_some()
    };
    let adit_dispatch = |host: &[u8]| {
        let host = Host::parse(host, HostSource::Header).unwrap();
        let Some(key) = RouteKey::of(zones.classify(&host), |_| None) else { return false };
        // Who was replaced between the lookup and the beginning is looked up again.
        (0..8)
            .any(|_| adit.find(key).and_then(|tunnel| Dispatch::new(7).next(&tunnel)?.begin().ok()).is_some())
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

    let limit = median(&Hosts::new(HOT, uniform), parse) + waits.for_one;
    println!("\nparsing and one wait: {limit:.1} ns; the rows as multiples of it in the last column");
    for (title, hosts) in [
        ("any of 1,000,000 hosts", Hosts::new(TUNNELS, uniform)),
        ("1,000,000 hosts by Zipf's law", Hosts::new(TUNNELS, zipf())),
        ("1,000 hot hosts", Hosts::new(HOT, uniform)),
    ] {
        println!(
            "\n{title:31} ns  with {REGISTRATIONS_A_SECOND} registrations/s  ratio  of parsing and one wait"
        );
        let row = |title: &str, look_up: &dyn Fn(&[u8]) -> bool, register: &(dyn Fn(u64) + Sync)| {
            row(title, &hosts, limit, look_up, register);
        };
        row("parsing alone", &parse, &|_| {});
        row("adit: find with a reader", &adit_reader, &register_adit);
        row("adit: look", &adit_look, &register_adit);
        row("RwLock<HashMap>: get", &locked_get, &register_locked);
        row("papaya: get", &papaya_get, &register_papaya);
        row("DashMap: get", &dashmap_get, &register_dashmap);
        row("RwLock<matchit>: at", &matchit_at, &register_matchit);
        row("adit: reader, read handle", &adit_handle, &register_adit);
        row("RwLock<HashMap>: read handle", &locked_handle, &register_locked);
        row("adit: find, keep", &adit_find, &register_adit);
        row("adit: find, choose, begin", &adit_dispatch, &register_adit);
    }
    registrations(&adit);
    let hosts = Hosts::new(HOT, uniform);
    let allocations = allocation_counter::measure(|| {
        for host in hosts.iter() {
            assert!(adit_find(host) && adit_look(host) && adit_reader(host));
        }
    });
    println!("\nallocations in {} lookups: {}", LOOKUPS * 3, allocations.count_total);
}

/// What a registration costs its writer, as a change of its own and among many that become visible together.
fn registrations(adit: &RouteTable<u64>) {
    let attach = |turn: u64| (TunnelId::from_u128(u128::from(mix(turn) % TUNNELS)), Join::Replace, turn);
    let start = Instant::now();
    for turn in 0..BURST {
        let (id, join, handle) = attach(turn);
        adit.attach(id, join, handle).unwrap();
    }
    let alone = start.elapsed().as_nanos() as f64 / BURST as f64;
    let start = Instant::now();
    adit.update(|update| {
        (BURST..2 * BURST)
            .map(attach)
            .try_for_each(|(id, join, handle)| update.attach(id, join, handle).map(drop))
    })
    .unwrap();
    let together = start.elapsed().as_nanos() as f64 / BURST as f64;
    println!("\nregistration: {alone:.0} ns alone, {together:.0} ns each in a change of {BURST}");
}

struct Waits {
    for_one: f64,
}

/// What a load costs that waits for the one before it, in as much memory as the parts of the table have.
fn waits() -> Waits {
    println!("one load after another, at random in");
    let show = |title: &str, nanoseconds: f64| {
        println!("{title:52} {nanoseconds:6.1} ns");
        nanoseconds
    };
    show("16 KiB (a core's own cache)", chase(16 << 10));
    let for_one = show("64 MiB (a million names and pointers)", chase(SLOTS));
    show("128 MiB (a million tunnels)", chase(TUNNEL_BYTES));
    show("64 MiB, and from there one in 128 MiB", chase_both(SLOTS, TUNNEL_BYTES));
    Waits { for_one }
}

/// One cycle through all lines of `bytes` of memory, in the order of a shuffled deck.
fn chase(bytes: usize) -> f64 {
    let order = deck(bytes);
    let mut memory = vec![Line::default(); order.len()];
    for (at, line) in order.iter().enumerate() {
        memory[*line][0] = order[(at + 1) % order.len()] as u64;
    }
    let mut at = 0;
    steps(|| at = black_box(memory[at][0] as usize))
}

/// As [`chase`], with each line of the one memory between two of the other.
fn chase_both(bytes: usize, others: usize) -> f64 {
    let (order, other_order) = (deck(bytes), deck(others));
    let mut memory = vec![Line::default(); order.len()];
    let mut other_memory = vec![Line::default(); other_order.len()];
    for (at, line) in order.iter().enumerate() {
        let other = other_order[at];
        memory[*line][0] = other as u64;
        other_memory[other][0] = order[(at + 1) % order.len()] as u64;
    }
    let mut at = 0;
    steps(|| at = black_box(other_memory[memory[at][0] as usize][0] as usize))
}

/// The lines of `bytes` of memory as a shuffled deck.
fn deck(bytes: usize) -> Vec<usize> {
    let lines = bytes / size_of::<Line>();
    let mut order: Vec<usize> = (0..lines).collect();
    for at in (1..lines).rev() {
        order.swap(at, mix(at as u64) as usize % (at + 1));
    }
    order
}

fn steps(mut step: impl FnMut()) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            (0..LOOKUPS).for_each(|_| step());
            start.elapsed().as_nanos() as f64 / LOOKUPS as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

const SLOTS: usize = 64 << 20;
const TUNNEL_BYTES: usize = 128 << 20;

type Line = [u64; 8];

fn criterion_figures(criterion: &mut Criterion) {
    let zones = zones();
    let adit = adit();
    let hosts = Hosts::new(TUNNELS, uniform);
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

fn row(
    title: &str,
    hosts: &Hosts,
    limit: f64,
    look_up: &dyn Fn(&[u8]) -> bool,
    register: &(dyn Fn(u64) + Sync),
) {
    let quiet = median(hosts, look_up);
    let is_done = AtomicBool::new(false);
    let busy = std::thread::scope(|scope| {
        scope.spawn(|| register_steadily(&is_done, register));
        let busy = median(hosts, look_up);
        is_done.store(true, Ordering::Relaxed);
        busy
    });
    println!("{title:28} {quiet:6.1} {busy:10.1} {:21.2} {:10.2}", busy / quiet, quiet / limit);
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

fn register_steadily(is_done: &AtomicBool, register: &dyn Fn(u64)) {
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
    /// The hosts of a million visitors, each of whom `choose`s by a random number, from so many tunnels.
    fn new(of: u64, choose: impl Fn(u64, u64) -> u64) -> Self {
        let mut hosts = Self { bytes: Vec::new(), ends: vec![0] };
        for turn in 0..LOOKUPS as u64 {
            let number = choose(mix(turn), of);
            hosts.bytes.extend_from_slice(format!("{}.tunnel.example", name(number)).as_bytes());
            hosts.ends.push(hosts.bytes.len());
        }
        hosts
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.ends.windows(2).map(|ends| &self.bytes[ends[0]..ends[1]])
    }
}

fn uniform(random: u64, of: u64) -> u64 {
    random % of
}

/// The host that ranks n-th is wanted 1/n as often as the first; where the ranks lie is left to chance.
fn zipf() -> impl Fn(u64, u64) -> u64 {
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=TUNNELS)
        .map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        })
        .collect();
    move |random, of| {
        let point = (random >> 11) as f64 / (1_u64 << 53) as f64 * sum;
        mix(sums.partition_point(|sum| *sum < point) as u64) % of
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
