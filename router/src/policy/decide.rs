//! The one order.

use std::sync::Arc;

use adit_errors::{Code, Refusal};
use http::Method;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use super::auth::{AuthMode, PRIVATE_AUTHORIZATION, RUNLOOP_AUTHORIZATION};
use super::entrance;
use super::limit::{AddressLimiter, Limiter};
use super::outcome::{Basis, Trail};
use super::share::{self, Shares};
use super::walk::{Taken, Walk, end};
use super::{
    AddressLimit, ByteBudget, Decision, FieldRules, Finding, Forward, Moment, Pass, PathRules,
    PendingWebhook, PolicyError, Presence, Rate, SourceRules, Step, Verdict, Visit, WEBHOOK_FIELD,
    WebhookCheck,
};
use crate::lifecycle::{Record, State};

/// On what terms visitors get into a tunnel.
///
/// [`decide`](Self::decide) takes these steps, always in this order, and stops at the first that refuses. What a step
/// counts, it counts only for visits that all steps before have let through: what is denied costs nothing from later
/// budgets.
///
/// | | step | refuses with |
/// |---|---|---|
/// | 1 | life cycle: active, within its time to live | 503 paused, 404 |
/// | 2 | source: denied networks, then allowed ones | 403 |
/// | 3 | credential, by [`AuthMode`]: none, token, name and password, share | 401, 400 if doubled, 404 |
/// | 4 | share: it exists here and has not ended; its methods; its rate | 404, 405, 429 |
/// | 5 | path: methods, then denied paths | 405, 403 |
/// | 6 | rate: of the address, then of the tunnel | 429 |
/// | 7 | fields: what will be set and removed | |
/// | 8 | webhook: the body's signature, once it is read | 401, 413, 429 |
/// | 9 | bytes: some are left of the budget | 403 |
/// | 10 | presence: the machine is awake, or may be woken | 502 |
///
/// A policy is a value: to change it, build another one and publish it with the tunnel; clones share the counters of
/// their limits and budgets. [`recheck`](Self::recheck) then says which streams that run may go on.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    pub(super) source: SourceRules,
    pub(super) auth: AuthMode,
    pub(super) shares: Shares,
    /// At most [`NewShare::MAX_METHODS`](super::NewShare::MAX_METHODS).
    pub(super) methods: Vec<Method>,
    pub(super) paths: PathRules,
    pub(super) address_rate: Option<Arc<AddressLimiter>>,
    pub(super) rate: Option<Arc<Limiter>>,
    pub(super) request_fields: FieldRules,
    pub(super) response_fields: FieldRules,
    pub(super) webhook: Option<Arc<WebhookCheck>>,
    pub(super) bytes: Option<Arc<ByteBudget>>,
    pub(super) wakes_on_http: bool,
}

impl Policy {
    /// The policy that lets everybody in.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From where visitors may come; from everywhere unless set.
    #[must_use]
    pub fn source(self, source: SourceRules) -> Self {
        Self { source, ..self }
    }

    /// Who may visit; everybody unless set.
    #[must_use]
    pub fn auth(self, auth: AuthMode) -> Self {
        Self { auth, ..self }
    }

    /// The tunnel's shares; none unless set.
    #[must_use]
    pub fn shares(self, shares: Shares) -> Self {
        Self { shares, ..self }
    }

    /// Lets this method through, and with GET also HEAD; all are let through unless one is named.
    ///
    /// # Errors
    /// [`PolicyError::Method`].
    pub fn allow_method(mut self, method: &str) -> Result<Self, PolicyError> {
        share::allow_method(&mut self.methods, method)?;
        Ok(self)
    }

    /// Paths that are denied; none unless set.
    #[must_use]
    pub fn paths(self, paths: PathRules) -> Self {
        Self { paths, ..self }
    }

