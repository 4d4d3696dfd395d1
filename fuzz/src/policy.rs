//! Bodies for the policy of `adit-router`: the decision beside a reading of its rules in the simplest words, and the
//! parsers of webhooks' fields.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use adit_naming::{ShareName, TunnelName};
use adit_router::{
    AuthMode, ByteBudget, Command, FieldRules, Moment, NewRecord, NewShare, PathRules, Policy, Presence,
    Rate, Receiver, Record, Share, ShareKey, Shares, SourceRules, Step, TunnelId, Validator, Verdict, Visit,
    VisitorToken, WebhookSecret,
};
use arbitrary::{Arbitrary, Unstructured};
use http::{HeaderMap, HeaderName, HeaderValue, Request};

/// A policy and visits to it. The steps come in their order, the last one decides, and it is the one that a plain reading
/// of the rules names; a visit that is denied leaves the tunnel's rate as it was; what is let through carries no secret on.
pub fn policy_decision(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(rules) = Rules::arbitrary(&mut input) else { return };
    let token = VisitorToken::from_random([7; 32]);
    let key = ShareKey::from_random(7);
    let start = Instant::now();
    let policy = rules.policy(&token, &key, moment(start, 0));
    let (mut tat, mut now) = (0_u64, 0_u64);
    while !input.is_empty() {
        let Ok(asked) = Asked::arbitrary(&mut input) else { return };
        now += u64::from(asked.wait);
        let mut request = asked.request(&token, &key);
        let source = if asked.is_near { [192, 0, 2, 7] } else { [203, 0, 113, 7] };
        let visit = Visit::request(source.into(), &request);
        let presence = if rules.is_asleep { Presence::Asleep } else { Presence::Awake };
        let decision = policy.decide(&rules.record(), presence, &visit, moment(start, now));
        let taken: Vec<Step> = decision.findings().map(|(step, _)| step).collect();
        assert!(Step::ALL.starts_with(&taken), "{decision}");

        let (expected, spends) = rules.read(&asked, &mut tat, now);
        let told = decision.to_string();
        match (decision.into_verdict(), expected) {
            (Verdict::Deny(denial), Some(step)) => {
                assert_eq!((denial.step(), taken.last()), (step, Some(&step)), "{told}");
                assert!(denial.refusal().status() >= 400);
                // Only what comes after the rate may refuse a visit that was counted.
                assert!(!spends || step > Step::Rate, "{told}");
            }
            (Verdict::Forward(forward) | Verdict::Wake(forward), None) => {
                policy.prepare_request(&forward, request.headers_mut());
                for value in request.headers().values() {
                    let text = String::from_utf8_lossy(value.as_bytes());
                    assert!(
                        !text.contains(token.reveal()) && !text.contains(key.reveal().as_str()),
                        "{told}"
                    );
                }
            }
            (verdict, expected) => panic!("{verdict:?}, not {expected:?}: {told}"),
        }
    }
}

/// Lines `name: value`, an empty one, and a body: as a delivery to a receiver of each kind. No kind panics or takes what
/// isn't signed; what is signed is taken, and a second time is known.
pub fn webhook_fields(data: &[u8]) {
    let (head, body) = match data.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&data[..at], &data[at + 2..]),
        None => (data, &b""[..]),
    };
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n').take(50) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) =
            (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(&line[colon + 1..]));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let generic = |encoding| Validator::parse("generic_hmac_sha256", Some("x-signature"), Some(encoding));
    let kinds = [
        Validator::parse("github", None, None),
        Validator::parse("slack", None, None),
        generic("hex"),
        generic("base64"),
    ];
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_531_420_618);
    for validator in kinds.into_iter().flatten() {
        // Nobody can sign with a secret that the input doesn't know.
        let unknown = WebhookSecret::new(*b"a secret that no input has a tag of").expect("a good secret");
        let mut receiver = Receiver::new(validator.clone(), unknown);
        let received = receiver.receive(&headers, body, now).expect("the first is taken");
        assert!(!received.is_signature_valid && !received.is_duplicate);

        let known = WebhookSecret::new(*b"It's a Secret to Everybody").expect("a good secret");
        let mut receiver = Receiver::new(validator, known);
        let first = receiver.receive(&headers, body, now).expect("the first is taken");
        let second = receiver.receive(&headers, body, now).expect("and the second");
        assert_eq!(first.is_signature_valid, second.is_signature_valid);
        assert!(!first.is_duplicate && (second.is_signature_valid || !second.is_duplicate));
    }
}

/// A policy as flags.
#[derive(Arbitrary, Debug)]
struct Rules {
    is_paused: bool,
    denies_near: bool,
    /// 0 open, 1 token, 2 shares.
    auth: u8,
    share_is_for_get: bool,
    only_get: bool,
    denies_admin: bool,
    rate: Option<u8>,
    sets_field: bool,
    bytes_are_spent: bool,
    is_asleep: bool,
    wakes: bool,
}

/// A visit as flags.
#[derive(Arbitrary, Debug)]
struct Asked {
    wait: u16,
    is_near: bool,
    is_post: bool,
    wants_admin: bool,
    /// 0 nothing, 1 a wrong one, 2 the right one, 3 two.
    token: u8,
    /// 0 nothing, 1 a wrong one, 2 the right one, 3 no key.
    share: u8,
}

