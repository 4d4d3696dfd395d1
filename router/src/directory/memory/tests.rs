use std::pin::pin;

use proptest::prelude::*;

use super::super::View;
use super::super::conformance::{self, Cluster};
use super::*;

#[test]
fn the_directory_in_memory_keeps_every_promise() {
    finish(conformance::run(|| InMemory { directory: MemoryDirectory::new(1_000, start()) }));
}

#[test]
fn a_full_directory_takes_no_new_tunnel_but_lets_one_change_hands() {
    let directory = MemoryDirectory::new(1, start());
    let lease = finish(directory.open_lease(NodeId::new(1), HOUR)).unwrap();
    let fence = finish(directory.claim(lease, tunnel(1), None)).unwrap();
    assert_eq!(finish(directory.claim(lease, tunnel(2), None)), Err(DirectoryError::Full {}));
    assert!(finish(directory.claim(lease, tunnel(1), Some(fence))).is_ok());
}

#[test]
fn a_watch_that_is_too_far_behind_has_a_gap_and_not_a_hole() {
    let directory = MemoryDirectory::new(100, start()).max_history(2);
    let lease = finish(directory.open_lease(NodeId::new(1), HOUR)).unwrap();
    let mut watch = finish(directory.watch(Revision::START)).unwrap();
    for number in 0..3 {
        finish(directory.claim(lease, tunnel(number), None)).unwrap();
    }
    assert_eq!(finish(watch.next()), Err(WatchError::Gap {}));
    let mut late = finish(directory.watch(Revision::new(1))).unwrap();
    assert_eq!(finish(late.next()).unwrap().revision, Revision::new(2));
}

#[test]
fn a_waiting_watch_is_woken_by_a_change() {
    let directory = MemoryDirectory::new(100, start());
    let lease = finish(directory.open_lease(NodeId::new(1), HOUR)).unwrap();
    let mut watch = finish(directory.watch(Revision::START)).unwrap();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut next = pin!(watch.next());
    let mut context = Context::from_waker(&waker);
    assert!(next.as_mut().poll(&mut context).is_pending());
    finish(directory.claim(lease, tunnel(1), None)).unwrap();
    assert!(woken.0.load(std::sync::atomic::Ordering::SeqCst));
    assert!(next.as_mut().poll(&mut context).is_ready());
}

/// Each racer looks, is interrupted, and claims on what it saw.
#[test]
fn in_every_order_of_racing_claims_each_state_is_replaced_once() {
    shuttle::check_random(
        || {
            let directory = MemoryDirectory::new(10, start());
            let racers: Vec<_> = (0..3)
                .map(|node| {
                    let directory = directory.clone();
                    shuttle::thread::spawn(move || {
                        let lease = finish(directory.open_lease(NodeId::new(node), HOUR)).unwrap();
                        let seen = finish(directory.resolve(tunnel(1))).unwrap().map(|found| found.fence);
                        shuttle::thread::yield_now();
                        (seen, finish(directory.claim(lease, tunnel(1), seen)))
                    })
                })
                .collect();
            let results: Vec<_> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
            let mut replaced: Vec<_> =
                results.iter().filter(|(_, won)| won.is_ok()).map(|(seen, _)| *seen).collect();
            let won = replaced.len();
            replaced.sort_unstable();
            replaced.dedup();
            assert_eq!((won, won > 0), (replaced.len(), true), "two replaced the same claim");
            let newest = results.iter().filter_map(|(_, won)| won.ok()).max();
            let standing = finish(directory.resolve(tunnel(1))).unwrap().map(|found| found.fence);
            assert_eq!(standing, newest);
        },
        1_000,
    );
}

