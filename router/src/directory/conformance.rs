//! The promises of a [`Directory`], as code that any engine can be held to.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use adit_naming::TunnelId;

use super::{Change, Directory, DirectoryError, Fence, NodeId, Placement, View, Watch};

/// An engine under test.
pub trait Cluster {
    /// The directory that it gives.
    type Directory: Directory;

    /// The directory.
    fn directory(&self) -> &Self::Directory;

    /// Lets so much of the engine's time pass. Engines of their own wait; those with a clock set it.
    fn outlast(&self, time: Duration) -> impl Future<Output = ()> + Send;
}

/// Holds a directory to the promises; `make` gives an empty one each time. Drive the future on the engine's own runtime.
///
/// With an engine that lives by the wall clock it takes about half a minute.
///
/// # Panics
/// If a promise is broken, saying which.
pub async fn run<C: Cluster>(make: impl Fn() -> C) {
    what_is_claimed_is_found_until_it_is_released(make().directory()).await;
    fences_only_grow(make().directory()).await;
    a_claim_on_old_news_is_refused(make().directory()).await;
    of_those_who_race_on_one_state_one_succeeds(make().directory()).await;
    only_the_fence_that_stands_releases(make().directory()).await;
    a_lease_takes_its_claims_with_it_in_one_revision(make().directory()).await;
    an_ended_lease_never_comes_back(make().directory()).await;
    a_claim_that_changed_hands_survives_the_lease_before(make().directory()).await;
    a_lease_lives_while_it_is_renewed_and_not_longer(&make()).await;
    a_watch_gives_every_change_once_and_in_order(make().directory()).await;
    each_watch_gives_every_change_and_a_dropped_wait_loses_none(make().directory()).await;
    a_view_that_follows_has_what_a_snapshot_has(make().directory()).await;
}

async fn what_is_claimed_is_found_until_it_is_released(directory: &impl Directory) {
    let lease = open(directory, 1).await;
    assert_eq!(directory.resolve(ONE).await, Ok(None), "nothing is found in an empty directory");
    let fence = claim(directory, lease, ONE, None).await;
    let placement = Placement::new(NodeId::new(1), fence, lease);
    assert_eq!(directory.resolve(ONE).await, Ok(Some(placement)), "a claim is found at once");
    assert_eq!(directory.resolve(TWO).await, Ok(None), "others find nothing");
    assert_eq!(directory.release(ONE, fence).await, Ok(true), "it can be released");
    assert_eq!(directory.resolve(ONE).await, Ok(None), "and is gone at once");
}

async fn fences_only_grow(directory: &impl Directory) {
    let lease = open(directory, 1).await;
    let first = claim(directory, lease, ONE, None).await;
    let second = claim(directory, lease, ONE, Some(first)).await;
    assert!(second > first, "a claim in place of another has a greater fence");
    assert_eq!(directory.release(ONE, second).await, Ok(true));
    let third = claim(directory, lease, ONE, None).await;
    assert!(third > second, "also after a release");
    assert_eq!(directory.end_lease(lease).await, Ok(()));
    let lease = open(directory, 1).await;
    assert!(claim(directory, lease, ONE, None).await > third, "and after the end of a lease");
}

async fn a_claim_on_old_news_is_refused(directory: &impl Directory) {
    let (one, other) = (open(directory, 1).await, open(directory, 2).await);
    let first = claim(directory, one, ONE, None).await;
    let standing = Some(Placement::new(NodeId::new(1), first, one));
    let refused = Err(DirectoryError::Held { standing });
    assert_eq!(directory.claim(other, ONE, None).await, refused, "who saw nothing can't replace a claim");
    let second = claim(directory, other, ONE, Some(first)).await;
    let standing = Some(Placement::new(NodeId::new(2), second, other));
    let refused = Err(DirectoryError::Held { standing });
    assert_eq!(directory.claim(one, ONE, Some(first)).await, refused, "nor who saw an older one");
    assert_eq!(directory.release(ONE, second).await, Ok(true));
    let refused = Err(DirectoryError::Held { standing: None });
    assert_eq!(directory.claim(one, ONE, Some(second)).await, refused, "nor who saw one that is gone");
}

async fn of_those_who_race_on_one_state_one_succeeds(directory: &impl Directory) {
    let mut leases = Vec::new();
    for node in 0..RACERS {
        leases.push(open(directory, node).await);
    }
    let mut seen = None;
    for _round in 0..4 {
        let racers = leases.iter().map(|lease| directory.claim(*lease, ONE, seen));
        let results = all(racers).await;
        let won: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
        let [fence] = won.as_slice() else {
            panic!("of those who race exactly one succeeds, not {}", won.len())
        };
        let stands = directory.resolve(ONE).await.map(|found| found.map(|placement| placement.fence));
        assert_eq!(stands, Ok(Some(**fence)), "and its claim stands");
        seen = Some(**fence);
    }
}

