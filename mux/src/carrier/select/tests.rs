//! The selector against a network that it doesn't see.
#![expect(clippy::disallowed_methods, reason = "a test owns its clock")]

use super::*;
use crate::Carrier;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What becomes of a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Open { latency: Duration },
    Closed,
    Silent,
}

/// A network, and the agent's part: dials, and sessions made of them. Checks each verdict against what is under way.
struct World {
    selector: Selector,
    order: Vec<Carrier>,
    now: Instant,
    ways: BTreeMap<Carrier, Way>,
    /// When what is dialled is answered or refused, if ever.
    dials: BTreeMap<Carrier, Option<(Instant, bool)>>,
    /// The session that is being made.
    settling: Option<Carrier>,
    serving: Option<Carrier>,
    said: Vec<Verdict>,
}

impl World {
    fn new(preferences: Preferences) -> Self {
        let order: Vec<_> = preferences.order().collect();
        let open = Way::Open { latency: ms(20) };
        let ways = order.iter().map(|carrier| (*carrier, open)).collect();
        Self {
            selector: Selector::new(preferences, 7),
            order,
            now: Instant::now(),
            ways,
            dials: BTreeMap::new(),
            settling: None,
            serving: None,
            said: Vec::new(),
        }
    }

    fn begun(preferences: Preferences, ways: &[(Carrier, Way)]) -> Self {
        let mut world = Self::new(preferences);
        world.ways.extend(ways.iter().copied());
        world.selector.begin(world.now);
        world.listen();
        world
    }

    /// Carries the verdicts out.
    fn listen(&mut self) {
        while let Some(verdict) = self.selector.poll_verdict() {
            self.said.push(verdict);
            match verdict {
                Verdict::Start { carrier } => {
                    assert_eq!((self.serving, self.settling), (None, None), "{:?}", self.said);
                    self.dial(carrier);
                }
                Verdict::Probe { carrier } => {
                    assert!(self.serving.is_some_and(|serving| serving != carrier), "{:?}", self.said);
                    self.dial(carrier);
                }
                Verdict::Cancel { carrier } => {
                    assert!(self.dials.remove(&carrier).is_some(), "{:?}", self.said);
                }
                Verdict::Use { carrier } => {
                    assert_eq!((self.serving, self.settling), (None, None), "{:?}", self.said);
                    self.settling = Some(carrier);
                }
                Verdict::MoveOver { from, to } => {
                    assert_eq!((self.serving, self.settling), (Some(from), None), "{:?}", self.said);
                    self.settling = Some(to);
                }
                Verdict::GiveUp => assert_eq!(self.serving, None, "{:?}", self.said),
            }
        }
        self.check();
    }

    fn check(&self) {
        let timeout = self.selector.poll_timeout();
        assert!(timeout.is_none_or(|at| at > self.now), "a deadline that is due is dealt with");
        if !self.dials.is_empty() {
            assert!(timeout.is_some(), "dials are not waited for without end");
            assert_eq!(self.settling, None, "whoever has won dials no more");
        }
        if self.serving.is_some_and(|serving| serving != self.order[0]) && self.settling.is_none() {
            assert!(timeout.is_some(), "better ones are tried again");
        }
        let chosen = self.selector.choice().map(Choice::carrier);
        assert_eq!(chosen, self.serving.or(self.settling), "{:?}", self.said);
    }

    fn dial(&mut self, carrier: Carrier) {
        let end = match self.ways[&carrier] {
            Way::Open { latency } => Some((self.now + latency, true)),
            Way::Closed => Some((self.now, false)),
            Way::Silent => None,
        };
        assert!(self.dials.insert(carrier, end).is_none(), "one dial at a time: {:?}", self.said);
    }

