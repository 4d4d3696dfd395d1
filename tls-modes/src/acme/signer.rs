use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use instant_acme::ChallengeType;
use rustls::crypto::CryptoProvider;

use crate::KeyGenerator;
use crate::acme::{AcmeAccount, AcmeError, AcmeTransport, ChallengeBoard, order};
use crate::certificates::{ApprovedRequest, Issuance, IssuedCertificate, SignError, SignFuture, Signer};

/// Has requests certified by a public authority with ACME (RFC 8555): those of agents, whose key stays with them, and
/// those of the gateway for its own hosts.
///
/// The order is finished with the very request that was approved. The names must lead to a port where the answers on
/// the [`ChallengeBoard`] are served. Wildcards can't be ordered: an approved request has none, and they would need
/// DNS-01, which is not spoken here.
///
/// Runs on tokio with its time enabled. The serial number, the lifetime and the first moment are the authority's choice,
/// whatever the [`Issuance`] says.
pub struct AcmeSigner {
    pub(super) account: AcmeAccount,
    pub(super) transport: Arc<dyn AcmeTransport>,
    pub(super) board: ChallengeBoard,
    pub(super) challenge: ChallengeKind,
    pub(super) generator: KeyGenerator,
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) patience: Duration,
}

impl AcmeSigner {
    /// Starts building a signer that orders in the name of `account` and posts its answers on `board`.
    ///
    /// `generator` and `provider` make the certificates of TLS-ALPN-01 challenges.
    pub fn builder(
        account: AcmeAccount,
        transport: Arc<dyn AcmeTransport>,
        board: ChallengeBoard,
        generator: KeyGenerator,
        provider: Arc<CryptoProvider>,
    ) -> AcmeSignerBuilder {
        AcmeSignerBuilder {
            signer: Self {
                account,
                transport,
                board,
                challenge: ChallengeKind::Http01,
                generator,
                provider,
                patience: DEFAULT_PATIENCE,
            },
        }
    }

    /// Orders, answers the challenges and waits for the certificate; [`Signer::sign`] does the same, with this error
    /// inside [`SignError::Failed`].
    ///
    /// # Errors
    /// [`AcmeError`], whose [`next`](AcmeError::next) says whether to come again.
    pub async fn order(
        &self,
        request: &ApprovedRequest,
        now: SystemTime,
    ) -> Result<IssuedCertificate, AcmeError> {
        order::obtain(self, request, now).await
    }
}

impl Signer for AcmeSigner {
    fn sign<'a>(&'a self, request: &'a ApprovedRequest, issuance: Issuance) -> SignFuture<'a> {
        Box::pin(async move { self.order(request, issuance.now()).await.map_err(SignError::failed) })
    }
}

impl fmt::Debug for AcmeSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcmeSigner")
            .field("challenge", &self.challenge)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// Settings of an [`AcmeSigner`].
#[derive(Debug)]
pub struct AcmeSignerBuilder {
    signer: AcmeSigner,
}

impl AcmeSignerBuilder {
    /// Sets how names are proven. Default: HTTP-01.
    #[must_use]
    pub const fn challenge(mut self, kind: ChallengeKind) -> Self {
        self.signer.challenge = kind;
        self
    }

    /// Sets how long validation may take, and again how long the authority may take to sign. Default: 60 seconds each.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.signer.patience = patience;
        self
    }

    /// The signer.
    pub fn build(self) -> AcmeSigner {
        self.signer
    }
}

/// How the authority is shown that a name leads here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChallengeKind {
    /// A file on port 80 (RFC 8555 §8.3).
    Http01,
    /// A certificate on port 443, for the ALPN protocol `acme-tls/1` (RFC 8737).
    TlsAlpn01,
}

impl ChallengeKind {
    pub(super) const fn on_wire(self) -> ChallengeType {
        match self {
            Self::Http01 => ChallengeType::Http01,
            Self::TlsAlpn01 => ChallengeType::TlsAlpn01,
        }
    }
}

impl fmt::Display for ChallengeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        })
    }
}

const DEFAULT_PATIENCE: Duration = Duration::from_secs(60);
