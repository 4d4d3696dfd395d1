//! `wire-proto/vectors/quic.json`, against what reads and writes these octets here.

use super::incoming::{HeadError, head};
use super::numbers::{flow, flow_number, number};
use super::session::framed;
use crate::carrier::control::Control;
use crate::{Config, Violation};
use adit_wire_proto::CloseCode;
use bytes::{Buf, Bytes, BytesMut};
use quinn::{Dir, Side, StreamId};
use serde_json::Value;
use std::time::Instant;

#[test]
fn the_vectors_of_quic_hold() {
    let vectors = crate::carrier::vectors::vectors("quic.json");
    for vector in &vectors {
        match vector["kind"].as_str().unwrap() {
            "stream" => stream(vector),
            "datagram" => datagram(vector),
            "control" => control(vector),
            kind => panic!("{kind}"),
        }
    }
    assert!(vectors.len() > 15, "{}", vectors.len());
}

fn octets(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap().to_ascii_lowercase();
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn id(vector: &Value) -> StreamId {
    let side = if vector["opener"] == "client" { Side::Client } else { Side::Server };
    StreamId::new(side, Dir::Bi, vector["index"].as_u64().unwrap())
}

fn stream(vector: &Value) {
    assert_eq!(u64::from(number(id(vector))), vector["number"].as_u64().unwrap(), "{vector}");
    let mut came = BytesMut::from(&octets(&vector["hex"])[..]);
    let found = head(&mut came);
    match vector["error"].as_str() {
        None => {
            let wanted = Bytes::from(octets(&vector["head"]));
            assert_eq!(found.unwrap_or_default().as_ref(), Some(&wanted), "{vector}");
            assert_eq!(came, octets(&vector["rest"]), "{vector}");
            let written = [framed(&wanted).unwrap(), came.freeze()].concat();
            assert_eq!(written, octets(&vector["hex"]), "{vector}");
        }
        Some("FRAME_TOO_LARGE") => assert!(matches!(found, Err(HeadError::TooLarge { .. })), "{vector}"),
        // The head isn't there yet; that the stream then ends is proved over sockets.
        Some("MALFORMED") => assert!(matches!(found, Ok(None)), "{vector}"),
        Some(code) => panic!("{code}"),
    }
}

fn datagram(vector: &Value) {
    let mut came = Bytes::from(octets(&vector["hex"]));
    let found = came.try_get_u64().ok().and_then(flow_number);
    if vector["dropped"] == true {
        return assert_eq!(found, None, "{vector}");
    }
    let wanted = number(id(vector));
    assert_eq!(found, Some(wanted), "{vector}");
    assert_eq!([&flow(wanted)[..], &came].concat(), octets(&vector["hex"]), "{vector}");
    assert_eq!(came, octets(&vector["payload"]), "{vector}");
}

#[expect(clippy::disallowed_methods, reason = "a test owns its clock")]
fn control(vector: &Value) {
    let now = Instant::now();
    let found = match Control::new(&Config::default(), now).receive(now, &octets(&vector["hex"])) {
        Ok(others) if others.is_empty() => None,
        // What is none of the control stream's own.
        Ok(_) => Some(Violation::UnexpectedFrame.close_code()),
        Err(violation) => Some(violation.close_code()),
    };
    let wanted = vector["error"].as_str().map(|name| match name {
        "PROTOCOL" => CloseCode::PROTOCOL,
        "UNEXPECTED" => CloseCode::UNEXPECTED,
        "UNKNOWN_FRAME" => CloseCode::UNKNOWN_FRAME,
        name => panic!("{name}"),
    });
    assert_eq!(found, wanted, "{vector}");
}
