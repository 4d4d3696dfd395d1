//! Certificates taken back: what the authority signs, and what OpenSSL and webpki make of it.
#![cfg(all(feature = "ca", feature = "agent", feature = "ring"))]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and is a driver")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for the one thing it wants")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adit_tls_modes::rustls::client::WebPkiServerVerifier;
use adit_tls_modes::rustls::client::danger::ServerCertVerifier;
use adit_tls_modes::rustls::crypto::{CryptoProvider, ring};
use adit_tls_modes::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, ServerName as PeerName, UnixTime,
};
use adit_tls_modes::rustls::{CertificateError, Error, RootCertStore};
use adit_tls_modes::{
    CertificateSerial, Issuance, IssuedCertificate, KeyGenerator, LocalCa, NewCa, PrivateKey,
    RevocationError, RevocationList, RevocationReason, ServerName, SignError,
};
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

use openssl::OpenSsl;

#[path = "support/openssl.rs"]
mod openssl;

const HOST: &str = "app.tunnel.example";
const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn the_number_rises_and_the_list_says_when_the_next_one_comes() {
    let house = House::new();
    let mut list = RevocationList::new(10);
    for number in 1..=3_u64 {
        let crl = house.ca.sign_revocations(&mut list, now(), 7 * DAY).unwrap();
        let (_, parsed) = CertificateRevocationList::from_der(&crl).unwrap();
        assert_eq!(parsed.crl_number(), Some(&number.into()));
        assert_eq!(list.number(), number);
        assert_eq!(parsed.last_update().timestamp(), 1_800_000_000);
        assert_eq!(parsed.next_update().unwrap().timestamp(), 1_800_000_000 + 7 * 86_400);
        assert_eq!(parsed.issuer().to_string(), "CN=Test CA");
        let authority = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
            _ => None,
        });
        assert_eq!(authority, subject_key_id(house.ca.certificate()));
    }
    let crl = house.ca.sign_revocations(&mut list, now(), 100 * 365 * DAY).unwrap();
    let (_, parsed) = CertificateRevocationList::from_der(&crl).unwrap();
    let end = house.ca.not_after().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(
        parsed.next_update().unwrap().timestamp(),
        i64::try_from(end).unwrap(),
        "not beyond the authority"
    );
    let late = house.ca.sign_revocations(&mut list, now() + 20 * 365 * DAY, DAY);
    assert!(matches!(late, Err(SignError::Clock)));
    assert_eq!(list.number(), 4, "what was not signed has no number");
}

#[test]
fn a_list_comes_back_from_its_crl() {
    let house = House::new();
    let mut list = RevocationList::new(10);
    let reasons = [
        RevocationReason::Unspecified,
        RevocationReason::KeyCompromise,
        RevocationReason::AffiliationChanged,
        RevocationReason::Superseded,
        RevocationReason::CessationOfOperation,
        RevocationReason::PrivilegeWithdrawn,
    ];
    for (reason, random) in reasons.into_iter().zip(1..) {
        let serial = CertificateSerial::of(&house.issue(random).chain[0]).unwrap();
        list.revoke(serial, reason, now()).unwrap();
    }
    let crl = house.ca.sign_revocations(&mut list, now(), DAY).unwrap();
    assert_eq!(RevocationList::from_crl(&crl, 10), Ok(list.clone()));
    assert_eq!(RevocationList::from_crl(&crl, 5), Err(RevocationError::Full));
    let again =
        house.ca.sign_revocations(&mut RevocationList::from_crl(&crl, 10).unwrap(), now(), DAY).unwrap();
    let (_, parsed) = CertificateRevocationList::from_der(&again).unwrap();
    assert_eq!(parsed.crl_number(), Some(&2_u64.into()), "a restart does not start counting anew");
    let trailing = [crl.as_ref(), &[0]].concat();
    for damaged in [&[][..], &crl[..crl.len() - 1], &trailing, house.ca.certificate()] {
        assert_eq!(RevocationList::from_crl(damaged, 10), Err(RevocationError::Unreadable));
    }
}

