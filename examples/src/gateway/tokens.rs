//! Credentials of agents, what each allows, and what it has spent since the gateway started.

use super::keyring::Keyring;
use super::minted::{Minted, Terms};
use super::{Clock, moment, seconds};
use crate::{BoxError, random};
use adit_errors::{Code, Refusal};
use adit_router::{
    Account, AdmissionError, Budget, BudgetError, Cents, Grant, Pace, Reservation, Role, SecretDigest,
    TunnelId,
};
use adit_wire_proto::credential::{Credential, CredentialId, CredentialKind, StoredCredential};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroU64;
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
    clock: Clock,
    minted: Minted,
    /// Held while one is minted, or its terms change: files are written one after the other, and nobody who registers
    /// waits for a disk.
    saving: Mutex<()>,
    /// By the number in their ids; at most [`MAX_TOKENS`].
    tokens: Mutex<BTreeMap<u64, Token>>,
}

struct Token {
    keyring: Arc<Keyring>,
    terms: Terms,
    account: Account,
    /// Of all its tunnels together.
    pace: Option<Arc<Pace>>,
    /// Cancelled when the credential is revoked: its sessions end.
    revoked: CancellationToken,
}

/// What a credential is minted with.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewToken {
    name: String,
    ttl_hours: Option<u64>,
    /// Megabits a second, of all its tunnels together and both ways.
    bandwidth: Option<NonZeroU64>,
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
    bandwidth: Option<u64>,
    expires: Option<u64>,
    is_revoked: bool,
}

/// One session's credential.
pub(super) struct Presented {
    pub(super) keyring: Arc<Keyring>,
    pub(super) revoked: CancellationToken,
}

impl Tokens {
    /// The first credential, which is uncapped, those that were minted before, and the price of a tunnel.
    pub(super) fn new(
        first: Keyring,
        minted: Minted,
        before: Vec<(Keyring, Terms)>,
        tunnel_price: Cents,
        clock: Clock,
    ) -> Result<Self, BoxError> {
        let terms = minted.terms_of(first.id())?.unwrap_or_else(|| Terms {
            name: "connect secret".to_owned(),
            expires: None,
            bandwidth: None,
            tunnel_quota: Some(1000),
            monthly_budget_usd_cents: None,
        });
        let all = std::iter::once((first, terms)).chain(before);
        let now = clock.now();
        let all = all.map(|(keyring, terms)| (keyring.id().nonce(), Token::new(keyring, terms, now)));
        let all = Mutex::new(all.collect());
        Ok(Self { tunnel_price, clock, minted, saving: Mutex::new(()), tokens: all })
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
        let _turn = self.turn();
        if self.tokens().len() >= MAX_TOKENS {
            return Err(Refusal::from(Code::QUOTA_EXCEEDED));
        }
        let number = random::number();
        let credential = Credential::from_random(CredentialKind::CapabilityToken, number, random::octets());
        let now = moment().system();
        let expires =
            new.ttl_hours.and_then(|hours| now.checked_add(Duration::from_secs(hours.saturating_mul(3600))));
        let terms = Terms {
            name: new.name,
            expires: expires.map(seconds),
            bandwidth: new.bandwidth.map(NonZeroU64::get),
            tunnel_quota: new.tunnel_quota,
            monthly_budget_usd_cents: new.monthly_budget_usd_cents,
        };
        let record = terms.bound(StoredCredential::new(credential.id(), credential.verifier()));
        let keyring = self.minted.add(record, &terms).map_err(|error| unsaved(&error))?;
        let token = Token::new(keyring, terms, self.clock.now());
        let view = token.view();
        self.tokens().insert(number, token);
        Ok((view, credential))
    }

    pub(super) fn list(&self) -> Vec<TokenView> {
        self.tokens().values().map(Token::view).collect()
    }

    /// Sets or clears the cap.
    pub(super) fn set_budget(&self, by: Role, id: &str, cents: Option<u64>) -> Result<TokenView, Refusal> {
        let _turn = self.turn();
        let (number, before) = self.with(id, |token| (token.keyring.id(), token.terms.clone()))?;
        let allowed = |error: BudgetError| Refusal::from(&error);
        let budget = Budget::from_cap(cents.map(Cents::new));
        // Tried on a copy: who may not is told before a file is written.
        self.with(id, |token| token.account.clone().set_budget(by, budget))?.map_err(allowed)?;
        let terms = Terms { monthly_budget_usd_cents: cents, ..before };
        self.minted.set_terms(number, &terms).map_err(|error| unsaved(&error))?;
        self.with(id, |token| {
            token.account.set_budget(by, budget).map_err(allowed)?;
            token.terms = terms;
            Ok(token.view())
        })?
    }

