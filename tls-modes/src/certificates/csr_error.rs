use crate::certificates::KeyRefused;

/// Why a certificate signing request is refused: nothing was signed, nothing of the request is kept in the error.
///
/// All of it is the requester's to mend; sent again unchanged, the request will be refused again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CsrError {
    /// More than 65,536 bytes; refused before looking at any.
    #[error("the request has {bytes} bytes; the limit is 65536")]
    #[non_exhaustive]
    TooLarge {
        /// How many were given.
        bytes: usize,
    },
    /// Not exactly one PKCS #10 request (RFC 2986) of version 1, in strict DER or in one PEM block.
    #[error("the request is not one PKCS #10 request in strict DER or PEM")]
    Encoding,
    /// A kind of key that is not certified: only RSA, ECDSA on P-256 or P-384, and Ed25519.
    #[error("keys of this kind are not certified; use ECDSA on P-256")]
    KeyType,
    /// An RSA key that is not of 2048 to 4096 bits, or has an exponent below 65537.
    #[error("the RSA key must have 2048 to 4096 bits and an exponent of at least 65537")]
    KeySize,
    /// A point that is not on its curve, or generates too small a group.
    #[error("the public key is not a valid key")]
    BadKey,
    /// An RSA modulus that can be factored: small factors, factors close together, or made by a known bad generator.
    #[error("the RSA key can be broken; make a new one")]
    WeakKey,
    /// Signed with a digest that is broken, or with an algorithm that does not belong to the key.
    #[error("the request must be signed with SHA-256 or better")]
    WeakSignature,
    /// The signature does not prove possession of the private key.
    #[error("the signature of the request is not made with its key")]
    BadSignature,
    /// The request asks for no name.
    #[error("the request names no host")]
    NoName,
    /// The request asks for a name that the tunnel does not have.
    #[error("the request names a host that is not this tunnel's")]
    NameMismatch,
    /// The request asks for a wildcard.
    #[error("the request asks for a wildcard")]
    Wildcard,
    /// The request asks for something else than DNS names.
    #[error("the request asks for a name that is no DNS name")]
    SanType,
    /// The request asks for a certificate authority.
    #[error("the request asks for a certificate authority")]
    CertificateAuthority,
    /// The request asks for a use beyond that of a TLS server.
    #[error("the request asks for a key usage beyond that of a TLS server")]
    KeyUsage,
    /// The request has name constraints, or a critical extension that is not known here.
    #[error("the request has an extension that cannot be granted")]
    Extension,
    /// The key may not be certified for this tunnel.
    #[error("{source}")]
    #[non_exhaustive]
    Key {
        /// Why.
        source: KeyRefused,
    },
}

impl CsrError {
    /// A name for the refusal on the wire and for counters, stable across versions.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "csr_too_large",
            Self::Encoding => "csr_encoding",
            Self::KeyType => "csr_key_type",
            Self::KeySize => "csr_key_size",
            Self::BadKey => "csr_bad_key",
            Self::WeakKey => "csr_weak_key",
            Self::WeakSignature => "csr_weak_signature",
            Self::BadSignature => "csr_bad_signature",
            Self::NoName => "csr_no_name",
            Self::NameMismatch => "csr_name_mismatch",
            Self::Wildcard => "csr_wildcard",
            Self::SanType => "csr_san_type",
            Self::CertificateAuthority => "csr_ca",
            Self::KeyUsage => "csr_key_usage",
            Self::Extension => "csr_extension",
            Self::Key { source: KeyRefused::Reused } => "csr_key_reused",
            Self::Key { source: KeyRefused::Denied | KeyRefused::IndexFull } => "csr_key_refused",
        }
    }
}

impl From<KeyRefused> for CsrError {
    fn from(source: KeyRefused) -> Self {
        Self::Key { source }
    }
}
