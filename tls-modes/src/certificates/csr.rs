use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::AlgorithmIdentifier;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{GeneralName, ParsedExtension, X509Extension};
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use crate::certificates::der::{BIT_STRING, CONTEXT_0, Element, INTEGER, SEQUENCE, SET, is_strict};
use crate::certificates::public_key::check_public_key;
use crate::certificates::{AuthorisedNames, CsrError, KeyFingerprint};
use crate::reader::Reader;
use crate::{ServerName, ServerNameError};

/// Checks certificate signing requests (PKCS #10, RFC 2986) of agents.
///
/// A request lends its public key and nothing else: the certificate is built from the tunnel's record. What the request
/// says beside that must not contradict it, or the request is refused; nothing is ever trimmed silently.
///
/// Checked in this order, the dearest check late: size, strict encoding, kind and soundness of the key, uses and
/// extensions, digest of the signature, proof of possession, names.
#[derive(Clone, Debug)]
pub struct CsrCheck {
    provider: Arc<CryptoProvider>,
}

impl CsrCheck {
    /// Verifies signatures with the algorithms of `provider`.
    pub const fn new(provider: Arc<CryptoProvider>) -> Self {
        Self { provider }
    }

    /// Checks one request in PEM (RFC 7468): text before it is ignored, as are line ends and the old label
    /// `NEW CERTIFICATE REQUEST`. Any second block, of whatever kind, is refused.
    ///
    /// # Errors
    /// [`CsrError`]; nothing was signed.
    pub fn check_pem(&self, pem: &[u8], authorised: &AuthorisedNames) -> Result<ApprovedRequest, CsrError> {
        check_size(pem)?;
        let mut blocks = Pem::iter_from_buffer(pem);
        let Some(Ok(block)) = blocks.next() else {
            return Err(CsrError::Encoding);
        };
        let is_request = matches!(block.label.as_str(), "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST");
        if !is_request || blocks.next().is_some() {
            return Err(CsrError::Encoding);
        }
        self.check_der(&block.contents, authorised)
    }

    /// Checks one request in DER.
    ///
    /// # Errors
    /// [`CsrError`]; nothing was signed.
    pub fn check_der(&self, der: &[u8], authorised: &AuthorisedNames) -> Result<ApprovedRequest, CsrError> {
        check_size(der)?;
        if !is_strict(der) {
            return Err(CsrError::Encoding);
        }
        let shape = Shape::of(der).ok_or(CsrError::Encoding)?;
        let (_, request) = X509CertificationRequest::from_der(der).map_err(|_| CsrError::Encoding)?;
        let info = &request.certification_request_info;
        check_public_key(&info.subject_pki)?;
        let extensions = read_extensions(&request)?;
        let mut wanted = Wanted::default();
        for extension in &extensions {
            wanted.receive(extension)?;
        }
        self.check_signature(&request, &shape)?;
        let names = wanted.names(&info.subject, authorised)?;
        Ok(ApprovedRequest {
            names,
            public_key: shape.public_key.into(),
            public_key_bits: info.subject_pki.subject_public_key.data.as_ref().into(),
            der: der.into(),
        })
    }

    fn check_signature(
        &self,
        request: &X509CertificationRequest<'_>,
        shape: &Shape<'_>,
    ) -> Result<(), CsrError> {
        let is_weak = WEAK_SIGNATURES.contains(&request.signature_algorithm.algorithm.as_bytes());
        if is_weak || request.signature_value.unused_bits != 0 {
            return Err(CsrError::WeakSignature);
        }
        let info = &request.certification_request_info;
        let key_algorithm = shape.key_algorithm;
        let mut candidates = self
            .provider
            .signature_verification_algorithms
            .all
            .iter()
            .filter(|candidate| is(candidate.public_key_alg_id(), key_algorithm))
            .filter(|candidate| is(candidate.signature_alg_id(), shape.signature_algorithm))
            .peekable();
        if candidates.peek().is_none() {
            return Err(CsrError::WeakSignature);
        }
        let is_proven = candidates.any(|candidate| {
            let key = &info.subject_pki.subject_public_key.data;
            candidate.verify_signature(key, shape.info, &request.signature_value.data).is_ok()
        });
        if is_proven { Ok(()) } else { Err(CsrError::BadSignature) }
    }
}

