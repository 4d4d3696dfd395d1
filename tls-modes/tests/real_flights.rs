//! The sniffer against real first flights and other people's fuzzing corpora, and against rustls.
//!
//! The recordings are not part of this repository: `ADIT_DATA` names the folder that has them.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::PathBuf;

use adit_tls_modes::{ClientHello, HelloError, SniffLimits};
use rustls::server::Acceptor;
use serde_json::Value;

use support::{HelloBuilder, Verdict, feed, key_share, records, server_name, sniff_every_way};

mod support;

#[test]
fn t02_t10_t12_real_flights_lead_where_they_should() {
    let mut rows = 0;
    for (row, stream) in rows_of("flights.jsonl").chain(rows_of("rerecorded.jsonl")) {
        check_row(&row, &stream);
        rows += 1;
    }
    println!("{rows} rows agree");
}

#[test]
fn real_flights_agree_with_rustls() {
    let mut both = 0;
    for (row, stream) in rows_of("flights.jsonl").chain(rows_of("rerecorded.jsonl")) {
        both += usize::from(agrees_with_rustls(&stream, &row["id"].to_string()));
    }
    println!("{both} hellos accepted by both");
}

#[test]
fn foreign_fuzz_seeds_are_answered_alike_for_every_cut() {
    let mut both = 0;
    for (row, stream) in rows_of("fuzz_seeds.jsonl") {
        sniff_every_way(&stream);
        both += usize::from(agrees_with_rustls(&stream, &row["source"].to_string()));
    }
    println!("{both} hellos accepted by both");
}

#[test]
fn our_own_hellos_agree_with_rustls() {
    let browser = HelloBuilder::host("App.tunnel.example").alpn(&[b"h2", b"http/1.1"]);
    let huge = HelloBuilder::new()
        .without(51)
        .extension(51, key_share(&[(0x11ec, 1_216), (0x6399, 30_000)]))
        .extension(0, server_name(b"a.example"));
    for hello in [browser.clone(), browser.clone().without(0), huge, HelloBuilder::host("192.0.2.1")] {
        assert!(agrees_with_rustls(&hello.stream(), "ours"));
        assert!(agrees_with_rustls(&records(&hello.message(), 100), "ours, in small records"));
    }
    let body = browser.stream();
    for place in 0..body.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut changed = body.clone();
            changed[place] = value;
            agrees_with_rustls(&changed, &format!("byte {place} set to {value}"));
        }
    }
}

/// Whatever both accept, both read alike: the name and the protocols. What rustls accepts and we refuse is a choice of
/// ours, named here.
fn agrees_with_rustls(stream: &[u8], what: &str) -> bool {
    let Some(Ok(ours)) = feed(SniffLimits::new(), [stream]) else {
        check_refusal(stream, what);
        return false;
    };
    let Some(theirs) = rustls_hello(stream) else {
        return false;
    };
    assert_eq!(ours.server_name().map(|name| name.as_str().to_owned()), theirs.name, "{what}");
    let protocols: Vec<Vec<u8>> = ours.alpn().iter().map(<[u8]>::to_vec).collect();
    assert_eq!(protocols, theirs.alpn, "{what}");
    true
}

fn check_refusal(stream: &[u8], what: &str) {
    let Some(theirs) = rustls_hello(stream) else {
        return;
    };
    let verdict = feed(SniffLimits::new(), [stream]);
    let is_known_choice = match &verdict {
        // T-26: rustls hands a trailing dot to its resolver. T-25: it takes any last label.
        Some(Err(HelloError::InvalidName { .. })) => theirs.name.is_some(),
        // T-23, T-50: rustls does not look into what it does not use, or not before it picks a version.
        Some(Err(HelloError::Malformed { .. } | HelloError::TooLarge { .. })) => true,
        _ => false,
    };
    assert!(is_known_choice, "{what}: rustls accepts, we say {verdict:?}");
}

struct RustlsHello {
    name: Option<String>,
    alpn: Vec<Vec<u8>>,
}

fn rustls_hello(stream: &[u8]) -> Option<RustlsHello> {
    let mut acceptor = Acceptor::default();
    let mut rest = stream;
    loop {
        if let Some(accepted) = acceptor.accept().ok()? {
            let hello = accepted.client_hello();
            let alpn = hello.alpn().map(|protocols| protocols.map(<[u8]>::to_vec).collect());
            return Some(RustlsHello {
                name: hello.server_name().map(str::to_ascii_lowercase),
                alpn: alpn.unwrap_or_default(),
            });
        }
        if rest.is_empty() || acceptor.read_tls(&mut rest).is_err() {
            return None;
        }
    }
}

