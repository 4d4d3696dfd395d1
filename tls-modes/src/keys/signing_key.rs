use std::fmt;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::SigningKey;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

use crate::keys::{KeyGenerationError, KeyGenerator, write_pem};

/// A private key and the means to sign with it. `Debug` shows nothing of it, and the bytes are wiped when dropped.
pub struct PrivateKey {
    der: PrivateKeyDer<'static>,
    signing: Arc<dyn SigningKey>,
    public: PublicPart,
}

impl PrivateKey {
    /// Makes a new key (ECDSA on P-256).
    ///
    /// # Errors
    /// [`PrivateKeyError::Generation`], or [`PrivateKeyError::Unsupported`] if `provider` can't sign with what
    /// `generator` makes.
    pub fn generate(generator: KeyGenerator, provider: &CryptoProvider) -> Result<Self, PrivateKeyError> {
        let der = generator.generate().map_err(|source| PrivateKeyError::Generation { source })?;
        Self::from_der(der.into(), provider)
    }

    /// Takes a key over: PKCS#8, SEC 1 or PKCS#1, of any algorithm that `provider` signs with.
    ///
    /// # Errors
    /// [`PrivateKeyError::Unsupported`] if the provider can't read it or can't sign with it.
    pub fn from_der(der: PrivateKeyDer<'static>, provider: &CryptoProvider) -> Result<Self, PrivateKeyError> {
        let signing = provider
            .key_provider
            .load_private_key(der.clone_key())
            .map_err(|_| PrivateKeyError::Unsupported {})?;
        let public = PublicPart::of(signing.as_ref()).ok_or(PrivateKeyError::Unsupported {})?;
        Ok(Self { der, signing, public })
    }

    /// Reads the first private key in a PEM text (RFC 7468).
    ///
    /// # Errors
    /// [`PrivateKeyError::Pem`] if there is none, else as [`from_der`](Self::from_der).
    pub fn from_pem(pem: &[u8], provider: &CryptoProvider) -> Result<Self, PrivateKeyError> {
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| PrivateKeyError::Pem {})?;
        Self::from_der(der, provider)
    }

    /// The key as PEM, in the form it was made or read. The text is wiped when dropped; keep it from logs.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let label = match &self.der {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            PrivateKeyDer::Pkcs8(_) | _ => "PRIVATE KEY",
        };
        write_pem(label, self.der.secret_der())
    }

    /// The key in the form that rustls takes.
    pub fn to_der(&self) -> PrivateKeyDer<'static> {
        self.der.clone_key()
    }

    /// The public half: a DER-encoded SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
    pub fn public_key_der(&self) -> &[u8] {
        &self.public.spki
    }

    /// A handle that signs, as rustls wants it in a `CertifiedKey`.
    pub fn signing_key(&self) -> Arc<dyn SigningKey> {
        Arc::clone(&self.signing)
    }

    pub(crate) fn for_rcgen(&self) -> ProviderKey {
        ProviderKey { signing: Arc::clone(&self.signing), public: self.public.clone() }
    }
}

impl From<&PrivateKey> for PrivateKeyDer<'static> {
    fn from(key: &PrivateKey) -> Self {
        key.to_der()
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").finish_non_exhaustive()
    }
}

/// Why there is no private key. Nothing of the key is kept in the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateKeyError {
    /// No key was made.
    #[error("{source}")]
    #[non_exhaustive]
    Generation {
        /// What the generator said.
        source: KeyGenerationError,
    },
    /// The text holds no private key in PEM.
    #[error("there is no private key in the PEM text")]
    #[non_exhaustive]
    Pem {},
    /// The crypto provider can't sign with this key.
    #[error("the crypto provider cannot use this private key")]
    #[non_exhaustive]
    Unsupported {},
}

/// A key of a `CryptoProvider` as rcgen wants it, so that rcgen needs no crypto library of its own and no choice of
/// one is compiled in.
pub(crate) struct ProviderKey {
    signing: Arc<dyn SigningKey>,
    public: PublicPart,
}

impl rcgen::PublicKeyData for ProviderKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public.bits
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.public.algorithm
    }
}

impl rcgen::SigningKey for ProviderKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.signing
            .choose_scheme(&[self.public.scheme])
            .and_then(|signer| signer.sign(message).ok())
            .ok_or(rcgen::Error::RemoteKeyError)
    }
}

#[derive(Clone)]
struct PublicPart {
    spki: Box<[u8]>,
    /// The contents of the BIT STRING in `spki`.
    bits: Box<[u8]>,
    scheme: SignatureScheme,
    algorithm: &'static rcgen::SignatureAlgorithm,
}

impl PublicPart {
    fn of(key: &dyn SigningKey) -> Option<Self> {
        let (scheme, algorithm) =
            SCHEMES.iter().find(|(scheme, _)| key.choose_scheme(&[*scheme]).is_some())?;
        let spki = key.public_key()?;
        let (_, parsed) = SubjectPublicKeyInfo::from_der(&spki).ok()?;
        let bits = parsed.subject_public_key.data.as_ref().into();
        Some(Self { spki: spki.as_ref().into(), bits, scheme: *scheme, algorithm: algorithm() })
    }
}

type Algorithm = fn() -> &'static rcgen::SignatureAlgorithm;

/// How certificates are signed with each kind of key: SHA-256 or better.
const SCHEMES: &[(SignatureScheme, Algorithm)] = &[
    (SignatureScheme::ECDSA_NISTP256_SHA256, || &rcgen::PKCS_ECDSA_P256_SHA256),
    (SignatureScheme::ECDSA_NISTP384_SHA384, || &rcgen::PKCS_ECDSA_P384_SHA384),
    (SignatureScheme::ED25519, || &rcgen::PKCS_ED25519),
    (SignatureScheme::RSA_PKCS1_SHA256, || &rcgen::PKCS_RSA_SHA256),
];
