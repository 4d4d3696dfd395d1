//! Credentials of agents, what each allows, and what it has spent.

use super::keyring::Keyring;
use super::minted::{Minted, Terms};
use super::shelf::Shelf;
use super::{Clock, moment, seconds};
use crate::{BoxError, random};
use adit_errors::{Code, Refusal};
use adit_router::{
    Account, AdmissionError, Budget, BudgetError, Cents, Credentials, DelegationError, Grant, KeyId, KeyKind,
    Pace, Reservation, Role, SecretDigest, TunnelId,
};
use adit_wire_proto::credential::{Credential, CredentialId, CredentialKind, StoredCredential};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

/// How long a registration may take from its admission until its tunnel is up.
const LEASE: Duration = Duration::from_secs(30);

/// The most credentials that are good.
const MAX_TOKENS: usize = 10_000;

/// The most that were revoked and are kept. Beyond them the one revoked first is forgotten with its files, and refused like any
/// that never was.
const MAX_REVOKED: usize = 10_000;

/// All credentials.
pub(super) struct Tokens {
    tunnel_price: Cents,
    clock: Clock,
    minted: Minted,
    /// What each has spent.
    accounts: Shelf,
    /// Held while one is minted or revoked, or its terms change: files are written one after the other, and nobody who registers
    /// waits for a disk.
    saving: Mutex<()>,
    /// Which of them mint others. Locked before `tokens`, where both are.
    keys: Mutex<Credentials>,
    /// By the number in their ids; at most [`MAX_TOKENS`] good ones, and [`MAX_REVOKED`] others.
    tokens: Mutex<BTreeMap<u64, Token>>,
    /// Those that were minted and revoked, in this order.
    revoked: Mutex<VecDeque<CredentialId>>,
}

/// The owner, as far as keys are concerned: mints as a master key does. No credential has its number.
const OWNER: KeyId = KeyId::from_u128(u128::MAX);

struct Token {
    keyring: Arc<Keyring>,
    terms: Terms,
    account: Account,
    /// Of all its tunnels together.
    pace: Option<Arc<Pace>>,
    /// Cancelled when the credential is revoked: its sessions end.
    revoked: CancellationToken,
    /// Whether the account has changed since it was written down.
    is_unsaved: bool,
}

/// The folder of accounts.
pub(super) const ACCOUNTS: &str = "accounts";

/// An account as it is kept in a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeptAccount {
    spent_cents: u64,
    /// In seconds since 1970: of which month that is.
    as_of: u64,
    /// The numbers of its tunnels.
    open: Vec<String>,
}

impl KeptAccount {
    fn of(account: &Account, now: SystemTime) -> Self {
        let open = account.open().map(|tunnel| tunnel.to_string()).collect();
        Self { spent_cents: account.spent().number(), as_of: seconds(now), open }
    }

    fn restore(self, grant: Grant) -> Result<Account, BoxError> {
        let number = |text: &String| Ok(TunnelId::from_u128(u128::from_str_radix(text, 16)?));
        let open = self.open.iter().map(number).collect::<Result<Vec<_>, BoxError>>()?;
        let as_of = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.as_of)).ok_or("no time")?;
        Ok(Account::restored(grant, Cents::new(self.spent_cents), as_of, open))
    }
}

