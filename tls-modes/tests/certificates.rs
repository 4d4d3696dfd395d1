//! From an agent's key to a certificate that TLS peers accept: the cases C-01 to C-40 that concern this crate.
#![cfg(all(feature = "ca", feature = "agent", feature = "edge", feature = "ring"))]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and is a driver")]
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::useless_vec,
    reason = "a test looks for the one thing it wants"
)]

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use adit_tls_modes::rustls::client::WebPkiServerVerifier;
use adit_tls_modes::rustls::client::danger::ServerCertVerifier;
use adit_tls_modes::rustls::crypto::{CryptoProvider, ring};
use adit_tls_modes::rustls::pki_types::pem::PemObject;
use adit_tls_modes::rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName as PeerName, UnixTime,
};
use adit_tls_modes::rustls::server::WebPkiClientVerifier;
use adit_tls_modes::rustls::{self, RootCertStore};
use adit_tls_modes::{
    ApprovedRequest, AuthorisedNames, AuthorisedNamesError, CaLoadError, CertificateRequest,
    CertificateStore, CsrCheck, CsrError, Issuance, IssuedCertificate, KeyFingerprint, KeyGenerator,
    KeyIndex, KeyRefused, LiveCertificate, LocalCa, NewCa, PrivateKey, RequestError, ServerCertificate,
    ServerName, SignError, Signer, StoreError,
};
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

use csr::{
    BASIC_CONSTRAINTS, CHALLENGE_PASSWORD, DH, DSA, EC, ECDSA_SHA1, ED25519, EXTENDED_KEY_USAGE, KEY_USAGE,
    NAME_CONSTRAINTS, P192, P224, P256, P521, RSA_MD4, RSA_MD5, RSA_SHA1, RequestBuilder, SECP256K1,
    SUBJECT_ALT_NAME, TLS_FEATURE, UNKNOWN, bit_string, ec_key, oid, rsa_key, sequence, sign, tlv,
};

#[path = "support/csr.rs"]
mod csr;
#[path = "support/openssl.rs"]
mod openssl;
use openssl::{OpenSsl, scratch};

const HOST: &str = "demo-7.tunnel.example";

#[test]
fn c01_a_certificate_is_built_from_the_record() {
    let house = House::new();
    let approved = house.check(&RequestBuilder::host(HOST)).unwrap();
    let issued = house.issue(&approved);
    let (_, certificate) = X509Certificate::from_der(&issued.chain[0]).unwrap();
    assert_eq!(certificate.version().0, 2);
    assert_eq!(certificate.public_key().raw, house.key.public_key_der());
    assert_eq!(certificate.subject().to_string(), format!("CN={HOST}"));
    assert_eq!(certificate.issuer().to_string(), "CN=Test CA");
    assert_eq!(issued.not_before, now() - Duration::from_secs(300));
    assert_eq!(issued.not_after, now() + Duration::from_secs(90 * 86_400));
    assert_eq!(certificate.validity().not_after.timestamp(), 1_800_000_000 + 90 * 86_400);
    let serial = certificate.raw_serial();
    assert!((8..=20).contains(&serial.len()) && serial[0] < 0x80 && serial != [0; 16]);
    let san = certificate.subject_alternative_name().unwrap().unwrap();
    assert_eq!(format!("{:?}", san.value.general_names), format!("[DNSName({HOST:?})]"));
    let constraints = certificate.basic_constraints().unwrap().unwrap();
    assert!(!constraints.value.ca);
    let usage = certificate.key_usage().unwrap().unwrap();
    assert_eq!(usage.value.flags, 1, "digitalSignature alone");
    let extended = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && !extended.client_auth && !extended.any && extended.other.is_empty());
    let (mut subject_id, mut authority_id) = (None, None);
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => subject_id = Some(id.0.to_vec()),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                authority_id = id.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
            _ => {}
        }
    }
    assert_eq!(subject_id.unwrap().len(), 20);
    assert_eq!(authority_id, key_id_of(house.ca.certificate()));
    assert_eq!(certificate.extensions().len(), 6, "nothing beside");
}

#[test]
fn c02_c03_c10_the_name_by_common_name_by_san_by_both_or_not_at_all() {
    let house = House::new();
    for request in [
        RequestBuilder::new().common_name(HOST.as_bytes()),
        RequestBuilder::host(HOST).common_name(HOST.as_bytes()),
        RequestBuilder::host("DEMO-7.Tunnel.Example"),
        RequestBuilder::host(HOST).dns(HOST.as_bytes()).dns(b"Demo-7.TUNNEL.example"),
    ] {
        let approved = house.check(&request).unwrap();
        assert_eq!(approved.names().len(), 1);
        assert_eq!(approved.names()[0].raw(), HOST.as_bytes());
    }
    assert_eq!(house.refused(&RequestBuilder::new()), CsrError::NoName);
}