    /// Lets so much time pass, event by event.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let answers = self.dials.iter().filter_map(|(carrier, end)| end.map(|(at, _)| (at, *carrier)));
            let answer = answers.min().filter(|(at, _)| *at <= until);
            let timeout = self.selector.poll_timeout().filter(|at| *at <= until);
            match (answer, timeout) {
                (Some((at, carrier)), timeout) if timeout.is_none_or(|timeout| at <= timeout) => {
                    self.now = self.now.max(at);
                    let is_answer = self.dials.remove(&carrier).flatten().is_some_and(|(_, is)| is);
                    if is_answer {
                        self.selector.receive_answer(self.now, carrier);
                    } else {
                        self.selector.receive_failure(self.now, carrier, Failure::Unreachable);
                    }
                }
                (_, Some(at)) => {
                    self.now = self.now.max(at);
                    self.selector.handle_timeout(self.now);
                }
                (_, None) => break,
            }
            self.listen();
        }
        self.now = until;
    }

    fn settle(&mut self) {
        if let Some(carrier) = self.settling.take() {
            self.serving = Some(carrier);
            self.selector.receive_ready(self.now, carrier);
            self.listen();
        }
    }

    fn fail_to_settle(&mut self) {
        if let Some(carrier) = self.settling.take() {
            self.selector.receive_loss(self.now, carrier);
            self.listen();
        }
    }

    fn lose(&mut self) {
        if let Some(carrier) = self.serving.take() {
            self.selector.receive_loss(self.now, carrier);
            self.listen();
        }
    }

    /// Time passes and every session comes to serve.
    fn live(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.settle();
            self.pass((until - self.now).min(ms(100)));
        }
        self.settle();
    }

    fn choice(&self) -> (Carrier, Reason) {
        let choice = self.selector.choice().unwrap();
        (choice.carrier(), choice.reason())
    }

    fn starts(&self) -> Vec<Carrier> {
        let start = |verdict: &Verdict| match verdict {
            Verdict::Start { carrier } => Some(*carrier),
            Verdict::Probe { .. }
            | Verdict::Cancel { .. }
            | Verdict::Use { .. }
            | Verdict::MoveOver { .. }
            | Verdict::GiveUp => None,
        };
        self.said.iter().filter_map(start).collect()
    }
}

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

fn seconds(time: u64) -> Duration {
    Duration::from_secs(time)
}

const SILENT: Way = Way::Silent;
use Carrier::{Http2, Native, Quic, WebSocket};

#[test]
fn the_best_carrier_that_answers_in_its_head_start_is_alone() {
    let mut world = World::begun(Preferences::default(), &[]);
    world.live(seconds(3600));
    assert_eq!(world.said, [Verdict::Start { carrier: Quic }, Verdict::Use { carrier: Quic }]);
    assert_eq!(world.choice(), (Quic, Reason::Preferred));
    assert_eq!(world.selector.choice().unwrap().took(), ms(20));
    assert_eq!(world.selector.poll_timeout(), None, "there is nothing to look for");
}

#[test]
fn m27_without_udp_the_next_one_serves_within_five_seconds_and_quic_returns_when_it_opens() {
    let mut world = World::begun(Preferences::default(), &[(Quic, SILENT)]);
    world.live(seconds(5));
    assert_eq!(world.choice(), (Native, Reason::FirstToAnswer));
    let choice = world.selector.choice().unwrap();
    let losers: Vec<_> = choice.losers().iter().map(|loser| (loser.carrier(), loser.outcome())).collect();
    let rest = [(Http2, Outcome::NotAsked), (WebSocket, Outcome::NotAsked)];
    assert_eq!(losers, [&[(Quic, Outcome::TooSlow)], &rest[..]].concat());
    // Blocked still: the session that serves is not touched.
    world.live(seconds(120));
    assert_eq!(world.serving, Some(Native));
    assert!(world.said.contains(&Verdict::Probe { carrier: Quic }));
    world.ways.insert(Quic, Way::Open { latency: ms(20) });
    world.live(seconds(600));
    assert_eq!(world.choice(), (Quic, Reason::Returned));
    assert!(world.said.contains(&Verdict::MoveOver { from: Native, to: Quic }));
}

#[test]
fn m27_what_a_proxy_refuses_is_left_for_the_next_at_once() {
    let preferences = Preferences::new([Http2, WebSocket]);
    let mut world = World::begun(preferences, &[(Http2, Way::Closed)]);
    let begun = world.now;
    world.pass(ms(20));
    assert_eq!(world.settling, Some(WebSocket), "no head start is waited for");
    assert_eq!(world.now - begun, ms(20));
    world.settle();
    assert_eq!(world.choice(), (WebSocket, Reason::Fallback));
}

#[test]
fn m27_what_worked_is_remembered_and_asked_first() {
    let mut world = World::begun(Preferences::default(), &[(Quic, SILENT), (Native, SILENT)]);
    world.live(seconds(100));
    assert_eq!(world.serving, Some(Http2));
    world.lose();
    world.said.clear();
    world.selector.begin(world.now);
    world.listen();
    world.live(seconds(1));
    assert_eq!(world.starts(), [Http2]);
    assert_eq!(world.choice(), (Http2, Reason::Remembered));
    // Not for ever.
    world.lose();
    world.now += seconds(3600);
    world.said.clear();
    world.selector.begin(world.now);
    world.listen();
    assert_eq!(world.starts(), [Quic]);
}

#[test]
fn m27_what_worked_in_another_run_is_asked_first_too() {
    let mut world = World::new(Preferences::default());
    world.selector.recall(world.now, WebSocket);
    world.selector.begin(world.now);
    world.listen();
    assert_eq!(world.starts(), [WebSocket]);
    // What isn't to be used is of no use.
    let mut world = World::new(Preferences::new([Quic, Native]));
    world.selector.recall(world.now, WebSocket);
    world.selector.begin(world.now);
    world.listen();
    assert_eq!(world.starts(), [Quic]);
}

