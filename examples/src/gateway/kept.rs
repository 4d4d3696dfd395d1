//! A tunnel as it is kept in a file: its record, its terms, and what they are checked against. No secret of a visitor is
//! in it, only digests; that of a webhook is, since a signature can't be checked without.

use super::reach::ReachDocument;
use super::terms::PolicyDocument;
use super::{moment, seconds};
use crate::BoxError;
use adit_naming::{Description, DisplayName, ShareName, TunnelId, TunnelName};
use adit_router::{
    AuthMode, BasicUsers, ByteBudget, Changes, Live, NewRecord, NewShare, Past, Policy, Record, SecretDigest,
    Share, Shares, State, TlsMode,
};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The document.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeptTunnel {
    pub(super) record: KeptRecord,
    pub(super) protocol: String,
    /// In hexadecimal digits.
    pub(super) owner: String,
    /// The number of the credential whose agents serve it, in hexadecimal digits.
    pub(super) holder: Option<String>,
    pub(super) is_private: bool,
    #[serde(default)]
    pub(super) is_kept_private: bool,
    pub(super) reach: ReachDocument,
    pub(super) port: Option<u16>,
    pub(super) policy: KeptPolicy,
    /// The part of it that its owner set.
    pub(super) owners: PolicyDocument,
}

/// A life so far.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeptRecord {
    name: String,
    is_passthrough: bool,
    display_name: Option<String>,
    description: Option<String>,
    metadata: Option<String>,
    created: Nanos,
    expires: Option<Nanos>,
    certified_until: Option<Nanos>,
    grace_seconds: u64,
    state: KeptState,
    revision: u64,
}