/// What a credential is minted with.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewToken {
    name: String,
    /// `project` (the default) opens tunnels, `master` mints project keys.
    kind: Option<String>,
    ttl_hours: Option<u64>,
    /// Megabits a second, of all its tunnels together and both ways.
    bandwidth: Option<NonZeroU64>,
    tunnel_quota: Option<usize>,
    /// Absent or `null`: they live as long as they ask for.
    max_tunnel_ttl_seconds: Option<u64>,
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
    kind: &'static str,
    minted_by: Option<String>,
    monthly_budget_usd_cents: Option<u64>,
    spent_usd_cents: u64,
    open_tunnels: usize,
    bandwidth: Option<u64>,
    max_tunnel_ttl_seconds: Option<u64>,
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
        accounts: (Shelf, Vec<(String, KeptAccount)>),
        tunnel_price: Cents,
        clock: Clock,
    ) -> Result<Self, BoxError> {
        let terms = minted.terms_of(first.id())?.unwrap_or_else(|| Terms {
            name: "connect secret".to_owned(),
            expires: None,
            bandwidth: None,
            tunnel_quota: Some(1000),
            monthly_budget_usd_cents: None,
            max_tunnel_ttl_seconds: None,
            is_master: false,
            minted_by: None,
        });
        let is_revoked = |keyring: &Keyring| keyring.record().is_revoked();
        let revoked = before.iter().map(|(keyring, _)| keyring).filter(|keyring| is_revoked(keyring));
        let revoked = Mutex::new(revoked.map(Keyring::id).collect());
        let all: Vec<_> = std::iter::once((first, terms)).chain(before).collect();
        let keys = Mutex::new(keys(&all)?);
        let all = all.into_iter();
        let now = clock.now();
        let all = all.map(|(keyring, terms)| (keyring.id().nonce(), Token::new(keyring, terms, now)));
        let mut all: BTreeMap<_, _> = all.collect();
        let (accounts, spent) = accounts;
        for (key, kept) in spent {
            let damaged = |error: BoxError| format!("{ACCOUNTS}/{key}.json is damaged: {error}");
            let number = u64::from_str_radix(&key, 16).map_err(|error| damaged(error.into()))?;
            // Of a credential that was revoked and forgotten there is nothing to count.
            let Some(token) = all.get_mut(&number) else { continue };
            token.account = kept.restore(token.account.grant().clone()).map_err(damaged)?;
        }
        Ok(Self {
            tunnel_price,
            clock,
            minted,
            accounts,
            saving: Mutex::new(()),
            keys,
            tokens: Mutex::new(all),
            revoked,
        })
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

    /// Whether this credential opens sessions still: it was not revoked, and its time is not over.
    pub(super) fn is_valid(&self, id: CredentialId) -> bool {
        let record = self.find(id).map(|known| known.keyring.record());
        record.is_some_and(|record| record.candidates(moment().system()).iter().any(Option::is_some))
    }

    /// Mints a credential, for the owner or for a master key. It is shown this once.
    pub(super) fn mint(
        &self,
        by: Option<CredentialId>,
        new: NewToken,
    ) -> Result<(TokenView, Credential), Refusal> {
        let _turn = self.turn();
        let is_master = match new.kind.as_deref() {
            None | Some("project") => false,
            Some("master") if by.is_none() => true,
            Some("master") => return Err(Refusal::new(Code::FORBIDDEN, "only an owner makes master keys")),
            Some(_) => return Err(Refusal::new(Code::VALIDATION_FAILED, "kind is project or master")),
        };
        if self.tokens().values().filter(|token| !token.revoked.is_cancelled()).count() >= MAX_TOKENS {
            return Err(Refusal::from(Code::QUOTA_EXCEEDED));
        }
        let number = random::number();
        // Who may is asked first, on a copy: a key that could not be saved is none.
        let mut tried = self.keys().clone();
        add(&mut tried, number, is_master, by.map(CredentialId::nonce))
            .map_err(|error| Refusal::from(&error))?;
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
            max_tunnel_ttl_seconds: new.max_tunnel_ttl_seconds,
            is_master,
            minted_by: by.map(CredentialId::nonce),
        };
        let record = terms.bound(StoredCredential::new(credential.id(), credential.verifier()));
        let keyring = self.minted.add(record, &terms).map_err(|error| unsaved(&error))?;
        let token = Token::new(keyring, terms, self.clock.now());
        let view = token.view();
        self.tokens().insert(number, token);
        *self.keys() = tried;
        Ok((view, credential))
    }

    /// All credentials, or those that one master key minted.
    pub(super) fn list(&self, by: Option<CredentialId>) -> Vec<TokenView> {
        let tokens = self.tokens();
        let seen =
            tokens.values().filter(|token| by.is_none_or(|by| token.terms.minted_by == Some(by.nonce())));
        seen.map(Token::view).collect()
    }

    /// Whether this credential mints others.
    pub(super) fn is_master(&self, id: CredentialId) -> bool {
        self.keys().kind(key_of(id.nonce())) == Some(KeyKind::Master)
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

    /// Ends a credential and all that it minted, and the sessions that they opened. A master key ends its own alone.
    pub(super) fn revoke(&self, by: Option<CredentialId>, id: &str) -> Result<TokenView, Refusal> {
        let _turn = self.turn();
        let (number, parent) = self.with(id, |token| (token.keyring.id().nonce(), token.terms.minted_by))?;
        if by.is_some_and(|by| parent != Some(by.nonce())) {
            return Err(Refusal::from(Code::NOT_FOUND));
        }
        self.keys().revoke(key_of(number));
        let is_hit =
            |token: &&Token| token.keyring.id().nonce() == number || token.terms.minted_by == Some(number);
        let hit: Vec<_> = {
            let tokens = self.tokens();
            let hit = tokens.values().filter(is_hit);
            hit.map(|token| (Arc::clone(&token.keyring), token.revoked.clone())).collect()
        };
        let mut saved = Ok(());
        for (keyring, revoked) in hit {
            // All of them end now, whatever the disk says of one.
            let ended = keyring.revoke();
            if ended.is_ok() && self.minted.has(keyring.id()) && !self.revoked().contains(&keyring.id()) {
                self.revoked().push_back(keyring.id());
            }
            revoked.cancel();
            saved = saved.and(ended);
        }
        saved?;
        let view = self.with(id, |token| token.view())?;
        self.forget();
        Ok(view)
    }

    /// Makes room for what is revoked next. What can't be taken off the disk stays, since it would be back after a restart.
    fn forget(&self) {
        let mut revoked = self.revoked();
        while revoked.len() > MAX_REVOKED
            && let Some(first) = revoked.front()
            && self.minted.remove(*first).inspect_err(|error| drop(unsaved(error))).is_ok()
        {
            self.tokens().remove(&first.nonce());
            revoked.pop_front();
        }
    }

    /// What all tunnels of a credential together keep to.
    pub(super) fn pace(&self, id: CredentialId) -> Option<Arc<Pace>> {
        self.tokens().get(&id.nonce())?.pace.clone()
    }

    /// The credential that `/tokens` lists under this id.
    pub(super) fn id_of(&self, id: &str) -> Option<CredentialId> {
        self.with(id, |token| token.keyring.id()).ok()
    }

    /// Sets the price of a tunnel aside, and a place for it: in the account of the credential and in that of the master
    /// key that minted it, so that the terms of a master key hold for all its keys together.
    pub(super) fn reserve(&self, id: CredentialId, tunnel: TunnelId) -> Result<Held, Refusal> {
        self.keys().check_may_open(key_of(id.nonce())).map_err(|error| Refusal::from(&error))?;
        let (price, now) = (self.tunnel_price, self.clock.now());
        let parent = self.tokens().get(&id.nonce()).and_then(|token| token.terms.minted_by);
        let mut held = Held(Vec::new());
        for number in std::iter::once(id.nonce()).chain(parent) {
            match self.account(number, |account| account.reserve(tunnel, price, LEASE, now)) {
                Ok(reservation) => held.0.push((number, reservation)),
                Err(refusal) => {
                    self.cancel(&held);
                    return Err(refusal);
                }
            }
        }
        Ok(held)
    }

    /// The tunnel is up: all accounts are charged, or none.
    pub(super) fn commit(&self, held: &Held) -> Result<(), Refusal> {
        let now = self.clock.now();
        let mut tokens = self.tokens();
        let mut charged = Vec::with_capacity(held.0.len());
        for (number, reservation) in &held.0 {
            let token = tokens.get(number).ok_or_else(|| Refusal::from(Code::AUTH_FAILED))?;
            let mut account = token.account.clone();
            account.commit(reservation, now).map_err(|error| Refusal::from(&error))?;
            charged.push((number, account));
        }
        for (number, account) in charged {
            if let Some(token) = tokens.get_mut(number) {
                token.account = account;
                token.is_unsaved = true;
            }
        }
        Ok(())
    }

    /// The registration failed.
    pub(super) fn cancel(&self, held: &Held) {
        for (number, reservation) in &held.0 {
            // An account that is gone holds nothing.
            let _ = self.account(*number, |account| {
                account.cancel(reservation);
                Ok(())
            });
        }
    }

    /// The time to live that a tunnel gets: within the terms of the credential, and of the master key that minted it.
    pub(super) fn time_to_live(
        &self,
        id: CredentialId,
        wanted: Option<Duration>,
    ) -> Result<Option<Duration>, Refusal> {
        let parent = self.tokens().get(&id.nonce()).and_then(|token| token.terms.minted_by);
        let allowed = std::iter::once(id.nonce())
            .chain(parent)
            .map(|number| self.account(number, |account| account.grant().time_to_live(wanted)))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(allowed.into_iter().flatten().min())
    }

    /// A tunnel is gone for good.
    pub(super) fn close(&self, tunnel: TunnelId) {
        for token in self.tokens().values_mut() {
            token.is_unsaved |= token.account.open().any(|open| open == tunnel);
            token.account.close(tunnel);
        }
    }

    /// Writes down what was spent. It waits for a disk.
    ///
    /// # Errors
    /// 500: it is tried again the next time.
    pub(super) fn save(&self) -> Result<(), Refusal> {
        let _turn = self.turn();
        let now = self.clock.now();
        let mut unsaved = Vec::new();
        for (number, token) in self.tokens().iter_mut() {
            if std::mem::take(&mut token.is_unsaved) {
                unsaved.push((*number, KeptAccount::of(&token.account, now)));
            }
        }
        let mut saved = Ok(());
        for (number, kept) in unsaved {
            if let Err(error) = self.accounts.put(&format!("{number:016x}"), &kept) {
                saved = Err(self::unsaved(&error));
                if let Some(token) = self.tokens().get_mut(&number) {
                    token.is_unsaved = true;
                }
            }
        }
        saved
    }

    fn account<T>(
        &self,
        number: u64,
        change: impl FnOnce(&mut Account) -> Result<T, AdmissionError>,
    ) -> Result<T, Refusal> {
        let mut tokens = self.tokens();
        let token = tokens.get_mut(&number).ok_or_else(|| Refusal::from(Code::AUTH_FAILED))?;
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

    fn keys(&self) -> MutexGuard<'_, Credentials> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn revoked(&self) -> MutexGuard<'_, VecDeque<CredentialId>> {
        self.revoked.lock().unwrap_or_else(PoisonError::into_inner)
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
        if let Some(seconds) = terms.max_tunnel_ttl_seconds {
            grant = grant.max_time_to_live(Duration::from_secs(seconds));
        }
        let pace = grant.bits_per_second().and_then(NonZeroU64::new);
        let pace = pace.map(|bits| Arc::new(Pace::new(bits, moment().instant())));
        let revoked = CancellationToken::new();
        if keyring.record().is_revoked() {
            revoked.cancel();
        }
        Self {
            keyring: Arc::new(keyring),
            terms,
            account: Account::new(grant, now),
            pace,
            revoked,
            is_unsaved: false,
        }
    }

    fn view(&self) -> TokenView {
        TokenView {
            id: format!("{:016x}", self.keyring.id().nonce()),
            name: self.terms.name.clone(),
            kind: if self.terms.is_master { "master" } else { "project" },
            minted_by: self.terms.minted_by.map(|number| format!("{number:016x}")),
            monthly_budget_usd_cents: self.terms.monthly_budget_usd_cents,
            spent_usd_cents: self.account.spent().number(),
            open_tunnels: self.account.open_tunnels(),
            bandwidth: self.terms.bandwidth,
            max_tunnel_ttl_seconds: self.terms.max_tunnel_ttl_seconds,
            expires: self.terms.expires,
            is_revoked: self.revoked.is_cancelled(),
        }
    }
}

/// What is set aside for one registration.
pub(super) struct Held(Vec<(u64, Reservation)>);

/// The keys that these credentials are.
fn keys(all: &[(Keyring, Terms)]) -> Result<Credentials, BoxError> {
    let mut keys = Credentials::new();
    keys.add_master(OWNER)?;
    let mut all: Vec<_> = all.iter().collect();
    // Whoever mints stands before what it minted.
    all.sort_by_key(|(_, terms)| !terms.is_master);
    let is_revoked = |keyring: &Keyring| keyring.record().is_revoked();
    for (keyring, terms) in &all {
        let id = keyring.id();
        // What isn't known is refused like what was revoked; who minted it may be forgotten.
        if is_revoked(keyring) && terms.minted_by.is_some() {
            continue;
        }
        add(&mut keys, id.nonce(), terms.is_master, terms.minted_by)
            .map_err(|error| format!("{id}: {error}"))?;
    }
    for (keyring, _) in all.iter().filter(|(keyring, _)| is_revoked(keyring)) {
        keys.revoke(key_of(keyring.id().nonce()));
    }
    Ok(keys)
}

fn add(keys: &mut Credentials, number: u64, is_master: bool, by: Option<u64>) -> Result<(), DelegationError> {
    match is_master {
        true => keys.add_master(key_of(number)),
        false => keys.mint(by.map_or(OWNER, key_of), key_of(number)),
    }
}

fn key_of(number: u64) -> KeyId {
    KeyId::from_u128(u128::from(number))
}

fn unsaved(error: &std::io::Error) -> Refusal {
    tracing::error!(kind = ?error.kind(), "a credential could not be saved");
    Refusal::internal()
}