    /// Takes the limits of another version, with what they have counted: then [`rate`](Self::rate) and
    /// [`address_rate`](Self::address_rate) give no new burst.
    #[must_use]
    pub fn limits_of(self, before: &Self) -> Self {
        Self { rate: before.rate.clone(), address_rate: before.address_rate.clone(), ..self }
    }

    /// Requests, or connections, a minute of all visitors together; without a limit unless set. The same rate again
    /// keeps its count.
    #[must_use]
    pub fn rate(self, rate: Option<Rate>) -> Self {
        let same = self.rate.filter(|limiter| Some(limiter.rate()) == rate);
        Self { rate: same.or_else(|| rate.map(|rate| Arc::new(Limiter::new(rate)))), ..self }
    }

    /// The same for each address; without a limit unless set.
    #[must_use]
    pub fn address_rate(self, limit: Option<AddressLimit>) -> Self {
        let same = self.address_rate.filter(|limiter| Some(limiter.limit()) == limit);
        // Strangers choose addresses: the table's hash is keyed by the operating system's randomness.
        let fresh = || limit.map(|limit| Arc::new(AddressLimiter::new(limit, std::hash::RandomState::new())));
        Self { address_rate: same.or_else(fresh), ..self }
    }

    /// Fields that are set and removed on the way to the upstream; none unless set.
    #[must_use]
    pub fn request_fields(self, request_fields: FieldRules) -> Self {
        Self { request_fields, ..self }
    }

    /// Fields that are set and removed on the way back; none unless set.
    #[must_use]
    pub fn response_fields(self, response_fields: FieldRules) -> Self {
        Self { response_fields, ..self }
    }

    /// Whose signature webhooks must bear; nobody's unless set.
    #[must_use]
    pub fn webhook(self, webhook: Option<Arc<WebhookCheck>>) -> Self {
        Self { webhook, ..self }
    }

    /// How many bytes may move; without a limit unless set.
    #[must_use]
    pub fn bytes(self, bytes: Option<Arc<ByteBudget>>) -> Self {
        Self { bytes, ..self }
    }

    /// Whether an HTTP visit wakes a machine that sleeps; not unless set.
    #[must_use]
    pub fn wake_on_http(self, wakes_on_http: bool) -> Self {
        Self { wakes_on_http, ..self }
    }

    /// Who may visit.
    #[must_use]
    pub fn auth_mode(&self) -> &AuthMode {
        &self.auth
    }

    /// The tunnel's shares, to publish others from.
    #[must_use]
    pub fn all_shares(&self) -> &Shares {
        &self.shares
    }

    /// Whose signature webhooks must bear, to publish it with other terms: it remembers what was delivered.
    #[must_use]
    pub fn webhook_check(&self) -> Option<&Arc<WebhookCheck>> {
        self.webhook.as_ref()
    }

    /// The budget to charge the bytes of visits to.
    #[must_use]
    pub fn byte_budget(&self) -> Option<&Arc<ByteBudget>> {
        self.bytes.as_ref()
    }

    /// Whether an HTTP visit wakes a machine that sleeps.
    #[must_use]
    pub fn wakes_on_http(&self) -> bool {
        self.wakes_on_http
    }

    /// Decides about a visit to the tunnel of `record`, whose machine is awake or not. Allocates nothing for a visit that
    /// is let through, unless its path needs resolving.
    #[must_use]
    pub fn decide(&self, record: &Record, presence: Presence, visit: &Visit<'_>, now: Moment) -> Decision {
        let mut walk = Walk::new(self, visit, now);
        let taken = walk.walk(record, presence);
        decision(taken, walk.trail())
    }

    /// Goes on where [`Verdict::AwaitBody`] stopped. `headers` are the request's as they came, `body` the bytes after
    /// transfer decoding and before content decoding.
    #[must_use]
    pub fn receive_body(
        &self,
        pending: PendingWebhook,
        headers: &HeaderMap,
        body: &[u8],
        now: Moment,
    ) -> Decision {
        let PendingWebhook { mut forward, mut trail, presence, is_http } = pending;
        let taken = self.signature(headers, body, now).and_then(|(finding, field)| {
            trail.note(Step::Webhook, finding);
            forward.webhook = field;
            end(self, forward, presence, is_http, &mut trail)
        });
        decision(taken, trail)
    }