    /// Puts a new secret in the place of the old one, which stays good for `overlap`.
    pub(super) fn rotate(&self, id: &str, overlap: Duration) -> Result<(TokenView, Credential), Refusal> {
        let keyring = self.with(id, |token| Arc::clone(&token.keyring))?;
        let credential = keyring.rotate(overlap)?;
        Ok((self.with(id, |token| token.view())?, credential))
    }

    /// Ends a credential, and the sessions that it opened.
    pub(super) fn revoke(&self, id: &str) -> Result<TokenView, Refusal> {
        let (keyring, revoked) =
            self.with(id, |token| (Arc::clone(&token.keyring), token.revoked.clone()))?;
        let saved = keyring.revoke();
        revoked.cancel();
        saved?;
        self.with(id, |token| token.view())
    }

    /// What all tunnels of a credential together keep to.
    pub(super) fn pace(&self, id: CredentialId) -> Option<Arc<Pace>> {
        self.tokens().get(&id.nonce())?.pace.clone()
    }

    /// The credential that `/tokens` lists under this id.
    pub(super) fn id_of(&self, id: &str) -> Option<CredentialId> {
        self.with(id, |token| token.keyring.id()).ok()
    }

    /// Sets the price of a tunnel aside, and a place for it.
    pub(super) fn reserve(&self, id: CredentialId, tunnel: TunnelId) -> Result<Reservation, Refusal> {
        let (price, now) = (self.tunnel_price, self.clock.now());
        self.account(id, |account| account.reserve(tunnel, price, LEASE, now))
    }

    /// The tunnel is up.
    pub(super) fn commit(&self, id: CredentialId, reservation: &Reservation) -> Result<(), Refusal> {
        self.account(id, |account| account.commit(reservation, self.clock.now()))
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

    fn with<T>(&self, id: &str, act: impl FnOnce(&mut Token) -> T) -> Result<T, Refusal> {
        let number = (id.len() == 16).then(|| u64::from_str_radix(id, 16).ok()).flatten();
        let mut tokens = self.tokens();
        let token = number.and_then(|number| tokens.get_mut(&number));
        Ok(act(token.ok_or_else(|| Refusal::from(Code::NOT_FOUND))?))
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.saving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tokens(&self) -> MutexGuard<'_, BTreeMap<u64, Token>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Token {
    fn new(keyring: Keyring, terms: Terms, now: SystemTime) -> Self {
        let mut grant = Grant::new().budget(Budget::from_cap(terms.monthly_budget_usd_cents.map(Cents::new)));
        if let Some(quota) = terms.tunnel_quota {
            grant = grant.tunnel_quota(quota);
        }
        if let Some(megabits) = terms.bandwidth {
            grant = grant.bandwidth(megabits.saturating_mul(1_000_000));
        }
        let pace = grant.bits_per_second().and_then(NonZeroU64::new);
        let pace = pace.map(|bits| Arc::new(Pace::new(bits, moment().instant())));
        let revoked = CancellationToken::new();
        if keyring.record().is_revoked() {
            revoked.cancel();
        }
        Self { keyring: Arc::new(keyring), terms, account: Account::new(grant, now), pace, revoked }
    }

    fn view(&self) -> TokenView {
        TokenView {
            id: format!("{:016x}", self.keyring.id().nonce()),
            name: self.terms.name.clone(),
            monthly_budget_usd_cents: self.terms.monthly_budget_usd_cents,
            spent_usd_cents: self.account.spent().number(),
            open_tunnels: self.account.open_tunnels(),
            bandwidth: self.terms.bandwidth,
            expires: self.terms.expires,
            is_revoked: self.revoked.is_cancelled(),
        }
    }
}

fn unsaved(error: &std::io::Error) -> Refusal {
    tracing::error!(kind = ?error.kind(), "a credential could not be saved");
    Refusal::internal()
}
