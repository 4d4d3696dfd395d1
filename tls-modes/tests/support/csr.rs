//! Certificate signing requests to order, broken ones included.
#![allow(dead_code, reason = "each test file uses a part of it")]

use adit_tls_modes::PrivateKey;
use adit_tls_modes::rustls::SignatureScheme;

/// Builds a PKCS #10 request field by field and signs it with a key.
#[derive(Clone)]
pub(crate) struct RequestBuilder {
    pub(crate) version: u8,
    pub(crate) common_names: Vec<Vec<u8>>,
    pub(crate) names: Vec<Vec<u8>>,
    pub(crate) extensions: Vec<Vec<u8>>,
    pub(crate) attributes: Vec<Vec<u8>>,
    pub(crate) public_key: Option<Vec<u8>>,
    pub(crate) signature_algorithm: Vec<u8>,
}

impl RequestBuilder {
    pub(crate) fn new() -> Self {
        Self {
            version: 0,
            common_names: Vec::new(),
            names: Vec::new(),
            extensions: Vec::new(),
            attributes: Vec::new(),
            public_key: None,
            signature_algorithm: sequence(&[oid(ECDSA_SHA256)]),
        }
    }

    pub(crate) fn host(name: &str) -> Self {
        Self::new().dns(name.as_bytes())
    }

    pub(crate) fn common_name(mut self, name: &[u8]) -> Self {
        self.common_names.push(name.to_vec());
        self
    }

    pub(crate) fn dns(self, name: &[u8]) -> Self {
        self.name(0x82, name)
    }

    pub(crate) fn name(mut self, tag: u8, content: &[u8]) -> Self {
        self.names.push(tlv(tag, content));
        self
    }

    pub(crate) fn extension(mut self, kind: &[u8], critical: bool, content: &[u8]) -> Self {
        self.extensions.push(extension(kind, critical, content));
        self
    }

    pub(crate) fn attribute(mut self, kind: &[u8], values: &[Vec<u8>]) -> Self {
        self.attributes.push(sequence(&[oid(kind), tlv(0x31, &values.concat())]));
        self
    }

    pub(crate) fn public_key(mut self, spki: Vec<u8>) -> Self {
        self.public_key = Some(spki);
        self
    }

    pub(crate) fn signed_with(mut self, algorithm: &[u8]) -> Self {
        self.signature_algorithm = sequence(&[oid(algorithm)]);
        self
    }

    pub(crate) fn info(&self, key: &PrivateKey) -> Vec<u8> {
        let parts: Vec<Vec<u8>> = self
            .common_names
            .iter()
            .map(|name| tlv(0x31, &sequence(&[oid(COMMON_NAME), tlv(0x0c, name)])))
            .collect();
        let mut extensions = self.extensions.clone();
        if !self.names.is_empty() {
            extensions.push(extension(SUBJECT_ALT_NAME, false, &sequence(&self.names)));
        }
        let mut attributes = self.attributes.clone();
        if !extensions.is_empty() {
            let request = tlv(0x31, &sequence(&extensions));
            attributes.insert(0, sequence(&[oid(EXTENSION_REQUEST), request]));
        }
        sequence(&[
            tlv(0x02, &[self.version]),
            sequence(&parts),
            self.public_key.clone().unwrap_or_else(|| key.public_key_der().to_vec()),
            tlv(0xa0, &attributes.concat()),
        ])
    }

    pub(crate) fn signed_by(&self, key: &PrivateKey) -> Vec<u8> {
        let info = self.info(key);
        let signature = sign(key, &info);
        self.with_signature(&info, &signature)
    }

    pub(crate) fn with_signature(&self, info: &[u8], signature: &[u8]) -> Vec<u8> {
        let signature = tlv(0x03, &[&[0][..], signature].concat());
        sequence(&[info.to_vec(), self.signature_algorithm.clone(), signature])
    }
}

pub(crate) fn sign(key: &PrivateKey, message: &[u8]) -> Vec<u8> {
    let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519];
    key.signing_key().choose_scheme(&schemes).unwrap().sign(message).unwrap()
}

pub(crate) fn extension(kind: &[u8], critical: bool, content: &[u8]) -> Vec<u8> {
    let content = tlv(0x04, content);
    if critical {
        sequence(&[oid(kind), tlv(0x01, &[0xff]), content])
    } else {
        sequence(&[oid(kind), content])
    }
}

pub(crate) fn rsa_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let key = sequence(&[tlv(0x02, modulus), tlv(0x02, exponent)]);
    sequence(&[sequence(&[oid(RSA), tlv(0x05, &[])]), bit_string(&key)])
}

pub(crate) fn ec_key(curve: &[u8], point: &[u8]) -> Vec<u8> {
    sequence(&[sequence(&[oid(EC), oid(curve)]), bit_string(point)])
}

pub(crate) fn bit_string(content: &[u8]) -> Vec<u8> {
    tlv(0x03, &[&[0][..], content].concat())
}

pub(crate) fn oid(content: &[u8]) -> Vec<u8> {
    tlv(0x06, content)
}

pub(crate) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut element = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => element.push(short),
        Ok(one) => element.extend([0x81, one]),
        Err(_) if length < 0x1_0000 => {
            element.push(0x82);
            element.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        Err(_) => {
            element.push(0x83);
            element.extend(&u32::try_from(length).unwrap().to_be_bytes()[1..]);
        }
    }
    element.extend(content);
    element
}

pub(crate) const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
pub(crate) const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
pub(crate) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
pub(crate) const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
pub(crate) const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
pub(crate) const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x1e];
/// 1.3.6.1.5.5.7.1.24, "must staple".
pub(crate) const TLS_FEATURE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x18];
/// 1.3.6.1.4.1.99999.1
pub(crate) const UNKNOWN: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x86, 0x8d, 0x1f, 0x01];
/// 1.2.840.113549.1.9.14 and .7
pub(crate) const EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e];
pub(crate) const CHALLENGE_PASSWORD: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x07];
pub(crate) const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
pub(crate) const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
pub(crate) const DSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01];
pub(crate) const DH: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3e, 0x02, 0x01];
pub(crate) const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
pub(crate) const P192: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x01];
pub(crate) const P224: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x21];
pub(crate) const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];
pub(crate) const SECP256K1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x0a];
pub(crate) const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
pub(crate) const ECDSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01];
pub(crate) const RSA_MD4: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x03];
pub(crate) const RSA_MD5: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x04];
pub(crate) const RSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05];
pub(crate) const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
