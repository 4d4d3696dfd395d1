use rcgen::{CertificateParams, DistinguishedName, SanType};

use crate::ServerName;
use crate::keys::{PrivateKey, write_pem};

/// A certificate signing request (PKCS #10, RFC 2986): the names, the public key, and the proof that the private key is
/// here. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRequest {
    der: Box<[u8]>,
}

impl CertificateRequest {
    /// Asks for a certificate for `names`, which must be exactly hosts of the tunnel, with `key`.
    ///
    /// # Errors
    /// [`RequestError`] if there is no name or the key can't sign.
    pub fn new(names: &[ServerName], key: &PrivateKey) -> Result<Self, RequestError> {
        if names.is_empty() {
            return Err(RequestError::NoName);
        }
        let mut params = CertificateParams::default();
        // No common name: the host stands in the SAN, and nowhere else to be compared with.
        params.distinguished_name = DistinguishedName::new();
        for name in names {
            let name = name.as_str().try_into().map_err(|_| RequestError::Signing)?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        let request = params.serialize_request(&key.for_rcgen()).map_err(|_| RequestError::Signing)?;
        Ok(Self { der: request.der().as_ref().into() })
    }

    /// The request in DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The request in PEM.
    pub fn to_pem(&self) -> String {
        write_pem("CERTIFICATE REQUEST", &self.der).as_str().into()
    }
}

/// Why there is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No name was given.
    #[error("there is no name to request a certificate for")]
    NoName,
    /// The key can't sign.
    #[error("the private key could not sign the request")]
    Signing,
}
