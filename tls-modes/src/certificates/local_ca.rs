use std::fmt;
use std::future::ready;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose, PublicKeyData, SanType,
    SerialNumber,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use x509_parser::asn1_rs::Tag;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::AttributeTypeAndValue;
use zeroize::Zeroizing;

use crate::certificates::{
    ApprovedRequest, Issuance, IssuedCertificate, KeyFingerprint, RevocationList, SignError, SignFuture,
    Signer,
};
use crate::keys::{PrivateKey, PrivateKeyError, ProviderKey, write_pem};
use crate::{KeyGenerator, ServerName};

/// A certificate authority in this process: for development, for tests, and for gateways whose visitors trust it.
///
/// ```
/// # #[cfg(feature = "ring")] {
/// use std::sync::Arc;
/// use std::time::SystemTime;
/// use adit_tls_modes::{KeyGenerator, LocalCa, NewCa};
///
/// let provider = Arc::new(adit_tls_modes::rustls::crypto::ring::default_provider());
/// let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_800_000_000);
/// let ca = LocalCa::generate(KeyGenerator::RING, &provider, NewCa::new("Example development CA", now, [7; 16]))?;
///
/// // Keep both; the next start reads them back.
/// let again = LocalCa::from_pem(ca.certificate_pem().as_bytes(), ca.private_key_pem().as_bytes(), &provider)?;
/// assert_eq!(again.certificate(), ca.certificate());
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LocalCa {
    certificate: CertificateDer<'static>,
    key: PrivateKey,
    issuer: Issuer<'static, ProviderKey>,
    key_id: Vec<u8>,
    revocations_url: Option<Box<str>>,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl LocalCa {
    /// Makes an authority with a new key and a certificate signed by itself.
    ///
    /// # Errors
    /// [`CaLoadError`] if there is no key, or if the dates can't be written.
    pub fn generate(
        generator: KeyGenerator,
        provider: &Arc<CryptoProvider>,
        new: NewCa,
    ) -> Result<Self, CaLoadError> {
        let key = PrivateKey::generate(generator, provider).map_err(|source| CaLoadError::Key { source })?;
        let params = new.params(&key).map_err(|_| CaLoadError::Certificate {})?;
        let certificate = params.self_signed(&key.for_rcgen()).map_err(|_| CaLoadError::Certificate {})?;
        Self::new(certificate.der().clone(), key)
    }

    /// Reads an authority back: its certificate and its private key, each the first of its kind in the text.
    ///
    /// # Errors
    /// [`CaLoadError`] says which of the two is missing or wrong.
    pub fn from_pem(
        certificate_pem: &[u8],
        private_key_pem: &[u8],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, CaLoadError> {
        let certificate =
            CertificateDer::from_pem_slice(certificate_pem).map_err(|_| CaLoadError::Certificate {})?;
        let key =
            PrivateKey::from_pem(private_key_pem, provider).map_err(|source| CaLoadError::Key { source })?;
        Self::new(certificate.into_owned(), key)
    }

    /// Signs at once; [`Signer::sign`] does the same.
    ///
    /// The certificate has exactly the approved names, is no authority, serves TLS servers only, and ends with the
    /// authority at the latest.
    ///
    /// # Errors
    /// [`SignError::Clock`] if the authority is not valid now; [`SignError::Failed`] if its key can't sign.
    pub fn issue(
        &self,
        request: &ApprovedRequest,
        issuance: Issuance,
    ) -> Result<IssuedCertificate, SignError> {
        let key = RequestedKey::of(request).ok_or_else(|| SignError::failed("unknown kind of key"))?;
        self.certify(request.names(), &key, key_identifier(request.public_key_der()), issuance)
    }

    /// Certifies a key of our own, such as the one an edge ends TLS with, for `names` and, with `wildcard`, for all
    /// hosts one label below each of them.
    ///
    /// # Errors
    /// As [`issue`](Self::issue).
    pub fn issue_own(
        &self,
        names: &[ServerName],
        wildcard: bool,
        key: &PrivateKey,
        issuance: Issuance,
    ) -> Result<IssuedCertificate, SignError> {
        let mut params = self.leaf_params(names, key_identifier(key.public_key_der()), issuance)?;
        if wildcard {
            for name in names {
                params.subject_alt_names.push(dns_name(&format!("*.{name}"))?);
            }
        }
        self.sign_params(params, &key.for_rcgen())
    }

    /// Says in what is issued from now on where the list of revoked certificates is served: an `http` URL, since a list
    /// over TLS would have to be fetched to fetch it (RFC 5280 §8). Default: nowhere.
    #[must_use]
    pub fn revocations_at(mut self, url: &str) -> Self {
        self.revocations_url = Some(url.into());
        self
    }

    /// Signs what is revoked as a CRL (RFC 5280 §5), good from `now` for `lifetime`, but not longer than the authority.
    /// Its number is one more than that of the one before: keep it, and read it back by
    /// [`RevocationList::from_crl`].
    ///
    /// Sign after each revocation, and before the last CRL runs out.
    ///
    /// # Errors
    /// As [`issue`](Self::issue); the number is unchanged then.
    pub fn sign_revocations(
        &self,
        list: &mut RevocationList,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<CertificateRevocationListDer<'static>, SignError> {
        self.check_clock(now)?;
        let next_update = now.checked_add(lifetime).ok_or(SignError::Clock)?.min(self.not_after);
        let params = list.params(now, next_update, self.key_id.clone()).ok_or(SignError::Clock)?;
        let crl = params.signed_by(&self.issuer).map_err(SignError::failed)?;
        list.count_up();
        Ok(crl.into())
    }

    /// The authority's own certificate.
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The authority's own certificate in PEM: what clients are told to trust.
    pub fn certificate_pem(&self) -> String {
        write_pem("CERTIFICATE", &self.certificate).as_str().into()
    }

    /// The authority's private key in PEM, wiped when dropped. Keep it where only this process reads it.
    pub fn private_key_pem(&self) -> Zeroizing<String> {
        self.key.to_pem()
    }

    /// The fingerprint of the authority's key, to be denied in a [`KeyIndex`](crate::KeyIndex).
    pub fn key_fingerprint(&self) -> KeyFingerprint {
        KeyFingerprint::of(self.key.public_key_der())
    }

    /// Last moment of the authority's validity.
    pub const fn not_after(&self) -> SystemTime {
        self.not_after
    }

    fn new(certificate: CertificateDer<'static>, key: PrivateKey) -> Result<Self, CaLoadError> {
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|_| CaLoadError::Certificate {})?;
        if !parsed.is_ca() {
            return Err(CaLoadError::NotAnAuthority {});
        }
        if parsed.public_key().raw != key.public_key_der() {
            return Err(CaLoadError::KeyMismatch {});
        }
        let validity = parsed.validity();
        let (not_before, not_after) = (system_time(&validity.not_before)?, system_time(&validity.not_after)?);
        let key_id = own_key_identifier(&parsed).unwrap_or_else(|| key_identifier(key.public_key_der()));
        let params = issuer_params(&parsed, &key, key_id.clone()).ok_or(CaLoadError::UnsupportedName {})?;
        let issuer = Issuer::new(params, key.for_rcgen());
        Ok(Self { certificate, key, issuer, key_id, revocations_url: None, not_before, not_after })
    }

    fn certify(
        &self,
        names: &[ServerName],
        key: &impl PublicKeyData,
        key_id: Vec<u8>,
        issuance: Issuance,
    ) -> Result<IssuedCertificate, SignError> {
        self.sign_params(self.leaf_params(names, key_id, issuance)?, key)
    }

    fn leaf_params(
        &self,
        names: &[ServerName],
        key_id: Vec<u8>,
        issuance: Issuance,
    ) -> Result<CertificateParams, SignError> {
        self.check_clock(issuance.now())?;
        let (not_before, not_after) = issuance.validity()?;
        let mut params = CertificateParams::default();
        params.not_before = not_before.max(self.not_before).into();
        params.not_after = not_after.min(self.not_after).into();
        params.serial_number = Some(SerialNumber::from_slice(issuance.serial()));
        params.distinguished_name = subject(names);
        params.subject_alt_names =
            names.iter().map(|name| dns_name(name.as_str())).collect::<Result<_, _>>()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.key_identifier_method = KeyIdMethod::PreSpecified(key_id);
        if let Some(url) = &self.revocations_url {
            params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![url.as_ref().into()] }];
        }
        Ok(params)
    }

    fn check_clock(&self, now: SystemTime) -> Result<(), SignError> {
        let is_valid = (self.not_before..self.not_after).contains(&now);
        if is_valid { Ok(()) } else { Err(SignError::Clock) }
    }

    fn sign_params(
        &self,
        params: CertificateParams,
        key: &impl PublicKeyData,
    ) -> Result<IssuedCertificate, SignError> {
        let (not_before, not_after) = (params.not_before.into(), params.not_after.into());
        let certificate = params.signed_by(key, &self.issuer).map_err(SignError::failed)?;
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        Ok(IssuedCertificate::new(chain, not_before, not_after))
    }
}

