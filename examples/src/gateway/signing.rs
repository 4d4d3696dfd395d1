//! Certificates for tunnels whose TLS the agent ends: signed on the agent's word or the owner's, and taken back.

use super::hub::Hub;
use super::issuer::{Issuer, Request};
use super::registrar::Registrar;
use super::seconds;
use adit_errors::{Code, Refusal};
use adit_naming::TunnelName;
use adit_router::TunnelId;
use adit_tls_modes::{CertificateSerial, IssuedCertificate, RevocationReason};
use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Certificates of one tunnel that are remembered; of older ones the serial has to be told.
const MAX_REMEMBERED: usize = 1_000;

/// Tunnels whose certificates are remembered: as many as may have some signed.
const MAX_TUNNELS: usize = super::issuer::MAX_TUNNELS;

/// Where certificates are asked for.
pub(super) struct SigningOffice {
    hub: Arc<Hub>,
    registrar: Arc<Registrar>,
    issuer: Issuer,
    /// Whether the gateway's own list says which certificates are revoked: a public authority keeps its own.
    is_local: bool,
    issued: Mutex<Ledger>,
}

/// What was signed since the gateway started and has not expired: at most [`MAX_REMEMBERED`] for each of at most
/// [`MAX_TUNNELS`].
type Ledger = HashMap<TunnelId, VecDeque<Issued>>;

#[derive(Clone)]
struct Issued {
    serial: CertificateSerial,
    until: SystemTime,
}

impl SigningOffice {
    pub(super) fn new(hub: Arc<Hub>, registrar: Arc<Registrar>, issuer: Issuer, is_local: bool) -> Self {
        Self { hub, registrar, issuer, is_local, issued: Mutex::default() }
    }

    /// Certifies the key in `request` for the host of the tunnel `name`, which has to be passed through.
    ///
    /// # Errors
    /// The refusal for who asked. No certificate is good that was not handed out.
    pub(super) async fn sign(
        &self,
        name: &TunnelName,
        request: Request<'_>,
    ) -> Result<IssuedCertificate, Refusal> {
        let tunnel = self.registrar.signable(name)?;
        let host = self.hub.zone.host_of(name.borrowed());
        let issued = self.issuer.sign(tunnel, &host, request).await?;
        let serial = issued.chain.first().and_then(CertificateSerial::of).ok_or_else(Refusal::internal)?;
        if let Err(refusal) = self.registrar.certified(name, issued.not_after) {
            // The tunnel has gone while it was signed for.
            if self.is_local {
                self.take_back(&serial, RevocationReason::CessationOfOperation)?;
            }
            return Err(refusal);
        }
        self.remember(tunnel, Issued { serial, until: issued.not_after });
        Ok(issued)
    }

    /// The same for the owner, who names the tunnel by number or name and brings the request as PEM.
    pub(super) async fn sign_for_owner(
        &self,
        id: &str,
        request: &SignRequest,
    ) -> Result<CertificateView, Refusal> {
        let (_, name) = self.registrar.identify(id)?;
        let issued = self.sign(&name, Request::Pem(request.csr.as_bytes())).await?;
        let serial = issued.chain.first().and_then(CertificateSerial::of).ok_or_else(Refusal::internal)?;
        let chain = issued.chain.iter().map(|certificate| pem(certificate)).collect();
        Ok(CertificateView { certificate: Some(chain), ..self.view(&serial, Some(issued.not_after)) })
    }

    /// The certificates of a tunnel that have not expired.
    pub(super) fn list(&self, id: &str) -> Result<Vec<CertificateView>, Refusal> {
        let issued = self.of_tunnel(id)?;
        Ok(issued.iter().map(|issued| self.view(&issued.serial, Some(issued.until))).collect())
    }