#[test]
fn a_carrier_whose_session_was_lost_early_is_asked_last_until_one_lasts() {
    let mut world = World::begun(Preferences::default(), &[]);
    world.live(seconds(10));
    world.lose();
    world.said.clear();
    world.selector.begin(world.now);
    world.listen();
    world.live(seconds(1));
    assert_eq!(world.starts(), [Native], "a handshake is no proof");
    world.live(seconds(60));
    assert_eq!(world.serving, Some(Quic), "it is tried again all the same");
    world.live(seconds(60));
    world.lose();
    world.said.clear();
    world.selector.begin(world.now);
    world.listen();
    assert_eq!(world.starts(), [Quic]);
}

#[test]
fn probes_get_rarer_up_to_a_bound_and_none_is_in_step_with_another_agent() {
    let waits = |seed: u64| {
        let mut selector = Selector::new(Preferences::new([Quic, Native]), seed);
        let (mut now, mut waits) = (Instant::now(), Vec::new());
        selector.begin(now);
        selector.receive_failure(now, Quic, Failure::Unreachable);
        selector.receive_answer(now, Native);
        selector.receive_ready(now, Native);
        for _ in 0..12 {
            let at = selector.next_probe().unwrap();
            waits.push(at - now);
            now = at;
            selector.handle_timeout(now);
            selector.receive_failure(now, Quic, Failure::NoAnswer);
        }
        waits
    };
    let mut bound = seconds(30);
    for (one, another) in waits(1).into_iter().zip(waits(2)) {
        assert!(bound * 3 / 4 <= one && one <= bound * 5 / 4, "{one:?} around {bound:?}");
        assert_ne!(one, another);
        bound = (bound * 2).min(seconds(600));
    }
}

#[test]
fn a_session_that_does_not_come_to_serve_leaves_the_race_to_the_others() {
    let mut world = World::begun(Preferences::default(), &[]);
    world.pass(ms(20));
    assert_eq!(world.settling, Some(Quic));
    world.fail_to_settle();
    world.live(seconds(1));
    assert_eq!(world.choice(), (Native, Reason::Fallback));
    let lost = world.selector.choice().unwrap().losers()[0];
    assert_eq!((lost.carrier(), lost.outcome()), (Quic, Outcome::Failed(Failure::Lost)));
}

#[test]
fn a_move_that_fails_leaves_the_old_session_and_one_whose_old_session_is_lost_goes_on() {
    let mut world = World::begun(Preferences::new([Quic, Native]), &[(Quic, SILENT)]);
    world.live(seconds(1));
    world.ways.insert(Quic, Way::Open { latency: ms(20) });
    world.pass(seconds(60));
    assert_eq!((world.serving, world.settling), (Some(Native), Some(Quic)));
    world.fail_to_settle();
    assert_eq!(world.choice().0, Native);
    world.pass(seconds(600));
    assert_eq!((world.serving, world.settling), (Some(Native), Some(Quic)));
    world.lose();
    assert_eq!(world.choice().0, Quic, "what is being made takes the place");
    world.settle();
    assert_eq!(world.serving, Some(Quic));
}

#[test]
fn silence_makes_any_other_carrier_welcome_and_a_sign_of_life_takes_that_back() {
    let mut world = World::begun(Preferences::default(), &[]);
    world.live(seconds(100));
    assert_eq!(world.serving, Some(Quic));
    world.ways.insert(Native, SILENT);
    world.selector.receive_silence(world.now);
    world.listen();
    assert!(world.said.contains(&Verdict::Probe { carrier: Native }));
    world.selector.receive_life(world.now);
    world.listen();
    assert!(world.dials.is_empty(), "nothing is better than QUIC");
    world.selector.receive_silence(world.now);
    world.listen();
    world.live(seconds(5));
    assert_eq!(world.choice(), (Http2, Reason::Rescue));
    world.live(seconds(600));
    assert_eq!(world.serving, Some(Quic));
}

#[test]
fn when_nothing_works_the_caller_is_told_what_was_tried() {
    let ways = [(Quic, SILENT), (Native, Way::Closed), (Http2, Way::Closed), (WebSocket, SILENT)];
    let mut world = World::begun(Preferences::default().patience(seconds(2)), &ways);
    world.pass(seconds(10));
    assert_eq!(world.said.last(), Some(&Verdict::GiveUp));
    let failures: Vec<_> = world.selector.losers().iter().map(|loser| loser.outcome()).collect();
    let (silent, closed) = (Outcome::Failed(Failure::NoAnswer), Outcome::Failed(Failure::Unreachable));
    assert_eq!(failures, [silent, closed, closed, silent]);
    world.said.clear();
    world.selector.begin(world.now);
    world.listen();
    assert_eq!(world.starts(), [Quic]);
}