proptest! {
    /// Any list of calls against a naive model; then a view that followed them has what a new snapshot has.
    #[test]
    fn any_list_of_calls_agrees_with_a_naive_model(calls in prop::collection::vec(call(), 0..80), cut in 0usize..80) {
        let directory = MemoryDirectory::new(1_000, start());
        let mut leases = Vec::new();
        let mut model: BTreeMap<u128, (usize, u64)> = BTreeMap::new();
        let (mut seconds, mut newest) = (0u64, 0u64);
        let mut view = View::default();
        let mut watch = finish(directory.watch(Revision::START)).unwrap();
        for (step, call) in calls.into_iter().enumerate() {
            match call {
                Call::Open(ttl) => {
                    let time_to_live = Duration::from_secs(ttl);
                    let id = finish(directory.open_lease(NodeId::new(ttl), time_to_live)).unwrap();
                    leases.push((id, ttl, seconds + ttl, true));
                }
                Call::Claim(lease, number, is_informed) if !leases.is_empty() => {
                    let index = lease % leases.len();
                    let (id, .., is_open) = leases[index];
                    let standing = model.get(&number).map(|(_, fence)| Fence::at(Revision::new(*fence)));
                    let seen = if is_informed { standing } else { None };
                    match finish(directory.claim(id, tunnel(number), seen)) {
                        Ok(fence) => {
                            prop_assert!(is_open && seen == standing);
                            prop_assert!(fence.revision().number() > newest, "fences grow");
                            newest = fence.revision().number();
                            model.insert(number, (index, newest));
                        }
                        Err(DirectoryError::LeaseLost {}) => prop_assert!(!is_open),
                        Err(DirectoryError::Held { standing: told }) => {
                            prop_assert!(is_open && seen != standing);
                            prop_assert_eq!(told.map(|told| told.fence), standing);
                        }
                        Err(other) => prop_assert!(false, "{}", other),
                    }
                }
                Call::Release(number, is_informed) => {
                    let held = model.get(&number).map(|(_, fence)| *fence);
                    let fence = Fence::at(Revision::new(if is_informed { held.unwrap_or(0) } else { 0 }));
                    let is_released = finish(directory.release(tunnel(number), fence)).unwrap();
                    prop_assert_eq!(is_released, is_informed && held.is_some());
                    if is_released {
                        model.remove(&number);
                    }
                }
                Call::Renew(lease) if !leases.is_empty() => {
                    let index = lease % leases.len();
                    let is_renewed = finish(directory.renew(leases[index].0)).is_ok();
                    prop_assert_eq!(is_renewed, leases[index].3);
                    leases[index].2 = seconds + leases[index].1;
                }
                Call::Advance(by) => {
                    seconds += by;
                    directory.advance(start() + Duration::from_secs(seconds));
                    for (index, lease) in leases.iter_mut().enumerate() {
                        if lease.3 && lease.2 <= seconds {
                            lease.3 = false;
                            model.retain(|_, (holder, _)| *holder != index);
                        }
                    }
                }
                Call::Claim(..) | Call::Renew(_) => {}
            }
            for number in 0..4 {
                let found = finish(directory.resolve(tunnel(number))).unwrap();
                prop_assert_eq!(
                    found.map(|placement| (placement.lease, placement.fence.revision().number())),
                    model.get(&number).map(|(index, fence)| (leases[*index].0, *fence))
                );
            }
            if step == cut {
                // Another node joins here: from a snapshot, and what follows.
                let snapshot = finish(directory.snapshot()).unwrap();
                watch = finish(directory.watch(snapshot.revision)).unwrap();
                view = View::of(snapshot);
            }
        }
        while let Some(batch) = at_once(watch.next()) {
            view.apply(&batch.unwrap()).unwrap();
        }
        let now = View::of(finish(directory.snapshot()).unwrap());
        prop_assert_eq!(view.revision(), now.revision());
        for number in 0..4 {
            prop_assert_eq!(view.find(tunnel(number)), now.find(tunnel(number)));
        }
        prop_assert_eq!(view.len(), now.len());
    }
}

#[derive(Clone, Debug)]
enum Call {
    Open(u64),
    Claim(usize, u128, bool),
    Release(u128, bool),
    Renew(usize),
    Advance(u64),
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        2 => (1u64..20).prop_map(Call::Open),
        8 => (0usize..4, 0u128..4, prop::bool::weighted(0.8)).prop_map(|(l, t, i)| Call::Claim(l, t, i)),
        2 => (0u128..4, prop::bool::weighted(0.8)).prop_map(|(t, i)| Call::Release(t, i)),
        2 => (0usize..4).prop_map(Call::Renew),
        2 => (0u64..15).prop_map(Call::Advance),
    ]
}

struct InMemory {
    directory: MemoryDirectory,
}

impl Cluster for InMemory {
    type Directory = MemoryDirectory;

    fn directory(&self) -> &MemoryDirectory {
        &self.directory
    }

    async fn outlast(&self, time: Duration) {
        let now = self.directory.state().now;
        self.directory.advance(now + time);
    }
}

#[derive(Default)]
struct Woken(std::sync::atomic::AtomicBool);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

fn finish<T>(future: impl Future<Output = T>) -> T {
    at_once(future).expect("a future of the memory directory waits")
}

fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn tunnel(number: u128) -> TunnelId {
    TunnelId::from_u128(number)
}

/// One instant for a whole test program, so that times can be compared.
fn start() -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    *START.get_or_init(Instant::now)
}

const HOUR: Duration = Duration::from_secs(3600);
