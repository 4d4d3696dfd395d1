//! JA4 fingerprints, against values that others published for hellos that anybody can write down, and against what
//! other programs say of recordings. Those are not part of this repository: `ADIT_DATA` names the folder that has them.
#![cfg(feature = "ja4")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::PathBuf;

use adit_tls_modes::{ClientHello, Ja4Transport, SniffLimits};
use serde_json::Value;
use support::{HelloBuilder, alpn, feed, server_name, vector16};

mod support;

/// The example in FoxIO's definition, field by field.
#[test]
fn the_example_of_the_definition() {
    let extensions = [
        0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012, 0x002b,
        0xff01, 0x000b, 0x000a, 0x0015,
    ];
    assert_eq!(ja4(&chrome(&extensions)), "t13d1516h2_8daaf6152771_e5627efa2ab1");
}

/// What Chrome 143 sends, with an extension for ECH, as a public fingerprinting service listed and hashed it.
#[test]
fn a_browser_with_ech() {
    let extensions = [
        0x002d, 0x0033, 0x0010, 0xfe0d, 0x0017, 0x44cd, 0x0000, 0x000b, 0x000a, 0x002b, 0xff01, 0x0023,
        0x0012, 0x0005, 0x000d, 0x001b,
    ];
    assert_eq!(ja4(&chrome(&extensions)), "t13d1516h2_8daaf6152771_d8a2da3f94cd");
}

#[test]
fn grease_counts_nowhere() {
    let extensions = [0x001b, 0x0000, 0x0033, 0x0010, 0x000d, 0x002b];
    let plain = chrome(&extensions);
    let greased = HelloBuilder {
        cipher_suites: [&[0x2a, 0x2a][..], &plain.cipher_suites, &[0xfa, 0xfa]].concat(),
        ..plain.clone()
    };
    let greased = greased
        .without(16)
        .without(13)
        .without(43)
        .extension(0x0a0a, vec![])
        .extension(16, alpn(&[b"\x8a\x8a", b"h2", b"http/1.1"]))
        .extension(13, algorithms(&[&[0x5a5a], &ALGORITHMS[..], &[0xdada]].concat()))
        .extension(43, vec![6, 0xfa, 0xfa, 3, 4, 3, 3])
        .extension(0xeaea, vec![0]);
    assert_eq!(ja4(&greased), ja4(&plain));
}

#[test]
fn the_order_of_extensions_is_of_no_account_and_that_of_algorithms_is() {
    let forwards = chrome(&[0x0000, 0x001b, 0x0010, 0x000d, 0x002b]);
    let backwards = chrome(&[0x002b, 0x000d, 0x0010, 0x001b, 0x0000]);
    assert_eq!(ja4(&forwards), ja4(&backwards));
    let mut turned = ALGORITHMS;
    turned.reverse();
    let turned = forwards.clone().without(13).extension(13, algorithms(&turned));
    assert_ne!(ja4(&turned), ja4(&forwards));
    assert_eq!(ja4(&turned)[..24], ja4(&forwards)[..24]);
}

/// The table of the definition, and protocols of one character.
#[test]
fn protocols_that_are_no_text_are_told_of_in_hex() {
    for (protocol, ends) in [
        (&b"h2"[..], "h2"),
        (b"http/1.1", "h1"),
        (b"h", "hh"),
        (b"\xab", "ab"),
        (b"\xab\xcd", "ad"),
        (b"\x30\xab", "3b"),
        (b"\x30\x31\xab\xcd", "3d"),
        (b"\x30\xab\xcd\x31", "01"),
    ] {
        let hello = HelloBuilder::host("a.example").alpn(&[protocol, b"h2"]);
        assert_eq!(ja4(&hello)[8..10], *ends, "{protocol:?}");
    }
    assert_eq!(ja4(&HelloBuilder::host("a.example"))[8..10], *"00");
}

#[test]
fn names_count_by_their_extension_and_versions_by_the_highest() {
    assert!(ja4(&HelloBuilder::new()).starts_with("t13i"));
    assert!(ja4(&HelloBuilder::host("a.example")).starts_with("t13d"));
    assert!(ja4(&HelloBuilder::host("192.0.2.1")).starts_with("t13d"), "the extension is there");
    let offering = |versions: Vec<u8>| HelloBuilder::new().without(43).extension(43, versions);
    assert!(ja4(&offering(vec![4, 3, 3, 3, 4])).starts_with("t13"));
    assert!(ja4(&offering(vec![2, 3, 2])).starts_with("t11"));
    assert!(ja4(&offering(vec![4, 0xfb, 0x1a, 3, 4])).starts_with("t00"), "a number of Facebook's own");
    for (version, digits) in
        [(0x0303, "t12"), (0x0302, "t11"), (0x0301, "t10"), (0x0300, "ts3"), (0x0002, "ts2")]
    {
        let hello = HelloBuilder { legacy_version: version, ..HelloBuilder::new().without(43) };
        assert!(ja4(&hello).starts_with(digits), "{version:x}");
    }
}

#[test]
fn what_is_absent_is_zeros_and_what_is_many_is_99() {
    let bare = HelloBuilder { extensions: None, ..HelloBuilder::new() };
    assert!(ja4(&bare).starts_with("t12i020000_"));
    assert!(ja4(&bare).ends_with("_000000000000"));
    let only_name =
        HelloBuilder { extensions: Some(vec![(0, server_name(b"a.example"))]), ..HelloBuilder::new() };
    assert!(ja4(&only_name).ends_with("_000000000000"), "the name is counted and not hashed");
    let greased = HelloBuilder { cipher_suites: vec![0x0a, 0x0a], ..HelloBuilder::new() };
    assert_eq!(ja4(&greased)[4..6], *"00");
    assert_eq!(ja4(&greased)[11..23], *"000000000000");
    let many = HelloBuilder {
        cipher_suites: (0..200_u16).flat_map(u16::to_be_bytes).collect(),
        extensions: Some((100..300).map(|kind| (kind, vec![])).collect()),
        ..HelloBuilder::new()
    };
    assert!(ja4(&many).starts_with("t12i999900_"));
}