#[test]
fn c04_c05_c06_c12_no_other_name_and_no_wildcard() {
    let house = House::new();
    for other in [
        "bank.example",
        "tunnel.example",
        "a.demo-7.tunnel.example",
        "demo-7.tunnel.example.evil.test",
        "xdemo-7.tunnel.example",
        "demo-7.tunnel.exampl",
        "demo-70.tunnel.example",
        "xn--demo-7-zxa.tunnel.example",
        "d\u{e9}mo-7.tunnel.example",
        "demo\u{2011}7.tunnel.example",
    ] {
        let instead = RequestBuilder::host(other);
        let beside = RequestBuilder::host(HOST).dns(other.as_bytes());
        for request in [instead, beside, RequestBuilder::new().common_name(other.as_bytes())] {
            assert_eq!(house.refused(&request), CsrError::NameMismatch, "{other}");
        }
    }
    for wildcard in ["*.tunnel.example", "*.demo-7.tunnel.example", "*.example"] {
        assert_eq!(house.refused(&RequestBuilder::host(wildcard)), CsrError::Wildcard);
        assert_eq!(house.refused(&RequestBuilder::host(HOST).dns(wildcard.as_bytes())), CsrError::Wildcard);
    }
    assert_eq!(house.refused(&RequestBuilder::host("*")), CsrError::NameMismatch);
}

#[test]
fn c04_each_of_several_hosts_may_be_asked_for() {
    let house = House::new();
    let hosts: Vec<ServerName> = vec![host(), "custom.example".parse().unwrap()];
    let names = AuthorisedNames::new(hosts.clone()).unwrap();
    let both = RequestBuilder::host(HOST).dns(b"custom.example").signed_by(&house.key);
    assert_eq!(house.csr.check_der(&both, &names).unwrap().names(), hosts);
    let one = RequestBuilder::host("custom.example").signed_by(&house.key);
    assert_eq!(house.csr.check_der(&one, &names).unwrap().names(), &hosts[1..]);
    // C-07: the common name is no second way to ask.
    let other = RequestBuilder::host(HOST).common_name(b"custom.example").signed_by(&house.key);
    assert_eq!(house.csr.check_der(&other, &names).unwrap_err(), CsrError::NameMismatch);
}

#[test]
fn c07_c08_c11_names_that_contradict_or_are_none() {
    let house = House::new();
    let host = HOST.as_bytes();
    for request in [
        RequestBuilder::host(HOST).common_name(b"bank.example"),
        RequestBuilder::host(HOST).common_name(host).common_name(host),
        RequestBuilder::host(HOST).common_name(host).common_name(b"bank.example"),
        RequestBuilder::host("demo-7.tunnel.example\0.evil.test"),
        RequestBuilder::new().common_name(b"demo-7.tunnel.example\0"),
        RequestBuilder::host("demo-7.tunnel.example."),
        RequestBuilder::host(" demo-7.tunnel.example"),
        RequestBuilder::host("demo-7.tunnel.example "),
        RequestBuilder::host(""),
        RequestBuilder::new().common_name(b""),
    ] {
        assert_eq!(house.refused(&request), CsrError::NameMismatch);
    }
}

#[test]
fn c09_only_dns_names() {
    let house = House::new();
    for (tag, content) in [
        (0x87, &[192, 0, 2, 1][..]),
        (0x81, b"root@demo-7.tunnel.example"),
        (0x86, b"https://demo-7.tunnel.example/"),
        (0xa4, &[0x30, 0x00]),
        (0xa0, &[0x06, 0x03, 0x2a, 0x03, 0x04, 0xa0, 0x02, 0x0c, 0x00]),
        (0x88, &[0x2a, 0x03]),
    ] {
        for request in
            [RequestBuilder::new().name(tag, content), RequestBuilder::host(HOST).name(tag, content)]
        {
            assert_eq!(house.refused(&request), CsrError::SanType, "{tag:#x}");
        }
    }
    for address in ["192.0.2.1", "2001:db8::1"] {
        assert_eq!(house.refused(&RequestBuilder::new().common_name(address.as_bytes())), CsrError::SanType);
        assert_eq!(house.refused(&RequestBuilder::host(address)), CsrError::SanType);
    }
    let empty = RequestBuilder::host(HOST).extension(SUBJECT_ALT_NAME, false, &sequence(&[]));
    assert_eq!(house.refused(&empty), CsrError::Encoding);
}

#[test]
fn c13_no_authority() {
    let house = House::new();
    let ca_true = sequence(&[tlv(0x01, &[0xff])]);
    let path_length = sequence(&[tlv(0x01, &[0xff]), tlv(0x02, &[0])]);
    for content in [&ca_true, &path_length] {
        for critical in [false, true] {
            let request = RequestBuilder::host(HOST).extension(BASIC_CONSTRAINTS, critical, content);
            assert_eq!(house.refused(&request), CsrError::CertificateAuthority);
        }
    }
    let ca_false = RequestBuilder::host(HOST).extension(BASIC_CONSTRAINTS, true, &sequence(&[]));
    house.check(&ca_false).unwrap();
}

#[test]
fn c14_only_the_uses_of_a_server() {
    let house = House::new();
    // Bits from the left: digitalSignature 0, keyEncipherment 2, keyCertSign 5, cRLSign 6.
    for (bits, is_taken) in [(0x80, true), (0xa0, true), (0x04, false), (0x84, false), (0x02, false)] {
        let request = RequestBuilder::host(HOST).extension(KEY_USAGE, true, &tlv(0x03, &[1, bits]));
        assert_eq!(
            house.check(&request).map(drop).err(),
            (!is_taken).then_some(CsrError::KeyUsage),
            "{bits:#x}"
        );
    }
    let purpose = |last: u8| oid(&[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, last]);
    let any = oid(&[0x55, 0x1d, 0x25, 0x00]);
    for (purposes, is_taken) in [
        (vec![purpose(1)], true),
        (vec![purpose(2)], false),
        (vec![purpose(1), purpose(2)], false),
        (vec![purpose(3)], false),
        (vec![purpose(9)], false),
        (vec![any], false),
        (vec![oid(UNKNOWN)], false),
    ] {
        let request = RequestBuilder::host(HOST).extension(EXTENDED_KEY_USAGE, false, &sequence(&purposes));
        assert_eq!(house.check(&request).map(drop).err(), (!is_taken).then_some(CsrError::KeyUsage));
    }
}