/// A request that passed every check, with the names that its certificate will have. Only [`CsrCheck`] makes one.
#[derive(Clone, Debug)]
pub struct ApprovedRequest {
    names: Vec<ServerName>,
    public_key: Box<[u8]>,
    public_key_bits: Box<[u8]>,
    der: Box<[u8]>,
}

impl ApprovedRequest {
    /// The names to certify, at least one, all of them authorised.
    pub fn names(&self) -> &[ServerName] {
        &self.names
    }

    /// The public key: a SubjectPublicKeyInfo in DER.
    pub fn public_key_der(&self) -> &[u8] {
        &self.public_key
    }

    /// The fingerprint to look up in a [`KeyIndex`](crate::KeyIndex) before signing.
    pub fn key_fingerprint(&self) -> KeyFingerprint {
        KeyFingerprint::of(&self.public_key)
    }

    /// The request itself, for signers that pass it on, as ACME does.
    pub fn csr_der(&self) -> &[u8] {
        &self.der
    }

    /// The content of the key's BIT STRING.
    #[cfg_attr(not(feature = "ca"), expect(dead_code, reason = "only a signer of ours looks at it"))]
    pub(crate) fn public_key_bits(&self) -> &[u8] {
        &self.public_key_bits
    }
}

/// The parts of a request whose raw bytes count, cut out with every length accounted for.
///
/// ```text
///  SEQUENCE                          request
///  +- SEQUENCE                       info: what is signed
///  |  +- INTEGER 0                   version 1
///  |  +- SEQUENCE                    subject
///  |  +- SEQUENCE                    public_key
///  |  |  +- SEQUENCE                 key_algorithm
///  |  |  '- BIT STRING
///  |  '- [0]                         attributes, each an OID and a SET of one value
///  +- SEQUENCE                       signature_algorithm
///  '- BIT STRING                     signature
/// ```
struct Shape<'a> {
    info: &'a [u8],
    public_key: &'a [u8],
    /// Content only, as `AlgorithmIdentifier` has it.
    key_algorithm: &'a [u8],
    /// Content only.
    signature_algorithm: &'a [u8],
}

impl<'a> Shape<'a> {
    fn of(der: &'a [u8]) -> Option<Self> {
        let request = Element::read(&mut Reader::new(der))?;
        let [info, signature_algorithm, signature] = request.children(SEQUENCE)?;
        let [version, subject, public_key, attributes] = info.children(SEQUENCE)?;
        let [key_algorithm, key] = public_key.children(SEQUENCE)?;
        let has_shape = (version.tag, version.content) == (INTEGER, &[0])
            && subject.tag == SEQUENCE
            && key_algorithm.tag == SEQUENCE
            && key.tag == BIT_STRING
            && signature_algorithm.tag == SEQUENCE
            && signature.tag == BIT_STRING;
        check_attributes(attributes)?;
        has_shape.then_some(Self {
            info: info.raw,
            public_key: public_key.raw,
            key_algorithm: key_algorithm.content,
            signature_algorithm: signature_algorithm.content,
        })
    }
}

/// What the extensions of a request ask for.
#[derive(Default)]
struct Wanted<'a> {
    dns_names: Vec<&'a str>,
    has_san: bool,
}

