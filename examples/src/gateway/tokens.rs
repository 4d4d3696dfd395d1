//! Credentials of agents, what each allows, and what it has spent. In memory, but for the first one.

use super::keyring::Keyring;
use super::moment;
use crate::random;
use adit_errors::{Code, Refusal};
use adit_router::{Account, AdmissionError, Budget, Cents, Grant, Reservation, Role, SecretDigest, TunnelId};
use adit_wire_proto::credential::{Credential, CredentialId, CredentialKind, StoredCredential};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

/// How long a registration may take from its admission until its tunnel is up.
const LEASE: Duration = Duration::from_secs(30);

/// The most credentials, revoked ones included.
const MAX_TOKENS: usize = 10_000;

/// All credentials.
pub(super) struct Tokens {
    tunnel_price: Cents,
    /// By the number in their ids; at most [`MAX_TOKENS`].
    tokens: Mutex<BTreeMap<u64, Token>>,
}

struct Token {
    name: String,
    keyring: Arc<Keyring>,
    account: Account,
    expires: Option<SystemTime>,
    budget: Option<u64>,
    /// Cancelled when the credential is revoked: its sessions end.
    revoked: CancellationToken,
}

/// What a credential is minted with.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewToken {
    name: String,
    ttl_hours: Option<u64>,
    bandwidth: Option<u64>,
    tunnel_quota: Option<usize>,
    /// Absent or `null`: uncapped.
    #[serde(default)]
    monthly_budget_usd_cents: Option<u64>,
}

/// A credential as it is listed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenView {
    id: String,
    name: String,
    monthly_budget_usd_cents: Option<u64>,
    spent_usd_cents: u64,
    open_tunnels: usize,
    expires: Option<u64>,
    is_revoked: bool,
}

/// One session's credential.
pub(super) struct Presented {
    pub(super) keyring: Arc<Keyring>,
    pub(super) revoked: CancellationToken,
}

impl Tokens {
    /// The first credential, which is uncapped, and the price of a tunnel.
    pub(super) fn new(first: Keyring, tunnel_price: Cents) -> Self {
        let token = Token {
            name: "connect secret".to_owned(),
            account: Account::new(Grant::new().tunnel_quota(1000), moment().system()),
            expires: None,
            budget: None,
            revoked: CancellationToken::new(),
            keyring: Arc::new(first),
        };
        let number = token.keyring.id().nonce();
        Self { tunnel_price, tokens: Mutex::new(BTreeMap::from([(number, token)])) }
    }

    /// The credential with this id.
    pub(super) fn find(&self, id: CredentialId) -> Option<Presented> {
        let tokens = self.tokens();
        let token = tokens.get(&id.nonce()).filter(|token| token.keyring.id() == id)?;
        Some(Presented { keyring: Arc::clone(&token.keyring), revoked: token.revoked.clone() })
    }

    /// Whether this is one of ours, and good now.
    pub(super) fn is_good(&self, credential: &Credential) -> bool {
        let presented = SecretDigest::of(&credential.verifier().to_octets());
        let known = self.find(credential.id());
        let record = known.as_ref().map(|known| known.keyring.record());
        let good = record.as_ref().map_or([None, None], |record| record.candidates(moment().system()));
        good.into_iter().flatten().any(|verifier| SecretDigest::of(&verifier.to_octets()) == presented)
    }

    /// Mints a credential. It is shown this once.
    pub(super) fn mint(&self, new: NewToken) -> Result<(TokenView, Credential), Refusal> {
        let mut tokens = self.tokens();
        if tokens.len() >= MAX_TOKENS {
            return Err(Refusal::from(Code::QUOTA_EXCEEDED));
        }
        let number = random::number();
        let credential = Credential::from_random(CredentialKind::CapabilityToken, number, random::octets());
        let now = moment().system();
        let expires =
            new.ttl_hours.and_then(|hours| now.checked_add(Duration::from_secs(hours.saturating_mul(3600))));
        let stored =
            StoredCredential::new(credential.id(), credential.verifier()).valid_between(None, expires);
        let mut grant = Grant::new().budget(Budget::from_cap(new.monthly_budget_usd_cents.map(Cents::new)));
        if let Some(quota) = new.tunnel_quota {
            grant = grant.tunnel_quota(quota);
        }
        if let Some(bandwidth) = new.bandwidth {
            grant = grant.bandwidth(bandwidth);
        }
        let token = Token {
            name: new.name,
            keyring: Arc::new(Keyring::new(stored)),
            account: Account::new(grant, now),
            expires,
            budget: new.monthly_budget_usd_cents,
            revoked: CancellationToken::new(),
        };
        let view = token.view();
        tokens.insert(number, token);
        Ok((view, credential))
    }