/// Nanoseconds since 1970, which lasts until 2554.
type Nanos = u64;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum KeptState {
    AwaitingCert,
    Active,
    Paused,
    DeletePending { was: KeptLive, until: Nanos, is_expired: bool },
    Deleted,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeptLive {
    AwaitingCert,
    Active,
    Paused,
}

/// The terms of visitors.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeptPolicy {
    document: PolicyDocument,
    webhook_secret: Option<String>,
    /// Digests of visitors' tokens.
    tokens: Vec<String>,
    /// Of names and passwords: the salt, then a digest each.
    users: Vec<String>,
    shares: Vec<KeptShare>,
    bytes_spent: u64,
    /// In seconds since 1970: of which month the bytes are.
    as_of: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptShare {
    id: String,
    name: String,
    description: Option<String>,
    expires_in: String,
    methods: Vec<String>,
    rate: Option<u32>,
    created: Nanos,
}

impl KeptRecord {
    pub(super) fn of(record: &Record) -> Self {
        Self {
            name: record.name().as_str().to_owned(),
            is_passthrough: record.tls_mode() == TlsMode::Passthrough,
            display_name: record.display_name().map(|text| text.as_str().to_owned()),
            description: record.description().map(|text| text.as_str().to_owned()),
            metadata: record.metadata().map(str::to_owned),
            created: nanos(record.created()),
            expires: record.expires().map(nanos),
            certified_until: record.certified_until().map(nanos),
            grace_seconds: record.grace().as_secs(),
            state: KeptState::of(record.state()),
            revision: record.revision(),
        }
    }

    pub(super) fn restore(&self, id: TunnelId) -> Result<Record, BoxError> {
        let mut new = NewRecord::new(id, TunnelName::parse(&self.name)?);
        new = new.grace(Duration::from_secs(self.grace_seconds));
        if self.is_passthrough {
            new = new.tls_mode(TlsMode::Passthrough);
        }
        let details = Changes::new()
            .display_name(self.display_name.as_deref().map(DisplayName::parse).transpose()?)
            .description(self.description.as_deref().map(Description::parse).transpose()?)
            .metadata(self.metadata.as_deref());
        let past = Past::new(time(self.created)?, self.state.restore()?, self.revision)
            .expires(self.expires.map(time).transpose()?)
            .certified_until(self.certified_until.map(time).transpose()?);
        Ok(Record::restored(new, details, past)?)
    }
}

impl KeptState {
    fn of(state: State) -> Self {
        match state {
            State::AwaitingCert => Self::AwaitingCert,
            State::Active => Self::Active,
            State::Paused => Self::Paused,
            State::DeletePending { was, until, is_expired } => {
                let was = match was {
                    Live::AwaitingCert => KeptLive::AwaitingCert,
                    Live::Active => KeptLive::Active,
                    Live::Paused => KeptLive::Paused,
                };
                Self::DeletePending { was, until: nanos(until), is_expired }
            }
            State::Deleted => Self::Deleted,
        }
    }

    fn restore(&self) -> Result<State, BoxError> {
        Ok(match self {
            Self::AwaitingCert => State::AwaitingCert,
            Self::Active => State::Active,
            Self::Paused => State::Paused,
            Self::DeletePending { was, until, is_expired } => {
                let was = match was {
                    KeptLive::AwaitingCert => Live::AwaitingCert,
                    KeptLive::Active => Live::Active,
                    KeptLive::Paused => Live::Paused,
                };
                State::DeletePending { was, until: time(*until)?, is_expired: *is_expired }
            }
            Self::Deleted => State::Deleted,
        })
    }
}

impl KeptPolicy {
    pub(super) fn of(document: &PolicyDocument, policy: &Policy, now: SystemTime) -> Self {
        let hex = |digest: &SecretDigest| HEXLOWER.encode(&digest.to_bytes());
        let (mut tokens, mut users) = (Vec::new(), Vec::new());
        match policy.auth_mode() {
            AuthMode::Authenticated(digests) => tokens.extend(digests.iter().map(hex)),
            AuthMode::Basic(basic) => {
                users.push(HEXLOWER.encode(&basic.salt()));
                users.extend(basic.digests().iter().map(hex));
            }
            _ => {}
        }
        let shares = policy.all_shares().iter().filter(|share| !share.is_over(moment()));
        Self {
            document: document.clone(),
            webhook_secret: document.webhook_secret().map(str::to_owned),
            tokens,
            users,
            shares: shares.map(|share| KeptShare::of(share)).collect(),
            bytes_spent: policy.byte_budget().map_or(0, |bytes| bytes.spent()),
            as_of: seconds(now),
        }
    }

    /// The terms as they were: the document, and the policy that it makes.
    pub(super) fn restore(self) -> Result<(PolicyDocument, Policy), BoxError> {
        let mut shares = Shares::new();
        for share in &self.shares {
            shares.add(Arc::new(share.restore()?), moment())?;
        }
        let tokens = self.tokens.iter().map(|token| digest(token)).collect::<Result<Vec<_>, _>>()?;
        let auth = match self.users.split_first() {
            Some((salt, users)) => {
                let users = users.iter().map(|user| digest(user)).collect::<Result<Vec<_>, _>>()?;
                AuthMode::Basic(BasicUsers::restored(octets(salt)?, users))
            }
            None if !tokens.is_empty() => AuthMode::authenticated(tokens)?,
            None => AuthMode::Open,
        };
        let document = self.document.with_webhook_secret(self.webhook_secret);
        let bytes = document.byte_budget.map(|cap| {
            let bytes = ByteBudget::with_spent(Some(cap), self.bytes_spent);
            bytes.turn(SystemTime::UNIX_EPOCH + Duration::from_secs(self.as_of));
            Arc::new(bytes)
        });
        let before = Policy::new().auth(auth).shares(shares).bytes(bytes);
        let built = document.build(&before).map_err(|refusal| refusal.to_string())?;
        match built.token {
            // The visitors' token of before is good no more, and nobody would learn the new one.
            Some(_) => Err("its token is missing".into()),
            None => Ok((document, built.policy)),
        }
    }
}

impl KeptShare {
    fn of(share: &Share) -> Self {
        Self {
            id: share.id().to_string(),
            name: share.name().as_str().to_owned(),
            description: share.description().map(|text| text.as_str().to_owned()),
            expires_in: share.expiry().as_str().to_owned(),
            methods: share.methods().iter().map(ToString::to_string).collect(),
            rate: share.rate().map(|rate| rate.requests_per_minute()),
            created: nanos(share.created()),
        }
    }

    fn restore(&self) -> Result<Share, BoxError> {
        let mut terms = NewShare::new(ShareName::parse(&self.name)?).expiry(self.expires_in.parse()?);
        if let Some(description) = &self.description {
            terms = terms.description(Description::parse(description)?);
        }
        if let Some(rate) = self.rate {
            terms = terms.requests_per_minute(rate)?;
        }
        let terms = self.methods.iter().try_fold(terms, |terms, method| terms.allow_method(method))?;
        Ok(Share::restored(self.id.parse()?, terms, time(self.created)?, moment()))
    }
}

fn digest(text: &str) -> Result<SecretDigest, BoxError> {
    octets(text).map(SecretDigest::from_bytes)
}

fn octets<const N: usize>(text: &str) -> Result<[u8; N], BoxError> {
    let octets = HEXLOWER.decode(text.as_bytes())?;
    octets.as_slice().try_into().map_err(|_| "a digest has another length".into())
}

fn nanos(time: SystemTime) -> Nanos {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().try_into().unwrap_or(Nanos::MAX)
}

fn time(nanos: Nanos) -> Result<SystemTime, BoxError> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(nanos)).ok_or_else(|| "no time".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_router::Command;

    #[test]
    fn a_record_comes_back_as_it_was_in_each_state() {
        let now = SystemTime::now();
        let id = TunnelId::from_u128(7);
        let name = || TunnelName::parse("my-app").unwrap();
        let edge = NewRecord::new(id, name()).time_to_live(Duration::from_secs(60));
        let passthrough =
            NewRecord::new(id, name()).tls_mode(TlsMode::Passthrough).grace(Duration::from_secs(5));
        for (new, commands) in [
            (edge.clone(), &[][..]),
            (edge.clone(), &[Command::Pause]),
            (edge.clone(), &[Command::Pause, Command::Delete]),
            (edge.clone(), &[Command::Delete]),
            (edge, &[Command::Delete, Command::ForceDelete]),
            (passthrough.clone(), &[]),
            (passthrough.clone(), &[Command::Delete]),
            (passthrough, &[Command::Certify]),
        ] {
            let (mut record, _) = Record::create(new, now);
            let details = Changes::new().display_name(Some(DisplayName::parse("Mine").unwrap()));
            record.update(details.metadata(Some("{}"))).unwrap();
            for command in commands {
                match command {
                    Command::Certify => record.certify(now + Duration::from_secs(9), now).unwrap(),
                    command => record.apply(*command, now).unwrap(),
                };
            }
            let text = serde_json::to_string(&KeptRecord::of(&record)).unwrap();
            let kept: KeptRecord = serde_json::from_str(&text).unwrap();
            assert_eq!(kept.restore(id).unwrap(), record, "{text}");
        }
    }

    #[test]
    fn no_password_and_no_token_is_in_what_is_kept() {
        let document = r#"{"auth_mode": "basic", "users": [{"name": "ann", "password": "correct horse"}]}"#;
        let document: PolicyDocument = serde_json::from_str(document).unwrap();
        let built = document.build(&Policy::new()).unwrap();
        let kept =
            serde_json::to_string(&KeptPolicy::of(&document, &built.policy, SystemTime::now())).unwrap();
        assert!(!kept.contains("correct horse") && !kept.contains("ann"), "{kept}");
        let kept: KeptPolicy = serde_json::from_str(&kept).unwrap();
        assert_eq!(kept.restore().unwrap().1.auth_mode().as_str(), "basic");
    }
}