impl Signer for LocalCa {
    fn sign<'a>(&'a self, request: &'a ApprovedRequest, issuance: Issuance) -> SignFuture<'a> {
        Box::pin(ready(self.issue(request, issuance)))
    }
}

impl fmt::Debug for LocalCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalCa").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// What a new authority is to be like.
#[derive(Clone, Debug)]
pub struct NewCa {
    common_name: String,
    lifetime: Duration,
    issuance: Issuance,
}

impl NewCa {
    /// An authority called `common_name`, for 10 years from `now`; `random` as in [`Issuance::new`].
    pub fn new(common_name: &str, now: SystemTime, random: [u8; 16]) -> Self {
        Self {
            common_name: common_name.into(),
            lifetime: DEFAULT_LIFETIME,
            issuance: Issuance::new(now, random),
        }
    }

    /// Sets for how long it is valid. Default 10 years.
    #[must_use]
    pub const fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    fn params(&self, key: &PrivateKey) -> Result<CertificateParams, SignError> {
        let (not_before, not_after) = self.issuance.lifetime(self.lifetime).validity()?;
        let mut params = CertificateParams::default();
        params.not_before = not_before.into();
        params.not_after = not_after.into();
        params.serial_number = Some(SerialNumber::from_slice(self.issuance.serial()));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.common_name.as_str());
        // It signs leaves only: nobody can make an authority of what it issues.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.key_identifier_method = KeyIdMethod::PreSpecified(key_identifier(key.public_key_der()));
        Ok(params)
    }
}

