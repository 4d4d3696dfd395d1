//! Certificates for agents that end TLS themselves.

use crate::{BoxError, provider, random};
use adit_errors::{Code, Refusal};
use adit_router::TunnelId;
use adit_tls_modes::{
    AcmeError, AcmeNext, AuthorisedNames, CsrCheck, CsrError, Issuance, IssuedCertificate, KeyFingerprint,
    KeyIndex, ServerName, SignError, Signer, SigningQuota,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Most tunnels whose keys and quotas are remembered at once.
pub(super) const MAX_TUNNELS: usize = 100_000;

/// How many certificates one tunnel may get in [`QUOTA_WINDOW`] (C-37).
const QUOTA: usize = 10;

/// The time over which the quota counts.
const QUOTA_WINDOW: Duration = Duration::from_secs(3600);

/// A signing request (PKCS #10), as it came.
#[derive(Clone, Copy)]
pub(super) enum Request<'a> {
    Der(&'a [u8]),
    Pem(&'a [u8]),
}

/// Checks signing requests and signs them.
pub(super) struct Issuer {
    signer: Arc<dyn Signer>,
    check: CsrCheck,
    lifetime: Duration,
    books: Mutex<Books>,
}

struct Books {
    quota: SigningQuota,
    /// Which tunnel a key was certified for: no other may have it certified (H11).
    keys: KeyIndex,
}

impl Issuer {
    /// Signs with `signer`, for `lifetime` if that is its choice; the gateway's own key may never be certified for
    /// anybody.
    pub(super) fn new(signer: Arc<dyn Signer>, own_key: KeyFingerprint, lifetime: Duration) -> Self {
        let mut keys = KeyIndex::new(MAX_TUNNELS);
        keys.deny(own_key);
        let books = Books { quota: SigningQuota::new(QUOTA, QUOTA_WINDOW, MAX_TUNNELS), keys };
        Self { signer, check: CsrCheck::new(provider()), lifetime, books: Mutex::new(books) }
    }

    /// Certifies the key in `request` for exactly `host`, whatever else the request says.
    ///
    /// # Errors
    /// The refusal for the agent; nothing was signed.
    pub(super) async fn sign(
        &self,
        tunnel: TunnelId,
        host: &str,
        request: Request<'_>,
    ) -> Result<IssuedCertificate, Refusal> {
        let authorised = authorised(host).map_err(|_| Refusal::internal())?;
        let checked = match request {
            Request::Der(der) => self.check.check_der(der, &authorised),
            Request::Pem(text) => self.check.check_pem(text, &authorised),
        };
        let request = checked.map_err(|error| {
            let code = match error {
                CsrError::TooLarge { .. } => Code::PAYLOAD_TOO_LARGE,
                _ => Code::VALIDATION_FAILED,
            };
            Refusal::new(code, format!("signing request refused ({}): {error}", error.kind()))
        })?;
        {
            // Nothing between lock and unlock can panic half-way through a change.
            let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
            let tunnel = tunnel.to_string();
            books.quota.take(Instant::now(), &tunnel).map_err(|error| {
                Refusal::new(Code::CERTIFICATE_QUOTA, error.to_string()).with_retry_after(error.retry_after)
            })?;
            books
                .keys
                .claim(request.key_fingerprint(), &tunnel)
                .map_err(|error| Refusal::new(Code::CERTIFICATE_REFUSED, error.to_string()))?;
        }
        let issuance = Issuance::new(SystemTime::now(), random::octets())
            .lifetime(self.lifetime)
            // Short lives, for trying out renewal, begin about now.
            .backdate((self.lifetime / 20).min(Duration::from_secs(300)));
        self.signer.sign(&request, issuance).await.map_err(|error| {
            tracing::error!(%error, "the authority signed nothing");
            refusal_of(&error)
        })
    }
}

/// What the agent is told when no certificate came back: how long to wait, if the authority said so.
fn refusal_of(error: &SignError) -> Refusal {
    let SignError::Failed { source, .. } = error else {
        return Refusal::internal();
    };
    match source.downcast_ref::<AcmeError>().map(AcmeError::next) {
        Some(AcmeNext::RetryAfter { wait }) => {
            Refusal::new(Code::CERTIFICATE_QUOTA, "the certificate authority asks to wait")
                .with_retry_after(wait)
        }
        _ => Refusal::internal(),
    }
}

fn authorised(host: &str) -> Result<AuthorisedNames, BoxError> {
    Ok(AuthorisedNames::new([host.parse::<ServerName>()?])?)
}