#[test]
fn c15_extensions_that_cannot_be_granted() {
    let house = House::new();
    let subtree = sequence(&[tlv(0xa0, &sequence(&[tlv(0x82, b"example")]))]);
    for (kind, critical, content, is_taken) in [
        (NAME_CONSTRAINTS, true, &subtree[..], false),
        (NAME_CONSTRAINTS, false, &subtree, false),
        (UNKNOWN, true, &[0x05, 0x00], false),
        (UNKNOWN, false, &[0x05, 0x00], true),
        (TLS_FEATURE, false, &[0x30, 0x03, 0x02, 0x01, 0x05], true),
    ] {
        let request = RequestBuilder::host(HOST).extension(kind, critical, content);
        let verdict = house.check(&request);
        assert_eq!(verdict.as_ref().map(drop).err(), (!is_taken).then_some(&CsrError::Extension));
        if let Ok(approved) = verdict {
            let issued = house.issue(&approved);
            let (_, certificate) = X509Certificate::from_der(&issued.chain[0]).unwrap();
            assert_eq!(certificate.extensions().len(), 6, "issued without it");
        }
    }
}

#[test]
fn c16_c17_the_signature_must_be_made_with_the_key_over_the_body() {
    let house = House::new();
    let request = RequestBuilder::host(HOST);
    let info = request.info(&house.key);
    let signature = sign(&house.key, &info);
    for place in [signature.len() - 1, signature.len() / 2] {
        let mut flipped = signature.clone();
        flipped[place] ^= 1;
        let der = request.with_signature(&info, &flipped);
        assert_eq!(house.csr.check_der(&der, &house.names).unwrap_err(), CsrError::BadSignature);
    }
    let other_body = RequestBuilder::host(HOST).common_name(HOST.as_bytes()).info(&house.key);
    let der = request.with_signature(&other_body, &signature);
    assert_eq!(house.csr.check_der(&der, &house.names).unwrap_err(), CsrError::BadSignature);
    let der = request.with_signature(&info, &sign(&house.new_key(), &info));
    assert_eq!(house.csr.check_der(&der, &house.names).unwrap_err(), CsrError::BadSignature);
    for garbage in [&[][..], &[0; 64], &[0x30, 0x00]] {
        let der = request.with_signature(&info, garbage);
        assert_eq!(house.csr.check_der(&der, &house.names).unwrap_err(), CsrError::BadSignature);
    }
}

#[test]
fn c18_no_broken_digest_and_no_algorithm_of_another_key() {
    let house = House::new();
    for algorithm in [RSA_MD4, RSA_MD5, RSA_SHA1, ECDSA_SHA1, ED25519, UNKNOWN] {
        let request = RequestBuilder::host(HOST).signed_with(algorithm);
        assert_eq!(house.refused(&request), CsrError::WeakSignature);
    }
}

#[test]
fn c19_rsa_keys_of_wrong_size_are_refused_before_verifying() {
    let house = House::new();
    let modulus = |bits: usize| {
        // An odd number of exactly so many bits.
        let mut modulus = vec![0x5b; bits.div_ceil(8)];
        let top_bits = (bits - 1) % 8 + 1;
        modulus[0] = u8::try_from(0xff_u32 >> (8 - top_bits)).unwrap();
        if modulus[0] >= 0x80 {
            modulus.insert(0, 0);
        }
        modulus
    };
    for (bits, exponent) in [
        (1_024, &[1, 0, 1][..]),
        (2_047, &[1, 0, 1]),
        (4_097, &[1, 0, 1]),
        (8_192, &[1, 0, 1]),
        (16_384, &[1, 0, 1]),
        (2_048, &[3]),
        (2_048, &[0x11]),
        (2_048, &[1, 0, 0, 0, 0, 1]),
    ] {
        let request = RequestBuilder::host(HOST).public_key(rsa_key(&modulus(bits), exponent));
        assert_eq!(house.refused(&request), CsrError::KeySize, "{bits} {exponent:?}");
    }
    for (modulus, exponent) in [(modulus(2_048), &[1, 0, 2][..]), (vec![0, 0x80], &[1, 0, 1])] {
        let request = RequestBuilder::host(HOST).public_key(rsa_key(&modulus, exponent));
        assert!(matches!(house.refused(&request), CsrError::WeakKey | CsrError::KeySize));
    }
}

#[test]
fn c21_c23_kinds_of_key() {
    let house = House::new();
    // The private key of RFC 8410 §10.3.
    let der = bytes_of(
        "302e020100300506032b657004220420d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842",
    );
    let ed25519 = PrivateKey::from_der(PrivatePkcs8KeyDer::from(der).into(), &house.provider).unwrap();
    let request = RequestBuilder::host(HOST).signed_with(ED25519).signed_by(&ed25519);
    let approved = house.csr.check_der(&request, &house.names).unwrap();
    house.verify(&house.issue(&approved), HOST).unwrap();
    let point = [&[4][..], &[7; 64]].concat();
    for curve in [P192, P224, P521, SECP256K1] {
        assert_eq!(
            house.refused(&RequestBuilder::host(HOST).public_key(ec_key(curve, &point))),
            CsrError::KeyType
        );
    }
    for kind in [DSA, DH, UNKNOWN] {
        let key = sequence(&[sequence(&[oid(kind)]), bit_string(&[2, 1, 5])]);
        assert_eq!(house.refused(&RequestBuilder::host(HOST).public_key(key)), CsrError::KeyType);
    }
    let explicit = sequence(&[sequence(&[oid(EC), sequence(&[tlv(2, &[1])])]), bit_string(&point)]);
    assert_eq!(house.refused(&RequestBuilder::host(HOST).public_key(explicit)), CsrError::KeyType);
}

