use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use zeroize::Zeroizing;

use crate::acme::order::{error_of, last_answer};
use crate::acme::transport::{Exchanges, LastAnswer};
use crate::acme::{AcmeError, AcmeTransport};

/// An account with a certificate authority: its address, its key, and the directory of the authority.
///
/// The key signs every request of the account (ECDSA on P-256). Keep [`to_json`](Self::to_json) where only this process
/// reads it. `Debug` shows no key, and the text is wiped when dropped.
pub struct AcmeAccount {
    /// Invariant: `AccountCredentials` in JSON, with a directory.
    json: Zeroizing<String>,
}

impl AcmeAccount {
    /// Makes a key and an account for it.
    ///
    /// # Errors
    /// [`AcmeError`]; there may be an account with a lost key then, which does no harm.
    pub async fn create(
        transport: &Arc<dyn AcmeTransport>,
        new: &NewAcmeAccount<'_>,
        now: SystemTime,
    ) -> Result<Self, AcmeError> {
        let (exchanges, last) = Exchanges::new(Arc::clone(transport));
        let request = NewAccount {
            contact: &new.contacts,
            terms_of_service_agreed: new.agrees_to_terms,
            only_return_existing: false,
        };
        let external =
            new.external.map(|external| ExternalAccountKey::new(external.id.into(), external.hmac_key));
        let created = Account::builder_with_http(exchanges)
            .create(&request, new.directory.into(), external.as_ref())
            .await;
        let (_, credentials) = created.map_err(|error| error_of(error, last_answer(&last), now))?;
        let json = serde_json::to_string(&credentials).map_err(|_| AcmeError::AccountKey {})?;
        Ok(Self { json: Zeroizing::new(json) })
    }

    /// Reads an account back.
    ///
    /// # Errors
    /// [`AcmeError::AccountKey`] if the text is not what [`to_json`](Self::to_json) gave.
    pub fn from_json(json: &str) -> Result<Self, AcmeError> {
        let _: AccountCredentials = serde_json::from_str(json).map_err(|_| AcmeError::AccountKey {})?;
        Ok(Self { json: Zeroizing::new(json.into()) })
    }

    /// The account with its private key, as JSON in the form of instant-acme. The text is wiped when dropped; keep it
    /// from logs.
    pub fn to_json(&self) -> Zeroizing<String> {
        self.json.clone()
    }

    /// Opens the account over a transport of its own, which asks for the directory anew: addresses in it may change.
    pub(super) async fn open(
        &self,
        transport: &Arc<dyn AcmeTransport>,
        now: SystemTime,
    ) -> Result<(Account, Arc<Mutex<LastAnswer>>), AcmeError> {
        let credentials: AccountCredentials =
            serde_json::from_str(&self.json).map_err(|_| AcmeError::AccountKey {})?;
        let (exchanges, last) = Exchanges::new(Arc::clone(transport));
        let opened = Account::builder_with_http(exchanges).from_credentials(credentials).await;
        let account = opened.map_err(|error| error_of(error, last_answer(&last), now))?;
        Ok((account, last))
    }
}

impl fmt::Debug for AcmeAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcmeAccount").finish_non_exhaustive()
    }
}

/// What a new account is to be like.
#[derive(Clone, Debug)]
pub struct NewAcmeAccount<'a> {
    directory: &'a str,
    contacts: Vec<&'a str>,
    agrees_to_terms: bool,
    external: Option<ExternalAccount<'a>>,
}

impl<'a> NewAcmeAccount<'a> {
    /// An account with the authority whose directory is at this URL.
    pub const fn new(directory: &'a str) -> Self {
        Self { directory, contacts: Vec::new(), agrees_to_terms: false, external: None }
    }

    /// Adds where the authority may write to, such as `mailto:ops@gateway.example`. Default: nowhere.
    #[must_use]
    pub fn contact(mut self, url: &'a str) -> Self {
        self.contacts.push(url);
        self
    }

    /// Says that the operator has read the authority's terms of service and agrees. Default: no, with which most
    /// authorities refuse.
    #[must_use]
    pub const fn agree_to_terms(mut self, agree: bool) -> Self {
        self.agrees_to_terms = agree;
        self
    }

    /// Ties the account to one that exists with the authority already (RFC 8555 §7.3.4). Default: none.
    #[must_use]
    pub const fn external_account(mut self, external: ExternalAccount<'a>) -> Self {
        self.external = Some(external);
        self
    }
}

/// An account outside ACME, as its authority has told it.
#[derive(Clone, Copy)]
pub struct ExternalAccount<'a> {
    id: &'a str,
    hmac_key: &'a [u8],
}

impl<'a> ExternalAccount<'a> {
    /// The id, and the key decoded from base64url.
    pub const fn new(id: &'a str, hmac_key: &'a [u8]) -> Self {
        Self { id, hmac_key }
    }
}

impl fmt::Debug for ExternalAccount<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalAccount").finish_non_exhaustive()
    }
}