    pub(super) fn list(&self) -> Vec<TokenView> {
        self.tokens().values().map(Token::view).collect()
    }

    /// Sets or clears the cap.
    pub(super) fn set_budget(&self, by: Role, id: &str, cents: Option<u64>) -> Result<TokenView, Refusal> {
        self.change(id, |token| {
            let budget = Budget::from_cap(cents.map(Cents::new));
            token.account.set_budget(by, budget).map_err(|error| Refusal::from(&error))?;
            token.budget = cents;
            Ok(token.view())
        })
    }

    /// Puts a new secret in the place of the old one, which stays good for `overlap`.
    pub(super) fn rotate(&self, id: &str, overlap: Duration) -> Result<(TokenView, Credential), Refusal> {
        self.change(id, |token| {
            let credential = token.keyring.rotate(overlap)?;
            Ok((token.view(), credential))
        })
    }

    /// Ends a credential, and the sessions that it opened.
    pub(super) fn revoke(&self, id: &str) -> Result<TokenView, Refusal> {
        self.change(id, |token| {
            token.keyring.revoke();
            token.revoked.cancel();
            Ok(token.view())
        })
    }

    /// Sets the price of a tunnel aside, and a place for it.
    pub(super) fn reserve(&self, id: CredentialId, tunnel: TunnelId) -> Result<Reservation, Refusal> {
        let price = self.tunnel_price;
        self.account(id, |account| account.reserve(tunnel, price, LEASE, moment().system()))
    }

    /// The tunnel is up.
    pub(super) fn commit(&self, id: CredentialId, reservation: &Reservation) -> Result<(), Refusal> {
        self.account(id, |account| account.commit(reservation, moment().system()))
    }

    /// The registration failed.
    pub(super) fn cancel(&self, id: CredentialId, reservation: &Reservation) {
        let _ = self.account(id, |account| {
            account.cancel(reservation);
            Ok(())
        });
    }

    /// The time to live that a tunnel gets.
    pub(super) fn time_to_live(
        &self,
        id: CredentialId,
        wanted: Option<Duration>,
    ) -> Result<Option<Duration>, Refusal> {
        self.account(id, |account| account.grant().time_to_live(wanted))
    }

    /// A tunnel is gone for good.
    pub(super) fn close(&self, tunnel: TunnelId) {
        for token in self.tokens().values_mut() {
            token.account.close(tunnel);
        }
    }

    fn account<T>(
        &self,
        id: CredentialId,
        change: impl FnOnce(&mut Account) -> Result<T, AdmissionError>,
    ) -> Result<T, Refusal> {
        let mut tokens = self.tokens();
        let token = tokens.get_mut(&id.nonce()).ok_or_else(|| Refusal::from(Code::AUTH_FAILED))?;
        change(&mut token.account).map_err(|error| Refusal::from(&error))
    }

    fn change<T>(
        &self,
        id: &str,
        change: impl FnOnce(&mut Token) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let number = (id.len() == 16).then(|| u64::from_str_radix(id, 16).ok()).flatten();
        let mut tokens = self.tokens();
        let token = number.and_then(|number| tokens.get_mut(&number));
        change(token.ok_or_else(|| Refusal::from(Code::NOT_FOUND))?)
    }

    fn tokens(&self) -> MutexGuard<'_, BTreeMap<u64, Token>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Token {
    fn view(&self) -> TokenView {
        TokenView {
            id: format!("{:016x}", self.keyring.id().nonce()),
            name: self.name.clone(),
            monthly_budget_usd_cents: self.budget,
            spent_usd_cents: self.account.spent().number(),
            open_tunnels: self.account.open_tunnels(),
            expires: self.expires.map(super::seconds),
            is_revoked: self.revoked.is_cancelled(),
        }
    }
}
