//! The steps, one after the other.

use std::time::Duration;

use adit_errors::{Code, Refusal};
use http::Method;
use http::header::{self, HeaderValue};

use super::auth::{self, AuthMode, Presented};
use super::entrance::{self, Shown};
use super::outcome::{Basis, Trail, bytes_spent};
use super::share::{self, ShareKey};
use super::visit::Head;
use super::{
    Denial, Finding, Forward, Moment, Pass, PendingWebhook, Policy, Presence, ShareEntrance, Step, Verdict,
    Visit,
};
use crate::lifecycle::Record;

/// One visit on its way through the steps.
pub(super) struct Walk<'a> {
    policy: &'a Policy,
    visit: &'a Visit<'a>,
    now: Moment,
    trail: Trail,
}

/// On the heap, since a refusal is large and most visits are let through.
pub(super) type Taken<T> = Result<T, Box<Denial>>;

/// What was found of who the visitor is.
enum Known {
    By(Basis),
    Share(Shown),
}

impl<'a> Walk<'a> {
    pub(super) fn new(policy: &'a Policy, visit: &'a Visit<'a>, now: Moment) -> Self {
        Self { policy, visit, now, trail: Trail::default() }
    }

    /// What was found so far.
    pub(super) fn trail(&self) -> Trail {
        self.trail
    }

    /// All steps but those that need the body.
    pub(super) fn walk(&mut self, record: &Record, presence: Presence) -> Taken<Verdict> {
        self.life_cycle(record)?;
        self.source()?;
        let known = self.credential()?;
        let (pass, has_share_methods) = match self.share(known)? {
            Entry::In { pass, has_methods } => (pass, has_methods),
            Entry::Redirect(entrance) => return Ok(Verdict::Enter(entrance)),
        };
        self.path()?;
        self.rate()?;
        self.fields();
        let strips_override = has_share_methods || !self.policy.methods.is_empty();
        let forward = Forward { pass, strips_override, webhook: None };
        let (head, policy) = (self.visit.head(), self.policy);
        let is_webhook =
            |head: Head<'_>| policy.webhook.as_ref().is_some_and(|check| check.is_for(head.path()));
        if head.is_some_and(is_webhook) {
            self.trail.note(Step::Webhook, Finding::BodyAwaited);
            return Ok(Verdict::AwaitBody(PendingWebhook {
                forward,
                trail: self.trail,
                presence,
                is_http: true,
            }));
        }
        self.trail.note(Step::Webhook, Finding::NoRule);
        end(policy, forward, presence, head.is_some(), &mut self.trail)
    }

    fn life_cycle(&mut self, record: &Record) -> Taken<()> {
        match record.visitor_refusal(self.now.system()) {
            Some(refusal) => Err(Denial::new(Step::LifeCycle, Finding::NotActive, refusal)),
            None => {
                self.trail.note(Step::LifeCycle, Finding::Active);
                Ok(())
            }
        }
    }

    fn source(&mut self) -> Taken<()> {
        let found = self.policy.source.check(self.visit.source());
        let found = found.map_err(|finding| Denial::of(Step::Source, finding, Code::ACCESS_DENIED))?;
        self.trail.note(Step::Source, found);
        Ok(())
    }

    fn credential(&mut self) -> Taken<Known> {
        let known = match self.visit.head() {
            None => self.of_connection(),
            Some(head) if auth::is_doubled(head.headers) => Err(doubled()),
            Some(head) => self.of_request(head),
        }?;
        self.trail.note(
            Step::Credential,
            match &known {
                Known::By(_) => auth::known_by(&self.policy.auth),
                Known::Share(_) => Finding::ShareShown,
            },
        );
        Ok(known)
    }

    fn of_connection(&self) -> Taken<Known> {
        match &self.policy.auth {
            AuthMode::Open => Ok(Known::By(Basis::Nothing)),
            AuthMode::Authenticated(_) | AuthMode::Basic(_) | AuthMode::Shares => {
                Err(Denial::of(Step::Credential, Finding::NothingToRead, Code::AUTH_FAILED))
            }
        }
    }