    /// Whether a stream that was let in may go on, under this version of the policy and in this state of the tunnel.
    ///
    /// Ask when either changes, and at the pass' [`deadline`](Pass::deadline). A paused tunnel lets streams finish; a
    /// deleted one, a revoked token or share, an ended share, and a source that is now denied don't.
    ///
    /// # Errors
    /// The refusal for the stream's end.
    pub fn recheck(&self, record: &Record, pass: &Pass, now: Moment) -> Result<(), Refusal> {
        let is_over = match record.state() {
            State::AwaitingCert | State::Active | State::Paused => {
                record.expires().is_some_and(|expires| expires <= now.system())
            }
            State::DeletePending { .. } | State::Deleted => true,
        };
        if is_over {
            return Err(Refusal::from(Code::NOT_FOUND));
        }
        if self.source.check(pass.source).is_err() {
            return Err(Refusal::from(Code::ACCESS_DENIED));
        }
        match (pass.basis, &self.auth) {
            (Basis::Nothing, AuthMode::Open) => Ok(()),
            (Basis::Token(digest), AuthMode::Authenticated(tokens)) if digest.is_among(tokens) => Ok(()),
            (Basis::User(digest), AuthMode::Basic(users)) if users.knows(digest) => Ok(()),
            (Basis::Share(id), _) if self.shares.get(id, now).is_some() => Ok(()),
            // What an open tunnel asks nobody for can't be missing.
            (Basis::Token(_) | Basis::User(_), AuthMode::Open) => Ok(()),
            (Basis::Share(_), _) => Err(Refusal::from(Code::NOT_FOUND)),
            (Basis::Nothing | Basis::Token(_) | Basis::User(_), _) => Err(Refusal::from(Code::AUTH_FAILED)),
        }
    }

    /// Makes the fields of a request that is let through fit for the upstream, after
    /// [`prepare_request`](crate::prepare_request): what was meant for the gateway goes, then the owner's rules apply,
    /// then what was found of a webhook is told.
    pub fn prepare_request(&self, forward: &Forward, headers: &mut HeaderMap) {
        headers.remove(PRIVATE_AUTHORIZATION);
        headers.remove(RUNLOOP_AUTHORIZATION);
        entrance::remove(headers);
        if matches!(forward.pass.basis, Basis::User(_)) {
            headers.remove(AUTHORIZATION);
        }
        if forward.strips_override {
            for name in METHOD_OVERRIDES {
                headers.remove(name);
            }
        }
        self.request_fields.apply(headers);
        headers.remove(WEBHOOK_FIELD);
        if let Some(found) = &forward.webhook {
            headers.insert(WEBHOOK_FIELD, found.clone());
        }
    }

    /// Applies the owner's rules to the fields of an answer, after [`prepare_response`](crate::prepare_response).
    pub fn prepare_response(&self, headers: &mut HeaderMap) {
        self.response_fields.apply(headers);
    }

    fn signature(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Moment,
    ) -> Taken<(Finding, Option<HeaderValue>)> {
        match &self.webhook {
            Some(check) => check.receive(headers, body, now).map(|(finding, field)| (finding, Some(field))),
            // The policy has changed since, and asks for no signature any more.
            None => Ok((Finding::NoRule, None)),
        }
    }
}

fn decision(taken: Taken<Verdict>, mut trail: Trail) -> Decision {
    let verdict = taken.unwrap_or_else(|denial| {
        trail.note(denial.step(), denial.finding());
        Verdict::Deny(denial)
    });
    Decision::new(verdict, trail)
}

/// Fields by which some frameworks let a POST be something else. Where methods are limited they would be a way around.
const METHOD_OVERRIDES: [HeaderName; 3] = [
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
];
