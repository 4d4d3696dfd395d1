//! Requests of ACME: flattened JWS with ES256 (RFC 8555 §6.2, RFC 7515, RFC 7518 §3.4).

use super::desk::Problem;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// A request whose signature hasn't been looked at.
pub(super) struct Signed {
    /// What was signed beside the payload.
    pub(super) header: Header,
    /// What is asked for; empty for a POST-as-GET.
    pub(super) payload: Vec<u8>,
    input: String,
    signature: Vec<u8>,
}

/// The protected header.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    alg: String,
    pub(super) nonce: String,
    pub(super) url: String,
    pub(super) jwk: Option<Jwk>,
    pub(super) kid: Option<String>,
}

/// A public key on P-256.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Jwk {
    kty: String,
    crv: String,
    x: String,
    y: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Flattened {
    protected: String,
    payload: String,
    signature: String,
}

impl Signed {
    /// Takes a request apart.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Problem> {
        let malformed = || Problem::new(400, "malformed");
        let flattened: Flattened = serde_json::from_slice(body).map_err(|_| malformed())?;
        let decode = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| malformed());
        let header: Header =
            serde_json::from_slice(&decode(&flattened.protected)?).map_err(|_| malformed())?;
        if header.alg != "ES256" {
            return Err(Problem::new(400, "badSignatureAlgorithm"));
        }
        if header.jwk.is_some() == header.kid.is_some() {
            return Err(malformed());
        }
        Ok(Self {
            payload: decode(&flattened.payload)?,
            signature: decode(&flattened.signature)?,
            input: format!("{}.{}", flattened.protected, flattened.payload),
            header,
        })
    }

    /// Whether `key` signed it.
    pub(super) fn verify(&self, key: &Jwk) -> Result<(), Problem> {
        let point = key.point().ok_or_else(|| Problem::new(400, "badPublicKey"))?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(self.input.as_bytes(), &self.signature)
            .map_err(|_| Problem::new(403, "unauthorized"))
    }
}

impl Jwk {
    /// RFC 7638, in base64url: what stands behind the token in a key authorization.
    pub(super) fn thumbprint(&self) -> String {
        let Self { kty, crv, x, y } = self;
        let canonical = format!(r#"{{"crv":"{crv}","kty":"{kty}","x":"{x}","y":"{y}"}}"#);
        BASE64URL_NOPAD.encode(&Sha256::digest(canonical))
    }

    /// Uncompressed (SEC 1, section 2.3.3).
    fn point(&self) -> Option<Vec<u8>> {
        let coordinate = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).ok().filter(|c| c.len() == 32);
        let is_p256 = self.kty == "EC" && self.crv == "P-256";
        let (x, y) = (coordinate(&self.x)?, coordinate(&self.y)?);
        is_p256.then(|| [vec![4], x, y].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbprint_is_that_of_rfc_7638_for_curves() {
        // The key of RFC 7515, appendix A.3.1; its thumbprint by `jose jwk thp`.
        let jwk = Jwk {
            kty: "EC".to_owned(),
            crv: "P-256".to_owned(),
            x: "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU".to_owned(),
            y: "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0".to_owned(),
        };
        assert_eq!(jwk.thumbprint(), "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U");
        // The signed text of that appendix; another key, or another octet, and it is nobody's.
        let input = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature =
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let header =
            Header { alg: String::new(), nonce: String::new(), url: String::new(), jwk: None, kid: None };
        let mut signed = Signed {
            header,
            payload: Vec::new(),
            input: input.to_owned(),
            signature: BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap(),
        };
        assert!(signed.verify(&jwk).is_ok());
        signed.input.push('A');
        assert!(signed.verify(&jwk).is_err());
    }
}