async fn only_the_fence_that_stands_releases(directory: &impl Directory) {
    let lease = open(directory, 1).await;
    let first = claim(directory, lease, ONE, None).await;
    let second = claim(directory, lease, ONE, Some(first)).await;
    assert_eq!(directory.release(ONE, first).await, Ok(false), "an older fence releases nothing");
    assert_eq!(directory.release(TWO, second).await, Ok(false), "nor does that of another tunnel");
    assert!(matches!(directory.resolve(ONE).await, Ok(Some(_))), "the claim still stands");
    assert_eq!(directory.release(ONE, second).await, Ok(true));
    assert_eq!(directory.release(ONE, second).await, Ok(false), "a second time changes nothing");
}

async fn a_lease_takes_its_claims_with_it_in_one_revision(directory: &impl Directory) {
    let (one, other) = (open(directory, 1).await, open(directory, 2).await);
    for number in 0..50 {
        claim(directory, one, TunnelId::from_u128(number), None).await;
    }
    let kept = TunnelId::from_u128(1_000);
    claim(directory, other, kept, None).await;
    let before = directory.snapshot().await.expect("a snapshot can be taken");
    let mut watch = directory.watch(before.revision).await.expect("a watch can be opened");
    assert_eq!(directory.end_lease(one).await, Ok(()));
    let batch = watch.next().await.expect("the end is seen");
    assert_eq!(batch.changes.len(), 50, "all claims end in one revision");
    assert!(batch.changes.iter().all(|change| matches!(change, Change::Gone { .. })));
    let after = directory.snapshot().await.expect("a snapshot can be taken");
    assert_eq!(after.claims.len(), 1, "and only those");
    assert!(matches!(directory.resolve(kept).await, Ok(Some(_))));
}

async fn an_ended_lease_never_comes_back(directory: &impl Directory) {
    let lease = open(directory, 1).await;
    let fence = claim(directory, lease, TWO, None).await;
    assert_eq!(directory.end_lease(lease).await, Ok(()));
    assert_eq!(directory.end_lease(lease).await, Ok(()), "ending it again is no error");
    assert_eq!(directory.release(TWO, fence).await, Ok(false), "what it had is gone");
    assert_eq!(directory.renew(lease).await, Err(DirectoryError::LeaseLost {}), "it can't be renewed");
    let claimed = directory.claim(lease, ONE, None).await;
    assert_eq!(claimed, Err(DirectoryError::LeaseLost {}), "it claims nothing");
    assert_ne!(open(directory, 1).await, lease, "the next one is another");
}

async fn a_claim_that_changed_hands_survives_the_lease_before(directory: &impl Directory) {
    let (one, other) = (open(directory, 1).await, open(directory, 2).await);
    let first = claim(directory, one, ONE, None).await;
    let second = claim(directory, other, ONE, Some(first)).await;
    assert_eq!(directory.end_lease(one).await, Ok(()));
    let standing = Placement::new(NodeId::new(2), second, other);
    assert_eq!(directory.resolve(ONE).await, Ok(Some(standing)));
}

async fn a_lease_lives_while_it_is_renewed_and_not_longer<C: Cluster>(cluster: &C) {
    let directory = cluster.directory();
    let lease = open(directory, 1).await;
    claim(directory, lease, ONE, None).await;
    for _renewal in 0..3 {
        cluster.outlast(TIME_TO_LIVE / 2).await;
        assert_eq!(directory.renew(lease).await, Ok(()), "a lease can be renewed in time");
    }
    assert!(matches!(directory.resolve(ONE).await, Ok(Some(_))), "renewed, it outlives its time to live");
    let before = directory.snapshot().await.expect("a snapshot can be taken");
    let mut watch = directory.watch(before.revision).await.expect("a watch can be opened");
    cluster.outlast(TIME_TO_LIVE * 2).await;
    assert_eq!(directory.resolve(ONE).await, Ok(None), "not renewed, it ends");
    let batch = watch.next().await.expect("the end is seen");
    assert!(matches!(batch.changes.as_slice(), [Change::Gone { tunnel: ONE, .. }]));
    assert_eq!(directory.renew(lease).await, Err(DirectoryError::LeaseLost {}), "and is not renewed late");
}