/// Why there is no authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CaLoadError {
    /// The key is missing or of no use.
    #[error("the private key of the certificate authority: {source}")]
    #[non_exhaustive]
    Key {
        /// Why.
        source: PrivateKeyError,
    },
    /// The certificate is missing or can't be read or written.
    #[error("there is no readable certificate of the authority")]
    #[non_exhaustive]
    Certificate {},
    /// The certificate is not one of an authority.
    #[error("the certificate is not one of an authority")]
    #[non_exhaustive]
    NotAnAuthority {},
    /// The authority's name is of a form that can't be written into what it would issue: several attributes in one
    /// part, or a string type out of use.
    #[error("the name of the authority has an unsupported form")]
    #[non_exhaustive]
    UnsupportedName {},
    /// The key belongs to another certificate.
    #[error("the private key belongs to another certificate")]
    #[non_exhaustive]
    KeyMismatch {},
}

/// The key of a request, as rcgen takes it.
struct RequestedKey<'a> {
    bits: &'a [u8],
    algorithm: &'static rcgen::SignatureAlgorithm,
}

impl<'a> RequestedKey<'a> {
    /// rcgen writes the algorithm from a table of its own; the outcome must be the very key that was checked.
    fn of(request: &'a ApprovedRequest) -> Option<Self> {
        ALGORITHMS
            .iter()
            .map(|algorithm| Self { bits: request.public_key_bits(), algorithm: algorithm() })
            .find(|key| key.subject_public_key_info() == request.public_key_der())
    }
}