#[test]
fn webpki_refuses_the_revoked_certificate_and_no_other() {
    let house = House::new();
    let (good, bad) = (house.issue(1), house.issue(2));
    let mut list = RevocationList::new(10);
    let empty = house.ca.sign_revocations(&mut list, now(), DAY).unwrap();
    house.verify(&bad, &empty).unwrap();
    let serial = CertificateSerial::of(&bad.chain[0]).unwrap();
    list.revoke(serial.clone(), RevocationReason::KeyCompromise, now()).unwrap();
    assert_eq!(list.reason(&serial), Some(RevocationReason::KeyCompromise));
    let crl = house.ca.sign_revocations(&mut list, now(), DAY).unwrap();
    house.verify(&good, &crl).unwrap();
    let refused = house.verify(&bad, &crl).unwrap_err();
    assert_eq!(refused, Error::InvalidCertificate(CertificateError::Revoked));
    let other = House::new();
    let foreign = other.ca.sign_revocations(&mut list, now(), DAY).unwrap();
    assert_ne!(house.verify(&bad, &foreign), Err(Error::InvalidCertificate(CertificateError::Revoked)));
}

#[test]
fn openssl_refuses_the_revoked_certificate_and_no_other() {
    let Some(openssl) = OpenSsl::find() else { return };
    let house = House::new();
    openssl.write("ca.pem", house.ca.certificate_pem().as_bytes());
    let mut list = RevocationList::new(10);
    for (random, is_revoked) in [(1, false), (2, true)] {
        let issued = house.issue(random);
        let file = format!("leaf{random}.der");
        openssl.write(&file, &issued.chain[0]);
        openssl.run(&format!("x509 -inform der -in {file} -out leaf{random}.pem"));
        if is_revoked {
            let serial = CertificateSerial::of(&issued.chain[0]).unwrap();
            list.revoke(serial, RevocationReason::KeyCompromise, now()).unwrap();
        }
    }
    openssl.write("crl.der", &house.ca.sign_revocations(&mut list, now(), DAY).unwrap());
    openssl.run("crl -inform der -in crl.der -CAfile ca.pem -out crl.pem");
    let verify = "verify -attime 1800000100 -CAfile ca.pem -CRLfile crl.pem -crl_check -purpose sslserver";
    openssl.run(&format!("{verify} leaf1.pem"));
    assert!(!openssl.try_run(&format!("{verify} leaf2.pem")));
    let stale = verify.replace("1800000100", "1800172900");
    assert!(!openssl.try_run(&format!("{stale} leaf1.pem")), "past its end the list is worth nothing");
}

#[test]
fn certificates_say_where_the_list_is_if_it_is_anywhere() {
    let house = House::new();
    assert_eq!(distribution_points(&house.issue(1)), None);
    let ca = house.ca.revocations_at("http://tunnel.example/authority.crl");
    let key = PrivateKey::generate(KeyGenerator::RING, &house.provider).unwrap();
    let issued = ca.issue_own(&[host()], false, &key, Issuance::new(now(), [1; 16])).unwrap();
    assert!(distribution_points(&issued).unwrap().contains("http://tunnel.example/authority.crl"));
}

struct House {
    provider: Arc<CryptoProvider>,
    ca: LocalCa,
}

impl House {
    fn new() -> Self {
        let provider = Arc::new(ring::default_provider());
        let new = NewCa::new("Test CA", now() - DAY, [1; 16]);
        let ca = LocalCa::generate(KeyGenerator::RING, &provider, new).unwrap();
        Self { provider, ca }
    }

    fn issue(&self, random: u8) -> IssuedCertificate {
        let key = PrivateKey::generate(KeyGenerator::RING, &self.provider).unwrap();
        self.ca.issue_own(&[host()], false, &key, Issuance::new(now(), [random; 16])).unwrap()
    }

    /// As a client that has the list, and insists on its being fresh.
    fn verify(
        &self,
        issued: &IssuedCertificate,
        crl: &CertificateRevocationListDer<'static>,
    ) -> Result<(), Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.certificate().clone()).unwrap();
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(&self.provider))
            .with_crls([crl.clone()])
            .enforce_revocation_expiration()
            .build()
            .unwrap();
        let name = PeerName::try_from(HOST).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_100));
        verifier.verify_server_cert(&issued.chain[0], &issued.chain[1..], &name, &[], now).map(drop)
    }
}

fn subject_key_id(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(certificate).unwrap();
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    })
}

fn distribution_points(issued: &IssuedCertificate) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(&issued.chain[0]).unwrap();
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::CRLDistributionPoints(points) => Some(format!("{points:?}")),
        _ => None,
    })
}

fn host() -> ServerName {
    HOST.parse().unwrap()
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}