    fn of_request(&self, head: Head<'_>) -> Taken<Known> {
        let shown = entrance::shown(head.target(), head.headers);
        if shown.link.is_some() {
            return Ok(Known::Share(shown));
        }
        let (presented, challenge) = match &self.policy.auth {
            AuthMode::Open => return Ok(Known::By(Basis::Nothing)),
            AuthMode::Authenticated(tokens) => (auth::token(head.headers, tokens), BEARER),
            // Who has neither learns nothing, not even that there is something to have.
            AuthMode::Shares => return Ok(Known::Share(shown)),
            AuthMode::Basic(users) => match auth::user(head.headers, users) {
                Presented::Wrong if shown.is_any => (Presented::Nothing, BASIC),
                presented @ (Presented::Nothing
                | Presented::Known(_)
                | Presented::Wrong
                | Presented::Doubled) => (presented, BASIC),
            },
        };
        match (presented, &self.policy.auth) {
            (Presented::Known(digest), AuthMode::Basic(_)) => Ok(Known::By(Basis::User(digest))),
            (Presented::Known(digest), _) => Ok(Known::By(Basis::Token(digest))),
            (Presented::Nothing, _) if shown.is_any => Ok(Known::Share(shown)),
            (Presented::Nothing, _) => {
                let denial = Denial::of(Step::Credential, Finding::CredentialMissing, Code::MISSING_BEARER);
                Err(denial.with_field(header::WWW_AUTHENTICATE, challenge))
            }
            (Presented::Wrong, _) => {
                let denial = Denial::of(Step::Credential, Finding::CredentialWrong, Code::AUTH_FAILED);
                Err(denial.with_field(header::WWW_AUTHENTICATE, challenge))
            }
            (Presented::Doubled, _) => Err(doubled()),
        }
    }

    fn share(&mut self, known: Known) -> Taken<Entry> {
        let source = self.visit.source();
        let shown = match known {
            Known::By(basis) => {
                self.trail.note(Step::Share, Finding::NoShare);
                return Ok(Entry::In { pass: Pass { basis, source, deadline: None }, has_methods: false });
            }
            Known::Share(shown) => shown,
        };
        let unknown = || Denial::of(Step::Share, Finding::ShareUnknown, Code::NOT_FOUND);
        let head = self.visit.head().ok_or_else(unknown)?;
        // What is no key takes the same way as a key that nobody has (case A-16).
        let is_key = shown.key.is_some();
        let key = shown.key.unwrap_or_else(|| ShareKey::from_random(0));
        let share = self.policy.shares.find(&key, self.now).filter(|_| is_key).ok_or_else(unknown)?;
        if shown.link.is_none() && !share::is_allowed(share.methods(), head.method) {
            let denial = Denial::of(Step::Share, Finding::ShareMethodRefused, Code::METHOD_NOT_ALLOWED);
            return Err(denial.with_field(header::ALLOW, allow(share.methods())));
        }
        let within = share.limiter().map_or(Ok(()), |limiter| limiter.check(self.now.instant()));
        within.map_err(|wait| limited(Step::Share, Finding::ShareRateSpent, wait))?;
        self.trail.note(Step::Share, Finding::ShareHolds);
        if let Some(link) = shown.link {
            let entrance = entrance::entrance(link, head.target(), &key, self.visit.is_tls());
            return entrance.map(Entry::Redirect).ok_or_else(unknown);
        }
        let pass = Pass { basis: Basis::Share(share.id()), source, deadline: share.deadline() };
        Ok(Entry::In { pass, has_methods: !share.methods().is_empty() })
    }