impl PublicKeyData for RequestedKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.bits
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.algorithm
    }
}

/// The first name, or nothing where it is too long for a common name (X.520: 64 characters).
fn subject(names: &[ServerName]) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    if let Some(name) = names.first().filter(|name| name.as_str().len() <= MAX_COMMON_NAME_BYTES) {
        subject.push(DnType::CommonName, name.as_str());
    }
    subject
}

/// What issued certificates say about their issuer.
fn issuer_params(
    certificate: &X509Certificate<'_>,
    key: &PrivateKey,
    key_id: Vec<u8>,
) -> Option<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for part in certificate.subject().iter_rdn() {
        let mut attributes = part.iter();
        let (Some(attribute), None) = (attributes.next(), attributes.next()) else {
            return None;
        };
        let kind = DnType::from_oid(&attribute.attr_type().iter()?.collect::<Vec<_>>());
        params.distinguished_name.push(kind, string_value(attribute)?);
    }
    params.key_identifier_method = KeyIdMethod::PreSpecified(key_id);
    writes_same_name(&params, certificate, key).then_some(params)
}

fn own_key_identifier(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.iter_extensions().find_map(|extension| {
        let ParsedExtension::SubjectKeyIdentifier(id) = extension.parsed_extension() else {
            return None;
        };
        Some(id.0.to_vec())
    })
}

fn string_value(attribute: &AttributeTypeAndValue<'_>) -> Option<DnValue> {
    let text = attribute.as_str().ok()?;
    match attribute.attr_value().header.tag() {
        Tag::Utf8String => Some(DnValue::Utf8String(text.into())),
        Tag::PrintableString => text.try_into().ok().map(DnValue::PrintableString),
        Tag::Ia5String => text.try_into().ok().map(DnValue::Ia5String),
        _ => None,
    }
}

/// Verifiers compare the issuer's name byte for byte (RFC 5280 §7.1 at its strictest), so that it must come out of
/// rcgen exactly as it stands in the authority's own certificate.
fn writes_same_name(params: &CertificateParams, certificate: &X509Certificate<'_>, key: &PrivateKey) -> bool {
    let mut trial = params.clone();
    trial.serial_number = Some(SerialNumber::from_slice(&[1]));
    let Ok(trial) = trial.self_signed(&key.for_rcgen()) else {
        return false;
    };
    X509Certificate::from_der(trial.der())
        .is_ok_and(|(_, trial)| trial.subject().as_raw() == certificate.subject().as_raw())
}

/// The first 20 bytes of the SHA-256 of a SubjectPublicKeyInfo: the key identifier of RFC 7093 §2 (4).
fn key_identifier(spki: &[u8]) -> Vec<u8> {
    let digest = Sha256::digest(spki);
    digest.first_chunk::<20>().map(|id| id.to_vec()).unwrap_or_default()
}

fn dns_name(name: &str) -> Result<SanType, SignError> {
    name.try_into().map(SanType::DnsName).map_err(SignError::failed)
}

fn system_time(time: &ASN1Time) -> Result<SystemTime, CaLoadError> {
    OffsetDateTime::from_unix_timestamp(time.timestamp())
        .map(SystemTime::from)
        .map_err(|_| CaLoadError::Certificate {})
}

/// The four kinds of key that a request may have.
const ALGORITHMS: &[fn() -> &'static rcgen::SignatureAlgorithm] = &[
    || &rcgen::PKCS_ECDSA_P256_SHA256,
    || &rcgen::PKCS_ECDSA_P384_SHA384,
    || &rcgen::PKCS_ED25519,
    || &rcgen::PKCS_RSA_SHA256,
];
const MAX_COMMON_NAME_BYTES: usize = 64;
const DEFAULT_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);