#[test]
fn c22_points_off_the_curve() {
    let house = House::new();
    let spki = house.key.public_key_der();
    let on_curve = &spki[spki.len() - 65..];
    let mut off_curve = on_curve.to_vec();
    off_curve[64] ^= 1;
    let zero = [&[4][..], &[0; 64]].concat();
    let compressed = [&[2][..], &on_curve[1..33]].concat();
    for point in [&off_curve[..], &zero, &[0], &[], &compressed, &on_curve[..64]] {
        let request = RequestBuilder::host(HOST).public_key(ec_key(P256, point));
        assert_eq!(house.refused(&request), CsrError::BadKey);
    }
}

#[test]
fn c25_c26_a_key_serves_one_tunnel_and_no_key_of_ours_any() {
    let house = House::new();
    let approved = house.check(&RequestBuilder::host(HOST)).unwrap();
    let mut keys = KeyIndex::new(100);
    keys.deny(house.ca.key_fingerprint());
    assert_eq!(keys.claim(approved.key_fingerprint(), "tunnel-1"), Ok(()));
    assert_eq!(keys.claim(approved.key_fingerprint(), "tunnel-1"), Ok(()));
    let error = CsrError::from(keys.claim(approved.key_fingerprint(), "tunnel-2").unwrap_err());
    assert_eq!((error, error.kind()), (CsrError::from(KeyRefused::Reused), "csr_key_reused"));
    assert_eq!(approved.key_fingerprint(), KeyFingerprint::of(house.key.public_key_der()));
    assert_eq!(keys.claim(house.ca.key_fingerprint(), "tunnel-1"), Err(KeyRefused::Denied));
}