#[test]
fn quic_differs_in_its_first_letter_alone() {
    let hello = ClientHello::from_body(&HelloBuilder::host("a.example").body()).unwrap();
    let (tcp, quic) = (hello.ja4(Ja4Transport::Tcp), hello.ja4(Ja4Transport::Quic));
    assert_eq!((&tcp.as_str()[..1], &quic.as_str()[..1]), ("t", "q"));
    assert_eq!(tcp.as_str()[1..], quic.as_str()[1..]);
    assert_eq!(quic.as_str().len(), 36);
    assert_eq!((quic.to_string(), format!("{quic:?}")), (quic.as_str().to_owned(), quic.as_str().to_owned()));
}

/// What Suricata's and nDPI's own tests expect of the same recordings. Where nDPI departs from the definition (`d`
/// without a server name, `ht` for `http/1.1`) only the parts behind are compared.
#[test]
fn recordings_have_the_fingerprints_that_other_programs_give_them() {
    for (id, expected) in [
        ("TF-107", "t12i1810s1_27d4652c4487_06a4338d0495"),
        ("TF-051", "t13d1516h2_8daaf6152771_02713d6af862"),
        ("TF-032", "t10d0909h2_61c4dbd01224_cc731f12afbb"),
        ("TF-081", "_f71e3e15ae0d_5c3a8cf9b2bc"),
        ("TF-031", "_55b375c5d22e_566d5108064c"),
    ] {
        let Some(row) = row("tls/flights.jsonl", id) else { return };
        let stream = [&row["stream_hex"], &row["following_hex"]].map(bytes_of).concat();
        let hello = feed(SniffLimits::new(), [&stream[..]]).unwrap().unwrap();
        let fingerprint = hello.ja4(Ja4Transport::Tcp).to_string();
        assert!(fingerprint.ends_with(expected), "{id}: {fingerprint}");
    }
}

/// As above; the first four rows are from one recording, of which Suricata says the same each time.
#[test]
#[cfg(feature = "quic")]
#[expect(clippy::disallowed_methods, reason = "any moment will do, and all datagrams come in it")]
fn recordings_of_quic_have_the_fingerprints_that_other_programs_give_them() {
    use adit_tls_modes::{InitialLimits, InitialSniff, InitialSniffer, QuicCrypto};
    for (id, expected) in [
        ("QF-030", "q13d0310h3_55b375c5d22e_cd85d2d88918"),
        ("QF-031", "q13d0310h3_55b375c5d22e_cd85d2d88918"),
        ("QF-032", "q13d0310h3_55b375c5d22e_cd85d2d88918"),
        ("QF-033", "q13d0310h3_55b375c5d22e_cd85d2d88918"),
        ("QF-045", "q13d0310h3_55b375c5d22e_0a3b52e28cea"),
    ] {
        let Some(row) = row("quic/initials.jsonl", id) else { return };
        let crypto = QuicCrypto::new(&rustls::crypto::ring::default_provider()).unwrap();
        let mut sniffer = InitialSniffer::new(crypto, InitialLimits::new());
        let now = std::time::Instant::now();
        for datagram in row["datagrams_hex"].as_array().unwrap() {
            let _ = sniffer.receive(now, &bytes_of(datagram));
        }
        let InitialSniff::Hello(hello) = sniffer.verdict() else { panic!("{id}: no hello") };
        assert_eq!(hello.client_hello().ja4(Ja4Transport::Quic).as_str(), expected, "{id}");
    }
}

/// A hello with the suites and algorithms of Chrome and these extensions.
fn chrome(extensions: &[u16]) -> HelloBuilder {
    let suites = [
        0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c,
        0x009d, 0x002f, 0x0035_u16,
    ];
    let content = |kind: u16| match kind {
        0 => server_name(b"a.example"),
        13 => algorithms(&ALGORITHMS),
        16 => alpn(&[b"h2", b"http/1.1"]),
        43 => vec![4, 3, 4, 3, 3],
        51 => support::key_share(&[(0x11ec, 1_216), (0x1d, 32)]),
        0xfe0d => [&[0, 0, 1, 0, 1, 7, 0, 0][..], &vector16(&[9; 32])].concat(),
        _ => vec![],
    };
    HelloBuilder {
        cipher_suites: suites.iter().flat_map(|suite| suite.to_be_bytes()).collect(),
        extensions: Some(extensions.iter().map(|kind| (*kind, content(*kind))).collect()),
        ..HelloBuilder::new()
    }
}

const ALGORITHMS: [u16; 8] = [0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601];

fn algorithms(list: &[u16]) -> Vec<u8> {
    vector16(&list.iter().flat_map(|code| code.to_be_bytes()).collect::<Vec<_>>())
}

fn ja4(hello: &HelloBuilder) -> String {
    ClientHello::from_body(&hello.body()).unwrap().ja4(Ja4Transport::Tcp).to_string()
}

fn row(file: &str, id: &str) -> Option<Value> {
    let Some(folder) = std::env::var_os("ADIT_DATA") else {
        println!("skipped: ADIT_DATA is not set");
        return None;
    };
    let text = std::fs::read_to_string(PathBuf::from(folder).join(file)).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let row = rows.into_iter().find(|row| row["id"] == id);
    Some(row.unwrap_or_else(|| panic!("{file} has no {id}")))
}

fn bytes_of(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap_or_default();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}