impl Rules {
    fn policy(&self, token: &VisitorToken, key: &ShareKey, now: Moment) -> Policy {
        let mut terms = NewShare::new(ShareName::parse("x").expect("a good name"));
        if self.share_is_for_get {
            terms = terms.allow_method("GET").expect("a method");
        }
        let mut shares = Shares::new();
        shares.add(Arc::new(Share::new(key, terms, now)), now).expect("room for one");
        let auth = match self.auth % 3 {
            0 => AuthMode::Open,
            1 => AuthMode::authenticated([token.digest()]).expect("one token"),
            _ => AuthMode::Shares,
        };
        let mut policy = Policy::new()
            .auth(auth)
            .shares(shares)
            .rate(self.rate.map(|rate| Rate::per_minute(u32::from(rate) + 1).expect("a good rate")))
            .bytes(self.bytes_are_spent.then(|| Arc::new(ByteBudget::new(Some(0)))))
            .wake_on_http(self.wakes);
        if self.denies_near {
            policy = policy.source(SourceRules::new().deny("192.0.2.0/24").expect("a network"));
        }
        if self.only_get {
            policy = policy.allow_method("GET").expect("a method");
        }
        if self.denies_admin {
            policy = policy.paths(PathRules::new().deny("/admin").expect("a path"));
        }
        if self.sets_field {
            policy = policy.request_fields(FieldRules::new().set("x-env", "staging").expect("a field"));
        }
        policy
    }

    fn record(&self) -> Record {
        let name = TunnelName::parse("my-app").expect("a good name");
        let (mut record, _created) =
            Record::create(NewRecord::new(TunnelId::from_u128(1), name), SystemTime::UNIX_EPOCH);
        if self.is_paused {
            record.apply(Command::Pause, SystemTime::UNIX_EPOCH).expect("an active tunnel can be paused");
        }
        record
    }

    /// The step that refuses, if one does, and whether the visit was counted. `tat` is in units of 1/rate milliseconds.
    fn read(&self, asked: &Asked, tat: &mut u64, now: u64) -> (Option<Step>, bool) {
        let by_token = (self.auth % 3 == 1).then_some(asked.token % 4);
        let by_share = match (self.auth % 3, by_token, asked.share % 4) {
            (0, ..) | (1, Some(1..=3), _) | (1, Some(0), 0) => None,
            (_, _, share) => Some(share),
        };
        if self.is_paused {
            return (Some(Step::LifeCycle), false);
        }
        if self.denies_near && asked.is_near {
            return (Some(Step::Source), false);
        }
        if matches!((by_token, by_share), (Some(1 | 3), _) | (Some(0), None)) {
            return (Some(Step::Credential), false);
        }
        let is_share_refused = match by_share {
            None => false,
            Some(2) => self.share_is_for_get && asked.is_post,
            Some(_) => true,
        };
        if is_share_refused {
            return (Some(Step::Share), false);
        }
        if (self.only_get && asked.is_post) || (self.denies_admin && asked.wants_admin) {
            return (Some(Step::Path), false);
        }
        if !self.count(tat, now) {
            return (Some(Step::Rate), false);
        }
        let later = match () {
            () if self.bytes_are_spent => Some(Step::Bytes),
            () if self.is_asleep && !self.wakes => Some(Step::Presence),
            () => None,
        };
        (later, true)
    }

    /// The usual bucket, in nanoseconds as the limiter counts them: a request takes a rate's share of a minute.
    fn count(&self, tat: &mut u64, now: u64) -> bool {
        let Some(rate) = self.rate else { return true };
        let rate = u64::from(rate) + 1;
        let (each, now) = (60_000_000_000 / rate, now * 1_000_000);
        let earliest = tat.saturating_sub(each * (rate - 1));
        let is_within = now >= earliest;
        if is_within {
            *tat = (*tat).max(now) + each;
        }
        is_within
    }
}

impl Asked {
    fn request(&self, token: &VisitorToken, key: &ShareKey) -> Request<()> {
        let mut request = Request::builder()
            .method(if self.is_post { "POST" } else { "GET" })
            .uri(if self.wants_admin { "/x/..//%61dmin/y" } else { "/" });
        let right = format!("Bearer {}", token.reveal());
        let tokens: &[&str] = match self.token % 4 {
            0 => &[],
            1 => &["Bearer wrong"],
            2 => &[&right],
            _ => &[&right, &right],
        };
        for token in tokens {
            request = request.header("x-runloop-tunnel-authorization", *token);
        }
        let share = match self.share % 4 {
            0 => None,
            1 => Some("0".repeat(32)),
            2 => Some(key.reveal().to_string()),
            _ => Some("no key".to_owned()),
        };
        if let Some(share) = share {
            request = request.header("cookie", format!("a=1; adit-share={share}"));
        }
        request.body(()).expect("a good request")
    }
}

fn moment(start: Instant, milliseconds: u64) -> Moment {
    let passed = Duration::from_millis(milliseconds);
    Moment::new(start + passed, SystemTime::UNIX_EPOCH + passed)
}
