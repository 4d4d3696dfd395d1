//! First flights of real clients: each row in every order of its datagrams, against what the row says.

use std::fs;
use std::path::Path;

use adit_tls_modes::{HelloError, InitialRefusal, InitialSniff};
use serde_json::Value;

use crate::initial::{now, sniffer, unhex};

#[test]
fn q03_real_first_flights_are_read_as_listed() {
    let Some(data) = std::env::var_os("ADIT_DATA") else {
        println!("skipped: ADIT_DATA is not set");
        return;
    };
    let rows = fs::read_to_string(Path::new(&data).join("quic/initials.jsonl")).unwrap();
    let mut wrong = Vec::new();
    let mut count = 0;
    for row in rows.lines().map(|row| serde_json::from_str::<Value>(row).unwrap()) {
        count += 1;
        if let Err(what) = check(&row) {
            wrong.push(format!("{}: {what}", row["id"]));
        }
    }
    println!("{} of {count} rows are read as listed", count - wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn check(row: &Value) -> Result<(), String> {
    let datagrams: Vec<_> =
        row["datagrams_hex"].as_array().unwrap().iter().map(|hex| unhex(hex.as_str().unwrap())).collect();
    let expect = &row["expect"];
    let (verdict, after) = run(datagrams.iter());
    compare(expect, &verdict)?;
    if let Some(complete_after) = expect["complete_after_datagram"].as_u64()
        && after != usize::try_from(complete_after).unwrap()
    {
        return Err(format!("complete after {after}"));
    }
    // In another order the same is known in the end, as long as all of them open with keys of the same id.
    let ids: Vec<_> =
        row["packets"].as_array().unwrap().iter().filter_map(|packet| packet["dcid"].as_str()).collect();
    if ids.windows(2).all(|pair| pair[0] == pair[1]) {
        let (reversed, _) = run(datagrams.iter().rev());
        compare(expect, &reversed).map_err(|what| format!("reversed: {what}"))?;
    }
    Ok(())
}

#[derive(Debug)]
struct Verdict {
    kind: &'static str,
    name: Option<String>,
    alpn: Vec<String>,
}

/// The last verdict, and the datagram after which the hello was known.
fn run<'a>(datagrams: impl Iterator<Item = &'a Vec<u8>>) -> (Verdict, usize) {
    let mut sniffer = sniffer();
    let mut last = Verdict { kind: "need_more", name: None, alpn: vec![] };
    for (index, datagram) in datagrams.enumerate() {
        last.kind = match sniffer.receive(now(), datagram) {
            InitialSniff::NeedMore => "need_more",
            InitialSniff::Dropped(_) => "drop",
            InitialSniff::VersionNegotiation(_) => "unsupported_version",
            InitialSniff::Refused(InitialRefusal::Hello(HelloError::InvalidName { .. })) => {
                return (Verdict { kind: "invalid_name", ..last }, index);
            }
            InitialSniff::Hello(hello) => {
                let hello = hello.client_hello();
                let name = hello.server_name().map(|name| name.as_str().to_owned());
                let alpn =
                    hello.alpn().iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
                let kind = if name.is_some() { "sni" } else { "no_sni" };
                return (Verdict { kind, name, alpn }, index);
            }
            _ => "refused",
        };
    }
    (last, usize::MAX)
}

fn compare(expect: &Value, verdict: &Verdict) -> Result<(), String> {
    let alpn: Vec<_> = expect["alpn"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    let is_same = match verdict.kind {
        kind if expect["verdict"] != kind => false,
        "sni" => verdict.name.as_deref() == expect["sni"].as_str() && verdict.alpn == alpn,
        "no_sni" => verdict.alpn == alpn,
        _ => true,
    };
    if is_same { Ok(()) } else { Err(format!("{verdict:?}, but expected {expect}")) }
}
