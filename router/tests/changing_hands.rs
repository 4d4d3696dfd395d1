//! R-16 across the crates: a name is released and claimed by another. What the first owner left behind is dead: agent, work,
//! share, running stream, and the claim itself.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use adit_naming::ownership::{MemoryStore, OwnerId, OwnershipRules, Registry};
use adit_naming::{ShareName, Timestamp, TunnelId, TunnelName};
use adit_router::{
    AttachError, AuthMode, Command, Dispatch, Generation, Join, Moment, NewRecord, NewShare, Pass, Policy,
    Presence, PublishError, Record, RouteKey, RouteTable, Share, ShareExpiry, ShareKey, Shares, Standing,
    Verdict, Visit,
};
use http::Request;

#[test]
fn r16_what_the_first_owner_of_a_name_left_is_dead_when_another_has_it() {
    let mut registry = Registry::new(MemoryStore::new(), OwnershipRules::default());
    let table = RouteTable::<&str, Arc<Tenant>>::new();
    let name = TunnelName::parse("my-app").unwrap();
    let key = RouteKey::name(name.borrowed());

    // Alice has the name, an agent, a share, and a visitor in the middle of a stream.
    let claim = registry.claim(name.borrowed(), ALICE, wall(0)).unwrap();
    let first = claim.generation();
    let mut alice = Tenant::new(ONE, &name, 7);
    table.publish(ONE, [key.into_owned()], Arc::new(alice.clone())).unwrap();
    let agent = table.attach(ONE, Join::Replace, "agent of Alice").unwrap().agent;
    let looked_up = table.find(key).unwrap();
    let running = Dispatch::new(0).next(&looked_up).unwrap().begin().unwrap();
    let pass = alice.visit(&alice.share, at(0)).expect("her share opens her tunnel");

    // She deletes the tunnel. Nobody has the name within the grace; then Bob does.
    registry.release(claim, wall(0)).unwrap();
    alice.record.apply(Command::Delete, at(0).system()).unwrap();
    table.withdraw(ONE).unwrap();
    assert!(registry.claim(name.borrowed(), BOB, wall(DAY - 1)).is_err());
    let claim = registry.claim(name.borrowed(), BOB, wall(DAY)).unwrap();
    let bob = Tenant::new(TWO, &name, 8);
    table.publish(TWO, [key.into_owned()], Arc::new(bob.clone())).unwrap();
    let now = at(DAY);

    // The name leads to Bob's tunnel, which has no agent yet: nobody's work goes to Alice's.
    let found = table.find(key).unwrap();
    assert_eq!((found.id(), found.agents().len()), (TWO, 0));
    assert_eq!(agent.standing(), Standing::Gone, "her session's streams are to be reset");
    assert!(agent.begin().is_err() && looked_up.agents()[0].begin().is_err());
    assert_eq!(agent.in_flight(), 1, "what ran before is known, so that it can be cut off");
    drop(running);

    // Her agent comes back: its tunnel is not there, under Bob's it isn't asked, and its generation is not used again.
    let refused = table.attach(ONE, Join::Replace, "agent of Alice").unwrap_err();
    assert_eq!(refused, AttachError::UnknownTunnel { id: ONE });
    let refused = table.publish(ONE, [key.into_owned()], Arc::new(alice.clone())).unwrap_err();
    assert!(matches!(refused, PublishError::KeyTaken { holder: TWO, .. }));
    let bobs = table.attach(TWO, Join::Replace, "agent of Bob").unwrap().agent;
    assert!(bobs.generation() > agent.generation() && agent.generation() > Generation::NONE);
    assert!(table.detach(TWO, agent.generation()).is_none(), "the end of her session ends nothing of his");

    // Her share opens nothing at his tunnel, her visitor's stream may not go on, and her claim proves nothing.
    assert_eq!(bob.visit(&alice.share, now).err(), Some(404));
    assert!(bob.visit(&bob.share, now).is_ok());
    assert!(alice.policy.recheck(&alice.record, &pass, now).is_err());
    assert!(bob.policy.recheck(&bob.record, &pass, now).is_err());
    assert!(registry.prove(name.borrowed(), ALICE, wall(DAY)).is_err());
    assert!(registry.restore(name.borrowed(), ALICE, wall(DAY)).is_err());
    assert!(claim.generation() > first);
}

/// A tunnel that only a share opens.
#[derive(Clone)]
struct Tenant {
    record: Record,
    policy: Policy,
    share: Arc<ShareKey>,
}

impl Tenant {
    fn new(id: TunnelId, name: &TunnelName, random: u128) -> Self {
        let (record, _created) = Record::create(NewRecord::new(id, name.clone()), at(0).system());
        let share = ShareKey::from_random(random);
        let terms = NewShare::new(ShareName::parse("for the client").unwrap()).expiry(ShareExpiry::Never);
        let mut shares = Shares::new();
        shares.add(Arc::new(Share::new(&share, terms, at(0))), at(0)).unwrap();
        let policy = Policy::new().auth(AuthMode::Shares).shares(shares);
        Self { record, policy, share: Arc::new(share) }
    }

    /// Lets a visitor with this share in, or says with which status it is refused.
    fn visit(&self, share: &ShareKey, now: Moment) -> Result<Pass, u16> {
        let request = Request::get("/").header("x-adit-share", share.reveal().as_str()).body(()).unwrap();
        let visit = Visit::request([192, 0, 2, 7].into(), &request);
        match self.policy.decide(&self.record, Presence::Awake, &visit, now).into_verdict() {
            Verdict::Forward(forward) => Ok(*forward.pass()),
            Verdict::Deny(denial) => Err(denial.refusal().status()),
            verdict @ (Verdict::Wake(_) | Verdict::AwaitBody(_) | Verdict::Enter(_)) => {
                panic!("neither let in nor refused: {verdict:?}")
            }
        }
    }
}

fn wall(seconds: u64) -> Timestamp {
    Timestamp::from_unix_millis(1_800_000_000_000).saturating_add(Duration::from_secs(seconds))
}

fn at(seconds: u64) -> Moment {
    let passed = Duration::from_secs(seconds);
    Moment::new(start() + passed, SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + passed)
}

fn start() -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "there is no other way to get an Instant")]
    *START.get_or_init(Instant::now)
}

const ALICE: OwnerId = OwnerId::from_u128(1);
const BOB: OwnerId = OwnerId::from_u128(2);
const ONE: TunnelId = TunnelId::from_u128(1);
const TWO: TunnelId = TunnelId::from_u128(2);
const DAY: u64 = 86_400;