#[test]
fn c27_forms_of_pem_and_nothing_beside_the_request() {
    let house = House::new();
    let request = CertificateRequest::new(&[host()], &house.key).unwrap();
    let pem = request.to_pem();
    let check = |text: &str| house.csr.check_pem(text.as_bytes(), &house.names).map(drop);
    assert_eq!(check(&pem), Ok(()));
    assert_eq!(check(&pem.replace('\n', "\r\n")), Ok(()));
    assert_eq!(check(&pem.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")), Ok(()));
    assert_eq!(check(&format!("Subject: somebody\n\n{pem}")), Ok(()));
    let key = house.key.to_pem();
    let certificate = house.ca.certificate_pem();
    let cut = &pem[..pem.len() / 2];
    for text in [
        &format!("{pem}{pem}"),
        &format!("{pem}{}", *key),
        &format!("{}{pem}", *key),
        &certificate,
        &format!("{pem}{certificate}"),
        cut,
        "",
        "garbage",
        &pem.replace("CERTIFICATE REQUEST", "X509 CRL"),
        &pem.replacen('M', "*", 1),
    ] {
        let error = check(text).unwrap_err();
        assert_eq!(error, CsrError::Encoding);
        let said = format!("{error} {error:?}");
        assert!(key.lines().all(|line| !said.contains(line)), "{said}");
    }
    let trailing = [request.der(), &[0]].concat();
    assert_eq!(house.csr.check_der(&trailing, &house.names).unwrap_err(), CsrError::Encoding);
    let twice = [request.der(), request.der()].concat();
    assert_eq!(house.csr.check_der(&twice, &house.names).unwrap_err(), CsrError::Encoding);
    for length in 0..request.der().len() {
        let error = house.csr.check_der(&request.der()[..length], &house.names).unwrap_err();
        assert_eq!(error, CsrError::Encoding, "cut to {length}");
    }
}

#[test]
fn c28_c33_c34_size_and_depth_are_bounded() {
    let house = House::new();
    let error = house.csr.check_der(&vec![0x30; 65_537], &house.names).unwrap_err();
    assert!(matches!(error, CsrError::TooLarge { bytes: 65_537, .. }));
    assert!(matches!(house.csr.check_pem(&vec![b'A'; 65_537], &house.names), Err(CsrError::TooLarge { .. })));
    let deep = (0..5_000).fold(tlv(0x05, &[]), |inner, _| tlv(0x30, &inner));
    assert_eq!(house.csr.check_der(&deep, &house.names).unwrap_err(), CsrError::Encoding);
    let boastful = [0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x02, 0x01, 0x00];
    assert_eq!(house.csr.check_der(&boastful, &house.names).unwrap_err(), CsrError::Encoding);
    let thousand = (0..1_000).fold(RequestBuilder::host(HOST), |request, index| {
        request.dns(format!("n{index}.tunnel.example").as_bytes())
    });
    assert_eq!(house.refused(&thousand), CsrError::NameMismatch);
}

#[test]
fn c29_c30_c31_c32_one_version_nothing_twice_and_der_only() {
    let house = House::new();
    for version in [1, 2, 0x7f] {
        assert_eq!(
            house.refused(&RequestBuilder { version, ..RequestBuilder::host(HOST) }),
            CsrError::Encoding
        );
    }
    let text = tlv(0x0c, b"canary");
    for request in [
        RequestBuilder::host(HOST).extension(UNKNOWN, false, &[0x05, 0x00]).extension(
            UNKNOWN,
            false,
            &[0x05, 0x00],
        ),
        RequestBuilder::host(HOST).extension(
            SUBJECT_ALT_NAME,
            false,
            &sequence(&[tlv(0x82, HOST.as_bytes())]),
        ),
        RequestBuilder::host(HOST)
            .attribute(CHALLENGE_PASSWORD, std::slice::from_ref(&text))
            .attribute(CHALLENGE_PASSWORD, std::slice::from_ref(&text)),
        RequestBuilder::host(HOST).attribute(CHALLENGE_PASSWORD, &[text.clone(), text.clone()]),
        RequestBuilder::host(HOST).attribute(UNKNOWN, &[]),
    ] {
        assert_eq!(house.refused(&request), CsrError::Encoding);
    }
    let approved = house.check(&RequestBuilder::host(HOST).attribute(CHALLENGE_PASSWORD, &[text])).unwrap();
    assert_eq!(approved.names(), [host()]);
    // An explicit default, and a length in long form, inside what is signed.
    let mut explicit = RequestBuilder::host(HOST);
    explicit.extensions.push(sequence(&[oid(UNKNOWN), tlv(0x01, &[0]), tlv(0x04, &[0x05, 0x00])]));
    assert_eq!(house.refused(&explicit), CsrError::Encoding);
    let mut long_form = RequestBuilder::host(HOST);
    long_form.attributes.push(vec![0x30, 0x81, 0x09, 0x06, 0x03, 0x2a, 0x03, 0x04, 0x31, 0x02, 0x05, 0x00]);
    assert_eq!(house.refused(&long_form), CsrError::Encoding);
}

#[test]
fn c38_the_authority_bounds_the_lifetime() {
    let house = House::new();
    let approved = house.check(&RequestBuilder::host(HOST)).unwrap();
    let day = Duration::from_secs(86_400);
    let end = house.ca.not_after();
    let issued = house.ca.issue(&approved, Issuance::new(end - 10 * day, [5; 16])).unwrap();
    assert_eq!(issued.not_after, end);
    for at in [now() - 30 * day, end, end + day] {
        assert!(matches!(house.ca.issue(&approved, Issuance::new(at, [5; 16])), Err(SignError::Clock)));
    }
    let long_ago = Issuance::new(now(), [5; 16]).backdate(365 * day).lifetime(7 * day);
    let issued = house.ca.issue(&approved, long_ago).unwrap();
    assert_eq!(issued.not_before, now() - Duration::from_secs(3_600));
    assert_eq!(issued.not_after, now() + 7 * day);
}

#[test]
fn c39_serials_are_distinct_and_positive() {
    let house = House::new();
    let approved = house.check(&RequestBuilder::host(HOST)).unwrap();
    let mut serials: Vec<Vec<u8>> = (0..100_u8)
        .map(|index| {
            let mut random = [0; 16];
            random[15] = index;
            random[0] = 0x80;
            let issued = house.ca.issue(&approved, Issuance::new(now(), random)).unwrap();
            house.verify(&issued, HOST).unwrap();
            X509Certificate::from_der(&issued.chain[0]).unwrap().1.raw_serial().to_vec()
        })
        .collect();
    assert!(serials.iter().all(|serial| serial.len() == 16 && serial[0] < 0x80));
    serials.sort();
    serials.dedup();
    assert_eq!(serials.len(), 100);
}

#[test]
fn c40_peers_accept_it_for_the_host_and_for_nothing_else() {
    let house = House::new();
    let issued = house.issue(&house.check(&RequestBuilder::host(HOST)).unwrap());
    house.verify(&issued, HOST).unwrap();
    house.verify(&issued, "Demo-7.Tunnel.Example").unwrap();
    for other in ["tunnel.example", "a.demo-7.tunnel.example", "demo-8.tunnel.example", "192.0.2.1"] {
        house.verify(&issued, other).unwrap_err();
    }
    let clients = WebPkiClientVerifier::builder_with_provider(house.roots(), Arc::clone(&house.provider));
    let as_client =
        clients.build().unwrap().verify_client_cert(&issued.chain[0], &issued.chain[1..], unix_now());
    as_client.unwrap_err();
    // As an authority: even signed with its key, nothing below it is accepted.
    let roots = LocalCa::from_pem(
        pem_of("CERTIFICATE", &issued.chain[0]).as_bytes(),
        house.key.to_pem().as_bytes(),
        &house.provider,
    );
    assert!(matches!(roots, Err(CaLoadError::NotAnAuthority { .. })));
}

#[test]
fn c01_c21_c40_openssl_agrees() {
    let Some(openssl) = OpenSsl::find() else { return };
    let house = House::new();
    openssl.write("ca.pem", house.ca.certificate_pem().as_bytes());
    for (kind, new_key) in [
        ("p256", "ecparam -name prime256v1 -genkey -noout -out key.pem"),
        ("p384", "ecparam -name secp384r1 -genkey -noout -out key.pem"),
        ("rsa2048", "genrsa -out key.pem 2048"),
        ("rsa3072", "genrsa -out key.pem 3072"),
        ("ed25519", "genpkey -algorithm ed25519 -out key.pem"),
    ] {
        openssl.run(new_key);
        openssl.run(&format!(
            "req -new -key key.pem -subj /CN={HOST} -addext subjectAltName=DNS:{HOST} -out csr.pem"
        ));
        let approved = house.csr.check_pem(&openssl.read("csr.pem"), &house.names).unwrap_or_else(|error| {
            panic!("{kind}: {error}");
        });
        let issued = house.issue(&approved);
        openssl.write("leaf.pem", pem_of("CERTIFICATE", &issued.chain[0]).as_bytes());
        let verify = "verify -attime 1800000100 -CAfile ca.pem -purpose";
        openssl.run(&format!("{verify} sslserver -verify_hostname {HOST} leaf.pem"));
        for wrong in [
            format!("{verify} sslserver -verify_hostname other.tunnel.example leaf.pem"),
            format!("{verify} sslclient leaf.pem"),
            format!("{verify} sslserver -verify_hostname {HOST} -attime 1900000000 leaf.pem"),
        ] {
            assert!(!openssl.try_run(&wrong), "{kind}: openssl {wrong}");
        }
        // As an authority: what its key signs is nothing to OpenSSL.
        openssl.run("ecparam -name prime256v1 -genkey -noout -out below.key");
        openssl.run(&format!("req -new -key below.key -subj /CN={HOST} -out below.csr"));
        openssl.run("x509 -req -in below.csr -CA leaf.pem -CAkey key.pem -set_serial 7 -out below.pem");
        assert!(!openssl.try_run(&format!("{verify} sslserver -untrusted leaf.pem below.pem")), "{kind}");
    }
    for (kind, new_key) in [
        ("rsa1024", "genrsa -out key.pem 1024"),
        ("rsa2047", "genrsa -out key.pem 2047"),
        ("rsa, e = 3", "genrsa -3 -out key.pem 2048"),
        ("p521", "ecparam -name secp521r1 -genkey -noout -out key.pem"),
        ("secp256k1", "ecparam -name secp256k1 -genkey -noout -out key.pem"),
    ] {
        openssl.run(new_key);
        openssl.run(&format!("req -new -key key.pem -subj /CN={HOST} -out csr.pem"));
        let error = house.csr.check_pem(&openssl.read("csr.pem"), &house.names).unwrap_err();
        assert!(matches!(error, CsrError::KeySize | CsrError::KeyType), "{kind}: {error}");
    }
}

#[test]
fn c16_c17_openssl_judges_signatures_as_we_do() {
    let Some(openssl) = OpenSsl::find() else { return };
    let house = House::new();
    let request = RequestBuilder::host(HOST);
    let info = request.info(&house.key);
    let signature = sign(&house.key, &info);
    let mut verdicts = [0; 2];
    let mut judge = |what: &str, der: &[u8]| {
        openssl.write("csr.der", der);
        let theirs = openssl.verifies_request("DER", "csr.der");
        let ours = house.csr.check_der(der, &house.names);
        assert!(ours.is_ok() || matches!(ours, Err(CsrError::BadSignature)), "{what}: {ours:?}");
        assert_eq!(theirs, ours.is_ok(), "{what}");
        verdicts[usize::from(theirs)] += 1;
    };
    judge("as it was signed", &request.with_signature(&info, &signature));
    judge("signed anew", &request.signed_by(&house.key));
    for place in 0..signature.len() {
        let mut flipped = signature.clone();
        flipped[place] ^= 1;
        judge(&format!("octet {place} of the signature"), &request.with_signature(&info, &flipped));
    }
    let other_body = request.clone().common_name(HOST.as_bytes()).info(&house.key);
    judge("another body", &request.with_signature(&other_body, &signature));
    judge("another key's signature", &request.with_signature(&info, &sign(&house.new_key(), &info)));
    for garbage in [&[][..], &[0; 64], &[0x30, 0x00], &[&signature[..], &[0]].concat()] {
        judge("garbage for a signature", &request.with_signature(&info, garbage));
    }
    assert!(verdicts[0] > 70 && verdicts[1] >= 2, "{verdicts:?}");
}

#[test]
fn c16_c27_our_requests_satisfy_openssl() {
    let Some(openssl) = OpenSsl::find() else { return };
    let house = House::new();
    let request = CertificateRequest::new(&[host()], &house.key).unwrap();
    openssl.write("csr.pem", request.to_pem().as_bytes());
    assert!(openssl.verifies_request("PEM", "csr.pem"));
    openssl.write("key.pem", house.key.to_pem().as_bytes());
    openssl.run("pkey -in key.pem -check -noout");
}

#[test]
fn public_requests_are_judged_as_listed() {
    let Some(folder) = std::env::var_os("ADIT_DATA") else {
        println!("skipped: ADIT_DATA is not set");
        return;
    };
    let folder = PathBuf::from(folder).join("csr");
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
    let house = House::new();
    for case in expected["cases"].as_array().unwrap() {
        let file = case["file"].as_str().unwrap();
        let bytes = std::fs::read(folder.join(file)).unwrap();
        let verdict = if bytes.starts_with(&[0x30]) {
            house.csr.check_der(&bytes, &house.names)
        } else {
            house.csr.check_pem(&bytes, &house.names)
        };
        let error = verdict.expect_err(file);
        assert_eq!(case["expect"], "refuse", "{file}");
        let kinds = case["reason_any_of"].as_array().unwrap();
        let is_listed = kinds.iter().any(|kind| kind == error.kind());
        let is_explained = ANOTHER_REASON.contains(&(file, error.kind()));
        assert!(is_listed || is_explained, "{file}: {} is none of {kinds:?}", error.kind());
    }
}

#[test]
fn an_authority_comes_back_from_pem_and_signs_the_same_chain() {
    let house = House::new();
    let (certificate, key) = (house.ca.certificate_pem(), house.ca.private_key_pem());
    let again = LocalCa::from_pem(certificate.as_bytes(), key.as_bytes(), &house.provider).unwrap();
    let approved = house.check(&RequestBuilder::host(HOST)).unwrap();
    let issued = again.issue(&approved, Issuance::new(now(), [8; 16])).unwrap();
    house.verify(&issued, HOST).unwrap();
    let other = house.new_key().to_pem();
    let load = |certificate: &str, key: &str| {
        LocalCa::from_pem(certificate.as_bytes(), key.as_bytes(), &house.provider).unwrap_err()
    };
    assert!(matches!(load(&certificate, &other), CaLoadError::KeyMismatch { .. }));
    assert!(matches!(load("", &key), CaLoadError::Certificate { .. }));
    assert!(matches!(load(&certificate, ""), CaLoadError::Key { .. }));
    let shown = format!("{:?} {:?}", again, house.key);
    assert!(key.lines().all(|line| !shown.contains(line)));
}

#[test]
fn authorities_made_by_openssl_serve_as_well() {
    let Some(openssl) = OpenSsl::find() else { return };
    let house = House::new();
    for subject in ["/C=DE/O=Example GmbH/CN=Example CA", "/CN=Only a name"] {
        openssl.run("ecparam -name prime256v1 -genkey -noout -out key.pem");
        openssl.run_with(&[
            "req", "-x509", "-new", "-key", "key.pem", "-days", "3650", "-subj", subject, "-out", "ca.pem",
        ]);
        let ca =
            LocalCa::from_pem(&openssl.read("ca.pem"), &openssl.read("key.pem"), &house.provider).unwrap();
        let approved = house.check(&RequestBuilder::host(HOST)).unwrap();
        let issued = ca.issue(&approved, Issuance::new(SystemTime::now(), [8; 16])).unwrap();
        openssl.write("leaf.pem", pem_of("CERTIFICATE", &issued.chain[0]).as_bytes());
        openssl.run(&format!("verify -CAfile ca.pem -purpose sslserver -verify_hostname {HOST} leaf.pem"));
    }
}

#[test]
fn signers_can_be_kept_behind_the_trait() {
    let house = House::new();
    let approved = house.check(&RequestBuilder::host(HOST)).unwrap();
    let signer: &dyn Signer = &house.ca;
    let mut future = pin!(signer.sign(&approved, Issuance::new(now(), [4; 16])));
    let Poll::Ready(issued) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("a local authority has nothing to wait for");
    };
    house.verify(&issued.unwrap(), HOST).unwrap();
}

#[test]
fn names_are_authorised_once_and_with_bounds() {
    let name = |text: &str| text.parse::<ServerName>().unwrap();
    assert_eq!(AuthorisedNames::new([]).unwrap_err(), AuthorisedNamesError::Empty);
    assert_eq!(AuthorisedNames::new([name("a_b.example")]).unwrap_err(), AuthorisedNamesError::Underscore);
    let many = (0..101).map(|index| name(&format!("n{index}.example")));
    assert_eq!(AuthorisedNames::new(many).unwrap_err(), AuthorisedNamesError::TooMany);
    let twice = AuthorisedNames::new([name("a.example"), name("A.example")]).unwrap();
    assert_eq!(twice.iter().count(), 1);
    let house = House::new();
    assert_eq!(CertificateRequest::new(&[], &house.key).unwrap_err(), RequestError::NoName);
}

#[test]
fn the_store_keeps_pairs_privately() {
    let house = House::new();
    let folder = scratch("store");
    let store = CertificateStore::open(folder.join("inner")).unwrap();
    assert!(store.load("tunnel-1", &house.provider).unwrap().is_none());
    let issued = house.issue(&house.check(&RequestBuilder::host(HOST)).unwrap());
    for _ in 0..2 {
        store.save("tunnel-1", &house.key, &issued.chain).unwrap();
    }
    let stored = store.load("tunnel-1", &house.provider).unwrap().unwrap();
    assert_eq!(stored.chain, issued.chain);
    assert_eq!(stored.key.public_key_der(), house.key.public_key_der());
    for id in ["", ".", "..", "../x", "a/b", "a\\b", "a b", "a\0", &"x".repeat(201)] {
        assert!(
            matches!(store.save(id, &house.key, &issued.chain), Err(StoreError::TunnelId { .. })),
            "{id:?}"
        );
    }
    check_modes(&store, &house);
    store.remove("tunnel-1").unwrap();
    store.remove("tunnel-1").unwrap();
    assert!(store.load("tunnel-1", &house.provider).unwrap().is_none());
    std::fs::write(store.folder().join("broken.pem"), "garbage").unwrap();
    assert!(store.load("broken", &house.provider).is_err());
    std::fs::remove_dir_all(folder).unwrap();
}

#[cfg(unix)]
fn check_modes(store: &CertificateStore, house: &House) {
    use std::os::unix::fs::PermissionsExt;

    let file = store.folder().join("tunnel-1.pem");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(store.folder()), mode(&file)), (0o700, 0o600));
    assert_eq!(std::fs::read_dir(store.folder()).unwrap().count(), 1, "no leftover");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(store.load("tunnel-1", &house.provider), Err(StoreError::OpenToOthers { .. })));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    for (folder_mode, is_used) in
        [(0o720, false), (0o702, false), (0o777, false), (0o755, true), (0o700, true)]
    {
        std::fs::set_permissions(store.folder(), std::fs::Permissions::from_mode(folder_mode)).unwrap();
        let loaded = store.load("tunnel-1", &house.provider);
        assert_eq!(loaded.is_ok(), is_used, "{folder_mode:o}");
        assert!(is_used || matches!(loaded, Err(StoreError::FolderOpenToOthers { .. })));
        assert_eq!(store.save("tunnel-2", &house.key, &[]).is_ok(), is_used, "{folder_mode:o}");
    }
}