#[test]
fn head_starts_are_each_carriers_own_and_at_nothing_all_begin_at_once() {
    let preferences = Preferences::new([Quic, Native, Quic]).head_start(Quic, Duration::ZERO);
    let world = World::begun(preferences, &[]);
    assert_eq!(world.starts(), [Quic, Native]);
    let preferences = Preferences::default().head_start(Quic, seconds(2)).head_start(Native, seconds(1));
    let mut world = World::begun(preferences, &[(Quic, SILENT), (Native, SILENT), (Http2, SILENT)]);
    world.pass(ms(1_999));
    assert_eq!(world.starts(), [Quic]);
    world.pass(ms(1));
    assert_eq!(world.starts(), [Quic, Native]);
    world.pass(seconds(1));
    assert_eq!(world.starts(), [Quic, Native, Http2]);
}

#[test]
fn what_is_abandoned_is_cancelled_and_says_no_more() {
    let mut world = World::begun(Preferences::default(), &[(Quic, SILENT), (Native, SILENT)]);
    world.pass(ms(400));
    world.selector.abandon(world.now);
    world.listen();
    assert!(world.dials.is_empty());
    world.selector.receive_answer(world.now, Quic);
    world.selector.receive_failure(world.now, Native, Failure::Lost);
    world.selector.receive_ready(world.now, Quic);
    world.listen();
    assert_eq!(world.selector.poll_timeout(), None);
}

/// What a script does to the world.
#[derive(Clone, Debug)]
enum Act {
    Pass(u64),
    Way(usize, Way),
    Settle,
    FailToSettle,
    Lose,
    Silence,
    Life,
    Abandon,
    Begin,
    /// Something that was never asked for, or is over.
    Stray(usize, u8),
}

fn act() -> impl Strategy<Value = Act> {
    let way = prop_oneof![
        (0_u64..2_000).prop_map(|latency| Way::Open { latency: ms(latency) }),
        Just(Way::Closed),
        Just(Way::Silent),
    ];
    prop_oneof![
        4 => (0_u64..50_000).prop_map(Act::Pass),
        3 => (0_u64..500).prop_map(Act::Pass),
        3 => (0_usize..4, way).prop_map(|(carrier, way)| Act::Way(carrier, way)),
        4 => Just(Act::Settle),
        1 => Just(Act::FailToSettle),
        1 => Just(Act::Lose),
        1 => Just(Act::Silence),
        1 => Just(Act::Life),
        1 => Just(Act::Abandon),
        3 => Just(Act::Begin),
        2 => (0_usize..4, 0_u8..4).prop_map(|(carrier, what)| Act::Stray(carrier, what)),
    ]
}

impl World {
    fn play(&mut self, act: &Act) {
        match act {
            Act::Pass(time) => self.pass(ms(*time)),
            Act::Way(carrier, way) => drop(self.ways.insert(Carrier::ALL[*carrier], *way)),
            Act::Settle => self.settle(),
            Act::FailToSettle => self.fail_to_settle(),
            Act::Lose => self.lose(),
            Act::Silence => self.selector.receive_silence(self.now),
            Act::Life => self.selector.receive_life(self.now),
            Act::Abandon => {
                self.selector.abandon(self.now);
                (self.serving, self.settling) = (None, None);
            }
            Act::Begin => self.selector.begin(self.now),
            Act::Stray(carrier, what) => self.stray(Carrier::ALL[*carrier], *what),
        }
        self.listen();
    }

    fn stray(&mut self, carrier: Carrier, what: u8) {
        let is_known =
            self.dials.contains_key(&carrier) || [self.serving, self.settling].contains(&Some(carrier));
        match what {
            _ if is_known => {}
            0 => self.selector.receive_answer(self.now, carrier),
            1 => self.selector.receive_failure(self.now, carrier, Failure::Refused),
            2 => self.selector.receive_ready(self.now, carrier),
            _ => self.selector.receive_loss(self.now, carrier),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happened, no dial is left behind or doubled, no session is moved that doesn't serve, and once the network
    /// is good the best carrier serves.
    #[test]
    fn any_script_leads_back_to_the_best_carrier(
        order in Just(Carrier::ALL.to_vec()).prop_shuffle(),
        length in 1_usize..=4,
        script in prop::collection::vec(act(), 0..60),
    ) {
        let order = &order[..length];
        let mut world = World::new(Preferences::new(order.iter().copied()));
        for act in &script {
            world.play(act);
        }
        for carrier in order {
            world.ways.insert(*carrier, Way::Open { latency: ms(50) });
        }
        // Dials that never end began before: they are given up.
        world.live(seconds(60));
        world.selector.begin(world.now);
        world.listen();
        world.live(seconds(3_600));
        prop_assert_eq!(world.serving, Some(order[0]), "{:?}", world.said);
        prop_assert!(world.dials.is_empty());
    }
}