async fn a_watch_gives_every_change_once_and_in_order(directory: &impl Directory) {
    let lease = open(directory, 1).await;
    claim(directory, lease, TWO, None).await;
    let start = directory.snapshot().await.expect("a snapshot can be taken");
    let mut watch = directory.watch(start.revision).await.expect("a watch can be opened");
    let first = claim(directory, lease, ONE, None).await;
    let second = claim(directory, lease, ONE, Some(first)).await;
    assert_eq!(directory.release(ONE, second).await, Ok(true));
    let placement = |fence| Placement::new(NodeId::new(1), fence, lease);
    let mut last = start.revision;
    for expected in [
        Change::Claimed { tunnel: ONE, placement: placement(first) },
        Change::Claimed { tunnel: ONE, placement: placement(second) },
        Change::Gone { tunnel: ONE, fence: second },
    ] {
        let batch = watch.next().await.expect("no gap in a short history");
        assert_eq!(batch.changes, [expected], "every change, once, and none from before the snapshot");
        assert!(batch.revision > last, "revisions grow");
        last = batch.revision;
    }
}

async fn each_watch_gives_every_change_and_a_dropped_wait_loses_none(directory: &impl Directory) {
    let lease = open(directory, 1).await;
    let start = directory.snapshot().await.expect("a snapshot can be taken").revision;
    let mut one = directory.watch(start).await.expect("a watch can be opened");
    let mut other = directory.watch(start).await.expect("a second one can be opened");
    poll_once(one.next()).await;
    let first = claim(directory, lease, ONE, None).await;
    assert_eq!(directory.release(ONE, first).await, Ok(true));
    for watch in [&mut one, &mut other] {
        let made = watch.next().await.expect("no gap in a short history").revision;
        assert_eq!(
            made,
            first.revision(),
            "every watch has it, and a wait that was dropped took nothing along"
        );
        let ended = watch.next().await.expect("no gap in a short history").revision;
        assert!(ended > made);
    }
}

/// Begins to wait, and gives up.
async fn poll_once(future: impl Future) {
    let mut future = Box::pin(future);
    poll_fn(|cx| {
        drop(future.as_mut().poll(cx));
        Poll::Ready(())
    })
    .await;
}

async fn a_view_that_follows_has_what_a_snapshot_has(directory: &impl Directory) {
    let (one, other) = (open(directory, 1).await, open(directory, 2).await);
    claim(directory, one, ONE, None).await;
    let snapshot = directory.snapshot().await.expect("a snapshot can be taken");
    let mut watch = directory.watch(snapshot.revision).await.expect("a watch can be opened");
    let mut view = View::of(snapshot);
    for number in 10..30 {
        let lease = if number % 2 == 0 { one } else { other };
        let fence = claim(directory, lease, TunnelId::from_u128(number), None).await;
        if number % 3 == 0 {
            assert_eq!(directory.release(TunnelId::from_u128(number), fence).await, Ok(true));
        }
    }
    assert_eq!(directory.end_lease(one).await, Ok(()));
    let snapshot = directory.snapshot().await.expect("a snapshot can be taken");
    while view.revision() < snapshot.revision {
        let batch = watch.next().await.expect("no gap in a short history");
        assert_eq!(view.apply(&batch), Ok(()), "no batch ends what the view has not seen");
    }
    let expected = View::of(snapshot);
    assert_eq!(view.len(), expected.len());
    for number in 0..30 {
        let tunnel = TunnelId::from_u128(number);
        assert_eq!(view.find(tunnel), expected.find(tunnel));
    }
}

async fn open(directory: &impl Directory, node: u64) -> super::LeaseId {
    directory.open_lease(NodeId::new(node), TIME_TO_LIVE).await.expect("a lease can be opened")
}

async fn claim(
    directory: &impl Directory,
    lease: super::LeaseId,
    tunnel: TunnelId,
    seen: Option<Fence>,
) -> Fence {
    directory.claim(lease, tunnel, seen).await.expect("a claim on the state that stands succeeds")
}

/// Drives all of them together, in one task.
async fn all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<Pin<Box<F>>> = futures.map(Box::pin).collect();
    let mut results = Vec::new();
    poll_fn(|cx| {
        running.retain_mut(|future| match future.as_mut().poll(cx) {
            Poll::Ready(result) => {
                results.push(result);
                false
            }
            Poll::Pending => true,
        });
        if running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    results
}

const ONE: TunnelId = TunnelId::from_u128(1);
const TWO: TunnelId = TunnelId::from_u128(2);
const TIME_TO_LIVE: Duration = Duration::from_secs(5);
const RACERS: u64 = 16;