#[cfg(not(unix))]
fn check_modes(_: &CertificateStore, _: &House) {}

#[test]
fn a_live_certificate_is_replaced_in_one_step() {
    let house = House::new();
    let issue = |random: u8| {
        let approved = house.check(&RequestBuilder::host(HOST)).unwrap();
        let issued = house.ca.issue(&approved, Issuance::new(now(), [random; 16])).unwrap();
        ServerCertificate::new(issued.chain, house.key.to_der(), &house.provider, now()).unwrap()
    };
    let live = LiveCertificate::new(issue(1));
    let before = live.current();
    live.replace(issue(2));
    assert_ne!(before.chain(), live.current().chain());
    let config = live.server_config(Arc::clone(&house.provider), &[b"h2"]).unwrap();
    assert_eq!(config.alpn_protocols, [b"h2".to_vec()]);
    assert_eq!(config.max_early_data_size, 0);
}

#[cfg(feature = "aws-lc-rs")]
#[test]
fn both_crypto_libraries_live_in_one_process() {
    use adit_tls_modes::rustls::crypto::aws_lc_rs;

    let aws = Arc::new(aws_lc_rs::default_provider());
    let house = House::new();
    let key = PrivateKey::generate(KeyGenerator::AWS_LC_RS, &aws).unwrap();
    let request = CertificateRequest::new(&[host()], &key).unwrap();
    for provider in [Arc::clone(&aws), Arc::clone(&house.provider)] {
        let ca =
            LocalCa::generate(KeyGenerator::AWS_LC_RS, &provider, NewCa::new("CA", now(), [1; 16])).unwrap();
        let approved = CsrCheck::new(Arc::clone(&provider)).check_der(request.der(), &house.names).unwrap();
        let issued = ca.issue(&approved, Issuance::new(now(), [2; 16])).unwrap();
        ServerCertificate::new(issued.chain, key.to_der(), &provider, now()).unwrap();
    }
    // A key of one is a key of the other.
    PrivateKey::from_pem(key.to_pem().as_bytes(), &house.provider).unwrap();
    PrivateKey::from_pem(house.key.to_pem().as_bytes(), &aws).unwrap();
}

