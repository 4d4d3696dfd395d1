use std::fmt;

use rustls::pki_types::PrivatePkcs8KeyDer;

/// Where new private keys come from: ECDSA on P-256 with the random numbers of a crypto library.
///
/// A `CryptoProvider` of rustls signs with keys but makes none that last, so that this stands beside it.
#[derive(Clone, Copy)]
pub struct KeyGenerator {
    name: &'static str,
    generate: fn() -> Result<PrivatePkcs8KeyDer<'static>, KeyGenerationError>,
}

impl KeyGenerator {
    /// Keys made by ring.
    #[cfg(feature = "ring")]
    pub const RING: Self = Self::new("ring", generate_with_ring);

    /// Keys made by aws-lc-rs.
    #[cfg(feature = "aws-lc-rs")]
    pub const AWS_LC_RS: Self = Self::new("aws-lc-rs", generate_with_aws_lc_rs);

    /// Keys made by `generate`: each call a new PKCS#8 document (RFC 5958) with its public key inside, for an algorithm
    /// that the `CryptoProvider` in use can sign with.
    pub const fn new(
        name: &'static str,
        generate: fn() -> Result<PrivatePkcs8KeyDer<'static>, KeyGenerationError>,
    ) -> Self {
        Self { name, generate }
    }

    pub(crate) fn generate(self) -> Result<PrivatePkcs8KeyDer<'static>, KeyGenerationError> {
        (self.generate)()
    }
}

impl fmt::Debug for KeyGenerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyGenerator({})", self.name)
    }
}

/// The crypto library made no key: it has no random numbers to give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("the crypto library could not make a key")]
#[non_exhaustive]
pub struct KeyGenerationError {}

impl KeyGenerationError {
    /// For generators of one's own.
    pub const fn new() -> Self {
        Self {}
    }
}

#[cfg(feature = "ring")]
fn generate_with_ring() -> Result<PrivatePkcs8KeyDer<'static>, KeyGenerationError> {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};

    EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
        .map(|document| document.as_ref().to_vec().into())
        .map_err(|_| KeyGenerationError::new())
}

#[cfg(feature = "aws-lc-rs")]
fn generate_with_aws_lc_rs() -> Result<PrivatePkcs8KeyDer<'static>, KeyGenerationError> {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};

    EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
        .map(|document| document.as_ref().to_vec().into())
        .map_err(|_| KeyGenerationError::new())
}