fn check_row(row: &Value, stream: &[u8]) {
    let id = &row["id"];
    let expect = &row["expect"];
    let verdict = sniff_every_way(stream);
    if let Some(segments) = row["tcp_segments"].as_array() {
        assert_eq!(feed(SniffLimits::new(), in_order(segments, stream)), verdict, "{id}: as captured");
    }
    match expect["verdict"].as_str().unwrap() {
        "sni" => check_facts(id, expect, &accepted(id, verdict)),
        "no_sni" => {
            let hello = accepted(id, verdict);
            assert!(hello.server_name().is_none() && !hello.has_ip_literal(), "{id}");
            check_facts(id, expect, &hello);
        }
        "ip_literal_sni" => {
            let hello = accepted(id, verdict);
            assert!(hello.server_name().is_none() && hello.has_ip_literal(), "{id}");
        }
        "need_more" => assert_eq!(verdict, None, "{id}"),
        refused => {
            let error = verdict.unwrap_or_else(|| panic!("{id}: needs more")).expect_err("accepted");
            assert_eq!(format!("reject_{}", error.kind()), refused, "{id}");
        }
    }
    if let Some(ends_at) = expect["hello_ends_at"].as_u64() {
        let ends_at = usize::try_from(ends_at).unwrap();
        let before = feed(SniffLimits::new(), [&stream[..ends_at - 1]]);
        assert!(!matches!(before, Some(Ok(_))), "{id}: accepted before its end");
    }
}

fn check_facts(id: &Value, expect: &Value, hello: &ClientHello) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    assert_eq!(hello.server_name().map(|name| name.as_str().to_owned()), text(&expect["sni"]), "{id}");
    assert_eq!(hello.server_name().map(|name| hex_of(name.raw())), text(&expect["sni_raw_hex"]), "{id}");
    let alpn: Vec<Value> = hello.alpn().iter().map(|protocol| hex_of(protocol).into()).collect();
    assert_eq!(alpn, list(&expect["alpn_hex"]), "{id}");
    let versions: Vec<Value> =
        hello.versions().iter().map(|version| format!("{:04x}", version.code()).into()).collect();
    assert_eq!(versions, list(&expect["supported_versions"]), "{id}");
    let shares: Vec<Value> = hello
        .key_shares()
        .iter()
        .map(|share| serde_json::json!([format!("{:04x}", share.group()), share.bytes()]))
        .collect();
    assert_eq!(shares, list(&expect["key_shares"]), "{id}");
    let types: Vec<Value> = hello.extension_types().iter().map(|kind| (*kind).into()).collect();
    assert_eq!(types, list(&expect["extension_types"]), "{id}");
    assert_eq!(hello.sends_grease(), expect["grease"] == true, "{id}");
    assert_eq!(hello.ech().is_some(), expect["ech"].is_string(), "{id}");
    assert_eq!(hello.has_draft_esni(), expect["esni_draft"] == true, "{id}");
}

fn accepted(id: &Value, verdict: Verdict) -> ClientHello {
    verdict.unwrap_or_else(|| panic!("{id}: needs more")).unwrap_or_else(|error| panic!("{id}: {error}"))
}

/// The segments as TCP would hand them on: disorder waits, what comes twice is dropped.
fn in_order<'a>(segments: &[Value], stream: &'a [u8]) -> Vec<&'a [u8]> {
    let mut arrived = vec![false; stream.len()];
    let mut handed_on = 0;
    let mut pieces = Vec::new();
    for segment in segments {
        let number = |index: usize| usize::try_from(segment[index].as_u64().unwrap()).unwrap();
        let start = number(0).min(stream.len());
        let end = (number(0) + number(1)).min(stream.len());
        arrived[start..end].fill(true);
        let next = arrived.iter().position(|arrived| !arrived).unwrap_or(stream.len());
        if next > handed_on {
            pieces.push(&stream[handed_on..next]);
            handed_on = next;
        }
    }
    pieces.push(&stream[handed_on..]);
    pieces
}

fn rows_of(file: &str) -> Box<dyn Iterator<Item = (Value, Vec<u8>)>> {
    let Some(folder) = std::env::var_os("ADIT_DATA") else {
        println!("skipped: ADIT_DATA is not set");
        return Box::new(std::iter::empty());
    };
    let text = std::fs::read_to_string(PathBuf::from(folder).join("tls").join(file)).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    Box::new(rows.into_iter().map(|row| {
        let hex = |key: &str| bytes_of(row[key].as_str().unwrap_or_default());
        let stream = [hex("stream_hex"), hex("following_hex"), hex("hex")].concat();
        (row, stream)
    }))
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