/// Public requests with more than one fault, where ours is another than the listed one.
const ANOTHER_REASON: &[(&str, &str)] = &[
    // Neither a common name nor any other.
    ("public/challenge.pem", "csr_no_name"),
    // 1024 bits, refused before verifying (C-19).
    ("public/invalid_signature.pem", "csr_key_size"),
    // SHA-1 (C-18), which is not verified with at all.
    ("public/unsupported_extension.pem", "csr_weak_signature"),
    // clientAuth (C-14), beside another's name.
    ("public/x509-parser-csr-challenge-password.pem", "csr_key_usage"),
    ("public/rustcrypto-rsa2048-csr.der", "csr_key_usage"),
];

struct House {
    provider: Arc<CryptoProvider>,
    ca: LocalCa,
    csr: CsrCheck,
    names: AuthorisedNames,
    key: PrivateKey,
}

impl House {
    fn new() -> Self {
        let provider = Arc::new(ring::default_provider());
        let new = NewCa::new("Test CA", now() - Duration::from_secs(86_400), [1; 16]);
        let ca = LocalCa::generate(KeyGenerator::RING, &provider, new).unwrap();
        let key = PrivateKey::generate(KeyGenerator::RING, &provider).unwrap();
        let names = AuthorisedNames::new([host()]).unwrap();
        Self { csr: CsrCheck::new(Arc::clone(&provider)), provider, ca, names, key }
    }

