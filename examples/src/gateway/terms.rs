//! A tunnel's policy as its owner writes it, in the admin API or in a registration.

mod asked;

use crate::random;
use adit_errors::{Code, Refusal};
use adit_router::{
    AddressLimit, AuthMode, BasicUsers, ByteBudget, FieldRules, PathRules, Policy, PolicyError, Rate,
    Receiver, SourceRules, Validator, VisitorToken, WebhookCheck, WebhookDemand, WebhookSecret,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The document of `PUT /tunnels/{id}/policy`: all of it, what isn't mentioned is off.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PolicyDocument {
    /// `open` (the default, also `public`), `authenticated`, `basic` or `shares`.
    pub(super) auth_mode: Option<String>,
    /// For `basic`. Never shown again.
    #[serde(skip_serializing)]
    users: Vec<User>,
    allow_networks: Vec<String>,
    deny_networks: Vec<String>,
    allow_methods: Vec<String>,
    deny_paths: Vec<String>,
    rate_per_minute: Option<u32>,
    rate_per_minute_per_address: Option<u32>,
    request_headers: Fields,
    response_headers: Fields,
    /// Bytes that may move, both ways together; `null` is without a limit.
    pub(super) byte_budget: Option<u64>,
    /// Octets a second, each way, of all visits together; `null` is without a limit.
    pub(super) bandwidth: Option<u64>,
    webhook: Option<Webhook>,
    pub(super) http_keep_alive: Option<bool>,
    wake_on_http: Option<bool>,
    /// Runloop's newer spelling, which goes before `wake_on_http`.
    lifecycle: Lifecycle,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Lifecycle {
    resume_triggers: ResumeTriggers,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ResumeTriggers {
    http: Option<bool>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct User {
    name: String,
    password: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("User")
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Fields {
    set: BTreeMap<String, String>,
    remove: Vec<String>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Webhook {
    validator: String,
    #[serde(skip_serializing, default)]
    secret: String,
    signature_header: Option<String>,
    signature_encoding: Option<String>,
    path: Option<String>,
    #[serde(default)]
    require: bool,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("validator", &self.validator).finish_non_exhaustive()
    }
}

/// A policy, and the token that was made for it.
pub(super) struct Built {
    pub(super) policy: Policy,
    pub(super) token: Option<VisitorToken>,
}

impl PolicyDocument {
    /// What the webhook's signatures are checked with, if there is one. To be kept, and not to be shown.
    pub(super) fn webhook_secret(&self) -> Option<&str> {
        self.webhook.as_ref().map(|webhook| webhook.secret.as_str())
    }

    /// The same with the secret that was kept elsewhere.
    pub(super) fn with_webhook_secret(mut self, secret: Option<String>) -> Self {
        if let (Some(webhook), Some(secret)) = (&mut self.webhook, secret) {
            webhook.secret = secret;
        }
        self
    }

    /// Whether anything here is about requests, so that octets which nobody reads can't be held to it.
    pub(super) fn rules_requests(&self) -> bool {
        let fields = [&self.request_headers, &self.response_headers];
        let has_fields = fields.iter().any(|fields| !fields.set.is_empty() || !fields.remove.is_empty());
        has_fields || !self.allow_methods.is_empty() || !self.deny_paths.is_empty() || self.webhook.is_some()
    }

    /// Builds the policy on the one before: tokens, shares and counters stay.
    ///
    /// # Errors
    /// 400 with what is wrong; nothing has changed then.
    pub(super) fn build(&self, before: &Policy) -> Result<Built, Refusal> {
        if self.bandwidth == Some(0) {
            return Err(Refusal::new(Code::VALIDATION_FAILED, "bandwidth is at least 1 octet a second"));
        }
        let refused = |error: PolicyError| Refusal::from(&error);
        let (auth, token) = self.auth(before.auth_mode()).map_err(refused_or)?;
        let mut policy = Policy::new()
            .auth(auth)
            .shares(before.all_shares().clone())
            .source(self.source().map_err(refused)?)
            .paths(self.paths().map_err(refused)?)
            .request_fields(self.request_headers.rules().map_err(refused)?)
            .response_fields(self.response_headers.rules().map_err(refused)?)
            .webhook(self.webhook.as_ref().map(Webhook::check).transpose()?.map(Arc::new))
            .bytes(self.bytes(before))
            .wake_on_http(self.lifecycle.resume_triggers.http.or(self.wake_on_http).unwrap_or(false));
        for method in &self.allow_methods {
            policy = policy.allow_method(method).map_err(refused)?;
        }
        let rate = self.rate_per_minute.map(Rate::per_minute).transpose().map_err(refused)?;
        let address = self.rate_per_minute_per_address.map(Rate::per_minute).transpose().map_err(refused)?;
        let policy = policy.limits_of(before).rate(rate).address_rate(address.map(AddressLimit::new));
        Ok(Built { policy, token })
    }

    /// The same for terms that an agent changed, which are never about webhooks: what was seen of those stays known.
    ///
    /// # Errors
    /// As of [`build`](Self::build).
    pub(super) fn rebuild(&self, before: &Policy) -> Result<Built, Refusal> {
        let Built { policy, token } = self.build(before)?;
        Ok(Built { policy: policy.webhook(before.webhook_check().cloned()), token })
    }

    fn auth(&self, before: &AuthMode) -> Result<(AuthMode, Option<VisitorToken>), AuthError> {
        match (self.auth_mode.as_deref().unwrap_or("open"), before) {
            ("open" | "public", _) => Ok((AuthMode::Open, None)),
            ("authenticated", AuthMode::Authenticated(_)) => Ok((before.clone(), None)),
            ("authenticated", _) => {
                let token = VisitorToken::from_random(random::octets());
                Ok((AuthMode::authenticated([token.digest()])?, Some(token)))
            }
            ("basic", AuthMode::Basic(_)) if self.users.is_empty() => Ok((before.clone(), None)),
            ("basic", _) if self.users.is_empty() => Err(AuthError::NoUsers),
            ("basic", _) => {
                let nobody = BasicUsers::new(random::octets());
                let add = |users: BasicUsers, user: &User| users.add(&user.name, &user.password);
                Ok((AuthMode::Basic(self.users.iter().try_fold(nobody, add)?), None))
            }
            ("shares", _) => Ok((AuthMode::Shares, None)),
            _ => Err(AuthError::UnknownMode),
        }
    }

    fn source(&self) -> Result<SourceRules, PolicyError> {
        let allowed =
            self.allow_networks.iter().try_fold(SourceRules::new(), |rules, net| rules.allow(net))?;
        self.deny_networks.iter().try_fold(allowed, |rules, net| rules.deny(net))
    }

    fn paths(&self) -> Result<PathRules, PolicyError> {
        self.deny_paths.iter().try_fold(PathRules::new(), |rules, path| rules.deny(path))
    }

    /// A new cap keeps what is spent.
    fn bytes(&self, before: &Policy) -> Option<Arc<ByteBudget>> {
        let cap = Some(self.byte_budget?);
        Some(match before.byte_budget() {
            Some(same) if same.cap() == cap => Arc::clone(same),
            Some(budget) => Arc::new(budget.with_cap(cap)),
            None => Arc::new(ByteBudget::new(cap)),
        })
    }
}

/// What is wrong with who may visit.
enum AuthError {
    UnknownMode,
    NoUsers,
    Policy(PolicyError),
}

impl From<PolicyError> for AuthError {
    fn from(error: PolicyError) -> Self {
        Self::Policy(error)
    }
}

fn refused_or(error: AuthError) -> Refusal {
    let invalid = |message| Refusal::new(Code::VALIDATION_FAILED, message);
    match error {
        AuthError::UnknownMode => invalid("auth_mode is open, authenticated, basic or shares"),
        AuthError::NoUsers => invalid("auth_mode basic needs users"),
        AuthError::Policy(error) => Refusal::from(&error),
    }
}

impl Fields {
    fn rules(&self) -> Result<FieldRules, PolicyError> {
        let removed = self.remove.iter().try_fold(FieldRules::new(), |rules, name| rules.remove(name))?;
        self.set.iter().try_fold(removed, |rules, (name, value)| rules.set(name, value))
    }
}

impl Webhook {
    fn check(&self) -> Result<WebhookCheck, Refusal> {
        let receiver = receiver(
            &self.validator,
            &self.secret,
            self.signature_header.as_deref(),
            self.signature_encoding.as_deref(),
        )?;
        let demand = if self.require { WebhookDemand::Require } else { WebhookDemand::Tell };
        Ok(WebhookCheck::new(receiver).below(self.path.as_deref().unwrap_or("/")).demand(demand))
    }
}

/// A receiver as the API describes it.
pub(super) fn receiver(
    validator: &str,
    secret: &str,
    header: Option<&str>,
    encoding: Option<&str>,
) -> Result<Receiver, Refusal> {
    let validator = Validator::parse(validator, header, encoding).map_err(|error| Refusal::from(&error))?;
    let secret = WebhookSecret::new(secret.as_bytes()).map_err(|error| Refusal::from(&error))?;
    Ok(Receiver::new(validator, secret))
}