    fn path(&mut self) -> Taken<()> {
        let (methods, paths) = (&self.policy.methods, &self.policy.paths);
        let Some(head) = self.visit.head().filter(|_| !(methods.is_empty() && paths.is_empty())) else {
            self.trail.note(Step::Path, Finding::NoRule);
            return Ok(());
        };
        if !share::is_allowed(methods, head.method) {
            let denial = Denial::of(Step::Path, Finding::MethodRefused, Code::METHOD_NOT_ALLOWED);
            return Err(denial.with_field(header::ALLOW, allow(methods)));
        }
        if paths.denies(head.path()) {
            return Err(Denial::of(Step::Path, Finding::PathDenied, Code::ACCESS_DENIED));
        }
        self.trail.note(Step::Path, Finding::PathAllowed);
        Ok(())
    }

    /// The address first: one that asks too often takes nothing from what all have together.
    fn rate(&mut self) -> Taken<()> {
        let (now, policy) = (self.now.instant(), self.policy);
        if let Some(limiter) = &policy.address_rate {
            let within = limiter.check(self.visit.source(), now);
            within.map_err(|wait| limited(Step::Rate, Finding::AddressRateSpent, wait))?;
        }
        if let Some(limiter) = &policy.rate {
            limiter.check(now).map_err(|wait| limited(Step::Rate, Finding::RateSpent, wait))?;
        }
        let has_rule = policy.address_rate.is_some() || policy.rate.is_some();
        self.trail.note(Step::Rate, if has_rule { Finding::WithinRate } else { Finding::NoRule });
        Ok(())
    }

    fn fields(&mut self) {
        let has_rule = !(self.policy.request_fields.is_empty() && self.policy.response_fields.is_empty());
        let finding =
            if has_rule && self.visit.head().is_some() { Finding::FieldsChanged } else { Finding::NoRule };
        self.trail.note(Step::Fields, finding);
    }
}

/// The last steps, which need no request.
pub(super) fn end(
    policy: &Policy,
    forward: Forward,
    presence: Presence,
    is_http: bool,
    trail: &mut Trail,
) -> Taken<Verdict> {
    let bytes = match &policy.bytes {
        None => Finding::NoRule,
        Some(bytes) if bytes.is_spent() => {
            return Err(Denial::new(Step::Bytes, Finding::BytesSpent, bytes_spent()));
        }
        Some(_) => Finding::BytesLeft,
    };
    trail.note(Step::Bytes, bytes);
    let (finding, verdict) = match presence {
        Presence::Awake => (Finding::Awake, Verdict::Forward(forward)),
        Presence::Asleep if policy.wakes_on_http && is_http => (Finding::Waking, Verdict::Wake(forward)),
        Presence::Asleep => {
            return Err(Denial::of(Step::Presence, Finding::Asleep, Code::TUNNEL_OFFLINE));
        }
    };
    trail.note(Step::Presence, finding);
    Ok(verdict)
}

/// How a visitor gets in who got as far as the share.
enum Entry {
    In { pass: Pass, has_methods: bool },
    Redirect(ShareEntrance),
}

fn doubled() -> Box<Denial> {
    let refusal = Refusal::new(Code::VALIDATION_FAILED, "the request presents more than one credential");
    Denial::new(Step::Credential, Finding::CredentialDoubled, refusal)
}

fn limited(step: Step, finding: Finding, wait: Duration) -> Box<Denial> {
    Denial::new(step, finding, Refusal::from(Code::RATE_LIMITED).with_retry_after(wait))
}

/// The value of `Allow`: HEAD where GET is (case A-11).
fn allow(methods: &[Method]) -> HeaderValue {
    let mut words: Vec<&str> = methods.iter().map(Method::as_str).collect();
    if methods.contains(&Method::GET) && !methods.contains(&Method::HEAD) {
        words.push("HEAD");
    }
    HeaderValue::try_from(words.join(", ")).unwrap_or_else(|_| HeaderValue::from_static(""))
}

const BEARER: HeaderValue = HeaderValue::from_static("Bearer realm=\"tunnel\"");
const BASIC: HeaderValue = HeaderValue::from_static("Basic realm=\"tunnel\", charset=\"UTF-8\"");