    /// Takes one certificate back.
    pub(super) fn revoke(&self, serial: &str, request: &RevokeRequest) -> Result<CertificateView, Refusal> {
        let invalid = || Refusal::new(Code::VALIDATION_FAILED, "a serial number is up to 20 octets in hex");
        let octets = HEXLOWER_PERMISSIVE.decode(serial.as_bytes()).map_err(|_| invalid())?;
        let serial = CertificateSerial::from_bytes(&octets).ok_or_else(invalid)?;
        self.take_back(&serial, request.reason.into())?;
        Ok(self.view(&serial, None))
    }

    /// Takes back what a tunnel's agents got since the gateway started.
    pub(super) fn revoke_all(
        &self,
        id: &str,
        request: &RevokeRequest,
    ) -> Result<Vec<CertificateView>, Refusal> {
        let issued = self.of_tunnel(id)?;
        for Issued { serial, .. } in &issued {
            self.take_back(serial, request.reason.into())?;
        }
        Ok(issued.iter().map(|issued| self.view(&issued.serial, Some(issued.until))).collect())
    }

    fn take_back(&self, serial: &CertificateSerial, reason: RevocationReason) -> Result<(), Refusal> {
        if !self.is_local {
            return Err(Refusal::new(Code::CONFLICT, "a public authority signed it, and takes it back"));
        }
        self.hub.revocations.revoke(serial.clone(), reason).map_err(|error| {
            tracing::error!(%error, "a certificate was not revoked");
            Refusal::internal()
        })
    }

    fn of_tunnel(&self, id: &str) -> Result<Vec<Issued>, Refusal> {
        let (tunnel, _) = self.registrar.identify(id)?;
        let now = SystemTime::now();
        let ledger = self.ledger();
        let issued = ledger.get(&tunnel).into_iter().flatten();
        Ok(issued.filter(|issued| issued.until > now).cloned().collect())
    }

    fn remember(&self, tunnel: TunnelId, issued: Issued) {
        let now = SystemTime::now();
        let mut ledger = self.ledger();
        if ledger.len() >= MAX_TUNNELS && !ledger.contains_key(&tunnel) {
            ledger.retain(|_, issued| issued.iter().any(|issued| issued.until > now));
            if ledger.len() >= MAX_TUNNELS {
                return;
            }
        }
        let known = ledger.entry(tunnel).or_default();
        known.retain(|issued| issued.until > now);
        known.push_back(issued);
        if known.len() > MAX_REMEMBERED {
            known.pop_front();
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Nothing between lock and unlock can panic half-way through a change.
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self, serial: &CertificateSerial, until: Option<SystemTime>) -> CertificateView {
        CertificateView {
            serial: HEXLOWER.encode(serial.as_bytes()),
            not_after: until.map(seconds),
            is_revoked: self.hub.revocations.is_revoked(serial),
            certificate: None,
        }
    }
}

/// The body of `POST /tunnels/{id}/sign-csr`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignRequest {
    /// A certificate signing request as PEM.
    csr: String,
}

/// The body of what revokes.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RevokeRequest {
    reason: Reason,
}

/// A certificate as the API shows it.
#[derive(Serialize)]
pub(super) struct CertificateView {
    serial: String,
    /// Unless the gateway doesn't know the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<u64>,
    is_revoked: bool,
    /// The chain as PEM, shown when it was signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
}

/// Why a certificate is taken back.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reason {
    #[default]
    Unspecified,
    KeyCompromise,
    AffiliationChanged,
    Superseded,
    CessationOfOperation,
    PrivilegeWithdrawn,
}

impl From<Reason> for RevocationReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Unspecified => Self::Unspecified,
            Reason::KeyCompromise => Self::KeyCompromise,
            Reason::AffiliationChanged => Self::AffiliationChanged,
            Reason::Superseded => Self::Superseded,
            Reason::CessationOfOperation => Self::CessationOfOperation,
            Reason::PrivilegeWithdrawn => Self::PrivilegeWithdrawn,
        }
    }
}

/// In lines of 64 (RFC 7468 §2).
fn pem(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while let Some((line, after)) = rest.split_at_checked(64) {
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    if !rest.is_empty() {
        pem.push_str(rest);
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}