impl<'a> Wanted<'a> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all other extensions are judged by being critical alone"
    )]
    fn receive(&mut self, extension: &'a X509Extension<'a>) -> Result<(), CsrError> {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(san) => {
                self.has_san = true;
                self.receive_names(&san.general_names)
            }
            ParsedExtension::BasicConstraints(constraints) => {
                let is_leaf = !constraints.ca && constraints.path_len_constraint.is_none();
                is_leaf.then_some(()).ok_or(CsrError::CertificateAuthority)
            }
            ParsedExtension::KeyUsage(usage) => {
                let signs_for_others = usage.key_cert_sign() || usage.crl_sign();
                if signs_for_others { Err(CsrError::KeyUsage) } else { Ok(()) }
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                let is_more_than_server = usage.any
                    || usage.client_auth
                    || usage.code_signing
                    || usage.email_protection
                    || usage.time_stamping
                    || usage.ocsp_signing
                    || !usage.other.is_empty();
                if is_more_than_server { Err(CsrError::KeyUsage) } else { Ok(()) }
            }
            ParsedExtension::NameConstraints(_) => Err(CsrError::Extension),
            ParsedExtension::ParseError { .. } => Err(CsrError::Encoding),
            ParsedExtension::SubjectKeyIdentifier(_) => Ok(()),
            _ if extension.critical => Err(CsrError::Extension),
            _ => Ok(()),
        }
    }

    fn receive_names(&mut self, names: &[GeneralName<'a>]) -> Result<(), CsrError> {
        if names.is_empty() {
            return Err(CsrError::Encoding);
        }
        for name in names {
            let GeneralName::DNSName(name) = name else {
                return Err(CsrError::SanType);
            };
            self.dns_names.push(name);
        }
        Ok(())
    }

    /// The names asked for by either way, each out of `authorised`; the common name must repeat one of the others.
    fn names(
        &self,
        subject: &X509Name<'_>,
        authorised: &AuthorisedNames,
    ) -> Result<Vec<ServerName>, CsrError> {
        let mut names = Vec::new();
        for name in &self.dns_names {
            let name = find_authorised(name, authorised)?;
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        let mut common_names = subject.iter_common_name();
        if let Some(common_name) = common_names.next() {
            let common_name = common_name.as_str().map_err(|_| CsrError::NameMismatch)?;
            let common_name = find_authorised(common_name, authorised)?;
            if self.has_san && !names.contains(common_name) {
                return Err(CsrError::NameMismatch);
            }
            if names.is_empty() {
                names.push(common_name.clone());
            }
        }
        if common_names.next().is_some() {
            return Err(CsrError::NameMismatch);
        }
        if names.is_empty() { Err(CsrError::NoName) } else { Ok(names) }
    }
}

fn find_authorised<'n>(name: &str, authorised: &'n AuthorisedNames) -> Result<&'n ServerName, CsrError> {
    if name.starts_with("*.") {
        return Err(CsrError::Wildcard);
    }
    match name.parse::<ServerName>() {
        Ok(name) => authorised.find(&name).ok_or(CsrError::NameMismatch),
        Err(ServerNameError::IpLiteral) => Err(CsrError::SanType),
        Err(_) => Err(CsrError::NameMismatch),
    }
}

fn read_extensions<'a>(
    request: &'a X509CertificationRequest<'a>,
) -> Result<Vec<&'a X509Extension<'a>>, CsrError> {
    let mut extensions: Vec<&X509Extension<'_>> = Vec::new();
    for attribute in request.certification_request_info.iter_attributes() {
        if let ParsedCriAttribute::ExtensionRequest(requested) = attribute.parsed_attribute() {
            extensions.extend(&requested.extensions);
        }
    }
    let mut kinds: Vec<&[u8]> = extensions.iter().map(|extension| extension.oid.as_bytes()).collect();
    kinds.sort_unstable();
    let has_twice = kinds.array_windows().any(|[left, right]| left == right);
    if has_twice { Err(CsrError::Encoding) } else { Ok(extensions) }
}

/// Each attribute once, each with exactly one value.
fn check_attributes(attributes: Element<'_>) -> Option<()> {
    let mut reader = (attributes.tag == CONTEXT_0).then(|| Reader::new(attributes.content))?;
    let mut kinds = Vec::new();
    while !reader.is_empty() {
        let [kind, values] = Element::read(&mut reader)?.children(SEQUENCE)?;
        let [_value] = values.children(SET)?;
        kinds.push(kind.raw);
    }
    kinds.sort_unstable();
    let has_twice = kinds.array_windows().any(|[left, right]| left == right);
    (!has_twice).then_some(())
}

const fn check_size(bytes: &[u8]) -> Result<(), CsrError> {
    if bytes.len() > MAX_REQUEST_BYTES { Err(CsrError::TooLarge { bytes: bytes.len() }) } else { Ok(()) }
}

fn is(algorithm: AlgorithmIdentifier, der: &[u8]) -> bool {
    algorithm.as_ref() == der
}

/// Ten times what the largest key and a hundred names need.
const MAX_REQUEST_BYTES: usize = 65_536;

/// Signature algorithms whose digest is broken, as contents of object identifiers: RSA with MD2, MD4, MD5 and SHA-1,
/// ECDSA and DSA with SHA-1 (RFC 3279 §2.2).
const WEAK_SIGNATURES: &[&[u8]] = &[
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x02],
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x03],
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x04],
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05],
    &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01],
    &[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x03],
];
