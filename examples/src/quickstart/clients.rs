//! A visitor with a certificate, and the authority that signed it.

use crate::BoxError;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What a visitor shows.
pub(crate) type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// An authority for certificates of visitors.
pub(crate) struct Clients {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Clients {
    /// A new authority, known to nobody.
    pub(crate) fn new() -> Result<Self, BoxError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// Its certificate, by which a gateway knows those that it signs.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for a visitor, and its key.
    pub(crate) fn identity(&self) -> Result<Identity, BoxError> {
        let mut params = CertificateParams::new(vec!["visitor".to_owned()])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.into();
        Ok((certificate, PrivateKeyDer::Pkcs8(key.serialize_der().into())))
    }
}