    fn new_key(&self) -> PrivateKey {
        PrivateKey::generate(KeyGenerator::RING, &self.provider).unwrap()
    }

    fn check(&self, request: &RequestBuilder) -> Result<ApprovedRequest, CsrError> {
        self.csr.check_der(&request.signed_by(&self.key), &self.names)
    }

    fn refused(&self, request: &RequestBuilder) -> CsrError {
        self.check(request).unwrap_err()
    }

    fn issue(&self, approved: &ApprovedRequest) -> IssuedCertificate {
        self.ca.issue(approved, Issuance::new(now(), [9; 16])).unwrap()
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.certificate().clone()).unwrap();
        Arc::new(roots)
    }

    fn verify(&self, issued: &IssuedCertificate, name: &str) -> Result<(), rustls::Error> {
        let verifier = WebPkiServerVerifier::builder_with_provider(self.roots(), Arc::clone(&self.provider));
        let name = PeerName::try_from(name).unwrap();
        let verifier = verifier.build().unwrap();
        verifier.verify_server_cert(&issued.chain[0], &issued.chain[1..], &name, &[], unix_now()).map(drop)
    }
}

fn key_id_of(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(certificate).unwrap();
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    })
}

fn pem_of(label: &str, der: &[u8]) -> String {
    let body = data_encoding::BASE64.encode(der);
    let pem = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
    assert_eq!(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().as_ref(), der);
    pem
}

fn bytes_of(hex: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap()
}

fn host() -> ServerName {
    HOST.parse().unwrap()
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn unix_now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000))
}
