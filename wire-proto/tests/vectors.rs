//! The vectors in `vectors/*.json`: made here, kept in the tree, and run from there.
//!
//! With `ADIT_REGENERATE=1` in the environment the files are written anew.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "a test"
)]

use adit_errors::{Refusal, RequestId};
use adit_wire_proto::control::*;
use adit_wire_proto::credential::{ChannelBinding, Credential, CredentialKind};
use adit_wire_proto::datagram::RecordDecoder;
use adit_wire_proto::frame::{
    self, Conduct, ConductError, Decoder, Dialled, Feature, Frame, FrameKind, VersionRange,
};
use adit_wire_proto::{CloseCode, Protocol, StreamHead, TlsFacts, agent, gateway};
use bytes::{Bytes, BytesMut};
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The kept file, after it was compared with (or replaced by) what this test makes.
fn kept(name: &str, fresh: Value) -> Vec<Value> {
    let path = root().join("vectors").join(name);
    let fresh = format!("{}\n", serde_json::to_string_pretty(&fresh).unwrap());
    if std::env::var_os("ADIT_REGENERATE").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(kept == fresh, "{name}: run with ADIT_REGENERATE=1 and read the difference");
    serde_json::from_str(&kept).unwrap()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn unhex(value: &Value) -> Bytes {
    let text = value.as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Protobuf's own JSON, by the published `.proto` files and without our types.
fn protobuf_json(kind: &str, octets: Bytes) -> Value {
    let files = ["adit/wire/v1/control.proto"];
    let descriptors = protox::compile(files, [root().join("proto")]).unwrap();
    let pool = DescriptorPool::from_file_descriptor_set(descriptors).unwrap();
    let kind = pool.get_message_by_name(&format!("adit.wire.v1.{kind}")).unwrap();
    serde_json::to_value(DynamicMessage::decode(kind, octets).unwrap()).unwrap()
}

// Frames.

fn frame_json(frame: &Frame) -> Value {
    match frame {
        Frame::Hello(hello) => json!({
            "kind": "HELLO",
            "least": hello.versions.least().as_u16(),
            "most": hello.versions.most().as_u16(),
            "max_streams": hello.max_streams,
            "stream_window": hello.stream_window,
            "max_datagram": hello.max_datagram,
            "features": hello.features.iter().map(|it| it.as_u16()).collect::<Vec<_>>(),
        }),
        Frame::Open { id, credit, head, fin } => {
            json!({"kind": "OPEN", "id": id, "credit": credit, "head": hex(head), "fin": fin})
        }
        Frame::Data { id, payload, fin } => {
            json!({"kind": "DATA", "id": id, "payload": hex(payload), "fin": fin})
        }
        Frame::Credit { id, limit } => json!({"kind": "CREDIT", "id": id, "limit": limit}),
        Frame::Streams { limit } => json!({"kind": "STREAMS", "limit": limit}),
        Frame::Reset { id, code } => json!({"kind": "RESET", "id": id, "code": code.as_u32()}),
        Frame::Stop { id, code } => json!({"kind": "STOP", "id": id, "code": code.as_u32()}),
        Frame::Ping { sequence, ack } => json!({"kind": "PING", "sequence": sequence, "ack": ack}),
        Frame::GoAway { last_id, code, reason, heads_up } => json!({
            "kind": "GOAWAY", "last_id": last_id, "code": code.as_u32(), "reason": hex(reason),
            "heads_up": heads_up,
        }),
        Frame::Close { code, reason } => {
            json!({"kind": "CLOSE", "code": code.as_u32(), "reason": hex(reason)})
        }
        Frame::Datagram { flow, payload } => {
            json!({"kind": "DATAGRAM", "flow": flow, "payload": hex(payload)})
        }
        Frame::Blocked { id, limit } => json!({"kind": "BLOCKED", "id": id, "limit": limit}),
        Frame::Pad { length } => json!({"kind": "PAD", "length": length}),
        Frame::Skipped { kind, length } => json!({"skipped": kind.as_u8(), "length": length}),
        other => panic!("{other:?}"),
    }
}

fn frames() -> Vec<(&'static str, Frame)> {
    let text = Bytes::from_static(b"text");
    let mut hello = frame::Hello::new();
    hello.max_streams = 1024;
    hello.stream_window = 65_536;
    hello.max_datagram = 16_376;
    hello.features = vec![Feature::DATAGRAM, Feature::reserved(7)];
    let empty = Bytes::new();
    vec![
        ("the shortest HELLO", Frame::Hello(frame::Hello::new())),
        ("a HELLO with every parameter", Frame::Hello(hello)),
        (
            "OPEN with the head of a control stream",
            Frame::Open { id: 1, credit: 65_536, head: StreamHead::control().encode(), fin: false },
        ),
        ("OPEN and FIN without head", Frame::Open { id: 2, credit: 0, head: empty.clone(), fin: true }),
        ("DATA", Frame::Data { id: 1, payload: text.clone(), fin: false }),
        ("DATA and FIN", Frame::Data { id: 1, payload: text.clone(), fin: true }),
        ("FIN alone", Frame::Data { id: u32::MAX, payload: empty.clone(), fin: true }),
        ("CREDIT", Frame::Credit { id: 1, limit: 1 << 40 }),
        ("STREAMS", Frame::Streams { limit: 2048 }),
        ("RESET", Frame::Reset { id: 3, code: CloseCode::UPSTREAM_TIMEOUT }),
        ("RESET with a code of an application", Frame::Reset { id: 3, code: CloseCode::from_u32(0x1_0007) }),
        ("STOP", Frame::Stop { id: 3, code: CloseCode::CANCELLED }),
        ("PING", Frame::Ping { sequence: 7, ack: false }),
        ("PING, answered", Frame::Ping { sequence: 7, ack: true }),
        (
            "GOAWAY, first",
            Frame::GoAway { last_id: 0, code: CloseCode::DRAINING, reason: empty.clone(), heads_up: true },
        ),
        (
            "GOAWAY, second",
            Frame::GoAway { last_id: 41, code: CloseCode::DRAINING, reason: text.clone(), heads_up: false },
        ),
        ("CLOSE", Frame::Close { code: CloseCode::NONE, reason: text.clone() }),
        ("DATAGRAM", Frame::Datagram { flow: 2, payload: text }),
        ("DATAGRAM of nothing", Frame::Datagram { flow: 2, payload: empty }),
        ("BLOCKED", Frame::Blocked { id: 1, limit: 65_536 }),
        ("BLOCKED on streams", Frame::Blocked { id: 0, limit: 1024 }),
        ("PAD", Frame::Pad { length: 3 }),
        ("a kind that nobody defines", Frame::Skipped { kind: FrameKind::reserved(1), length: 2 }),
    ]
}

/// Name, octets, section: what ends the session on the octets alone.
const BAD_FRAMES: &[(&str, &str, &str)] = &[
    ("an unknown mandatory kind", "3f00000000000000", "3.1 rule 1"),
    ("a stream's frame with id 0", "0200000100000000", "3.1 rule 2"),
    ("a session's frame with an id", "0700000800000001", "3.1 rule 2"),
    ("CREDIT too short", "0300000700000001", "3.1 rule 3"),
    ("CREDIT too long", "0300000900000001", "3.1 rule 3"),
    ("RESET without code", "0500000000000001", "3.1 rule 3"),
    ("OPEN without credit", "0100000300000001", "3.1 rule 3"),
    ("OPEN with a head of 4,097 octets", "0100100500000001", "3.1 rule 3"),
    ("HELLO of 1,025 octets", "0000040100000000", "3.1 rule 3"),
    ("CLOSE with a reason of 257 octets", "0900010500000000", "3.1 rule 3"),
    ("DATAGRAM of 16,377 octets", "80003ff900000001", "3.1 rule 3"),
    ("DATA of nothing", "0200000000000001", "3.1 rule 5"),
    ("DATA of nothing with reserved flags", "02fe000000000001", "3.1 rule 5"),
    ("another magic", "000000080000000048545450 00010001", "3.3"),
    ("an empty range of versions", "0000000800000000 41444954 00020001", "3.3"),
    ("a parameter cut short", "0000000d00000000 41444954 00010001 0001000400", "3.3"),
    ("a parameter twice", "0000001400000000 41444954 00010001 00070002ffff 00070002ffff", "3.3"),
    ("a parameter at its default", "0000001000000000 41444954 00010001 0001000400000000", "3.3"),
    ("MAX_DATAGRAM of 16,377", "0000000e00000000 41444954 00010001 000300023ff9", "3.3"),
    ("features that don't ascend", "0000001000000000 41444954 00010001 0004000400020001", "3.3"),
    ("octets left over", "0000000900000000 41444954 00010001 00", "3.3"),
];

#[test]
fn frames_are_the_vectors() {
    let good = frames().into_iter().map(|(name, frame)| {
        let mut wire = BytesMut::new();
        frame.encode(&mut wire);
        json!({"name": name, "hex": hex(&wire), "value": frame_json(&frame)})
    });
    let bad = BAD_FRAMES.iter().map(|(name, octets, section)| {
        let octets = octets.replace(' ', "");
        let code = decode_frame(unhex(&json!(octets))).unwrap_err();
        json!({"name": name, "hex": octets, "error": code.to_string(), "section": section})
    });
    for vector in kept("frames.json", good.chain(bad).collect()) {
        let octets = unhex(&vector["hex"]);
        match decode_frame(octets.clone()) {
            Ok(frame) => {
                assert_eq!(frame_json(&frame), vector["value"]);
                let mut wire = BytesMut::new();
                frame.encode(&mut wire);
                assert_eq!(wire, octets, "{vector}");
            }
            Err(code) => assert_eq!(code.to_string(), vector["error"], "{vector}"),
        }
    }
}

fn decode_frame(octets: Bytes) -> Result<Frame, CloseCode> {
    let decoded = Decoder::new().decode(&mut BytesMut::from(&octets[..]));
    decoded.map(Option::unwrap).map_err(|error| error.close_code())
}

// The order of frames.

const HELLO: &str = "0000000800000000 41444954 00010001";

/// Name, section, whether the peer dialled, frames of the peer (`<`) and of ours (`>`), and the code with which the last
/// one ends the session.
type Order = (&'static str, &'static str, bool, &'static [(char, &'static str)], Option<&'static str>);

const ORDERS: &[Order] = &[
    ("HELLO first", "3.4 rule 1", true, &[('<', HELLO)], None),
    ("HELLO twice", "3.4 rule 1", true, &[('<', HELLO), ('<', HELLO)], Some("UNEXPECTED")),
    ("PAD before HELLO", "3.4 rule 1", true, &[('<', "8200000000000000")], Some("UNEXPECTED")),
    (
        "the dialler's ids are odd",
        "3.4 rule 2",
        true,
        &[('<', HELLO), ('<', "0100000400000001 00000000"), ('<', "0100000400000003 00000000")],
        None,
    ),
    (
        "the listener's are even",
        "3.4 rule 2",
        false,
        &[('<', HELLO), ('<', "0100000400000002 00000000")],
        None,
    ),
    (
        "another parity",
        "3.4 rule 2",
        false,
        &[('<', HELLO), ('<', "0100000400000001 00000000")],
        Some("PROTOCOL"),
    ),
    (
        "a gap between ids",
        "3.4 rule 2",
        true,
        &[('<', HELLO), ('<', "0100000400000001 00000000"), ('<', "0100000400000005 00000000")],
        Some("PROTOCOL"),
    ),
    (
        "DATA on what was never opened",
        "3.4 rule 4",
        true,
        &[('<', HELLO), ('<', "0200000100000001 00")],
        Some("PROTOCOL"),
    ),
    (
        "sequences of PINGs may leave gaps",
        "3.7 rule 2",
        true,
        &[
            ('<', HELLO),
            ('<', "0700000800000000 0000000000000001"),
            ('<', "0700000800000000 ffffffffffffffff"),
        ],
        None,
    ),
    (
        "a PING with the sequence 0",
        "3.7 rule 2",
        true,
        &[('<', HELLO), ('<', "0700000800000000 0000000000000000")],
        Some("PROTOCOL"),
    ),
    (
        "a PING whose sequence doesn't rise",
        "3.7 rule 2",
        true,
        &[
            ('<', HELLO),
            ('<', "0700000800000000 0000000000000002"),
            ('<', "0700000800000000 0000000000000002"),
        ],
        Some("PROTOCOL"),
    ),
    (
        "an ACK before any PING",
        "3.7 rule 2",
        true,
        &[('<', HELLO), ('<', "0701000800000000 0000000000000000")],
        Some("PROTOCOL"),
    ),
    (
        "an ACK of a sequence that will come",
        "3.7 rule 2",
        true,
        &[('<', HELLO), ('<', "0701000800000000 0000000000000001")],
        Some("PROTOCOL"),
    ),
    (
        "the same ACK twice",
        "3.7 rule 2",
        true,
        &[
            ('<', HELLO),
            ('>', "0700000800000000 0000000000000001"),
            ('<', "0701000800000000 0000000000000001"),
            ('<', "0701000800000000 0000000000000001"),
        ],
        None,
    ),
    (
        "an ACK of 0 after a PING",
        "3.7 rule 2",
        true,
        &[
            ('<', HELLO),
            ('>', "0700000800000000 0000000000000001"),
            ('<', "0701000800000000 0000000000000000"),
        ],
        Some("PROTOCOL"),
    ),
    (
        "an ACK above the highest PING",
        "3.7 rule 2",
        true,
        &[
            ('<', HELLO),
            ('>', "0700000800000000 0000000000000001"),
            ('<', "0701000800000000 0000000000000002"),
        ],
        Some("PROTOCOL"),
    ),
];

#[test]
fn orders_of_frames_are_the_vectors() {
    let fresh = ORDERS.iter().map(|(name, section, by_peer, steps, error)| {
        let step = |(from, octets): &(char, &str)| {
            let from = if *from == '<' { "peer" } else { "us" };
            json!({"from": from, "hex": octets.replace(' ', "")})
        };
        let steps: Vec<_> = steps.iter().map(step).collect();
        let mut order = json!({"name": name, "section": section, "dialled_by_peer": by_peer, "steps": steps});
        if let Some(error) = error {
            order["error"] = json!(error);
        }
        order
    });
    for vector in kept("orders.json", fresh.collect()) {
        let last = run_order(&vector).map_err(|error| error.close_code().to_string());
        assert_eq!(last.err(), vector.get("error").map(|it| it.as_str().unwrap().to_owned()), "{vector}");
    }
}

fn run_order(vector: &Value) -> Result<(), ConductError> {
    let dialled = if vector["dialled_by_peer"] == true { Dialled::ByPeer } else { Dialled::ByUs };
    let mut conduct = Conduct::of(dialled, VersionRange::OURS);
    let steps = vector["steps"].as_array().unwrap();
    for (at, step) in steps.iter().enumerate() {
        match (step["from"].as_str().unwrap(), decode_frame(unhex(&step["hex"])).unwrap()) {
            ("us", Frame::Ping { sequence, ack: false }) => conduct.sent_ping(sequence),
            ("peer", frame) => match conduct.receive(Instant::now(), &frame) {
                Err(error) if at + 1 == steps.len() => return Err(error),
                received => received.unwrap(),
            },
            other => panic!("{other:?}"),
        }
    }
    Ok(())
}

// Control messages.

fn number(number: u64) -> RequestNumber {
    RequestNumber::new(number).unwrap()
}

fn credential() -> Credential {
    Credential::from_random(CredentialKind::CapabilityToken, 0x0123_4567_89ab_cdef, [7; 32])
}

fn offer() -> Offer {
    let mut offer = Offer::new("adit-agent/0.1.0", [1; 32]);
    offer.features = vec!["example.com/frobnicate".into()];
    offer
}

fn settings() -> Settings {
    let mut settings = Settings::new("session-1");
    settings.zones = vec!["example.com".into()];
    settings.resume_token = Bytes::from_static(b"resume");
    settings.heartbeat = Some(Duration::from_secs(15));
    settings
}

fn register() -> Register {
    let mut register = Register::new(Protocol::TCP, Claim::Name("my-db".into()));
    register.zone = Some("example.com".into());
    register.port = Some(35_432);
    register.tls_mode = TlsMode::NONE;
    register.auth_mode = AuthMode::OPEN;
    register.visibility = Visibility::PUBLIC;
    register.display_name = "Database".into();
    register.description = "The staging database".into();
    register.labels.insert("team".into(), "storage".into());
    register.metadata = "{\"a\":1}".into();
    register.policy.allow_networks = vec!["203.0.113.0/24".into()];
    register.policy.rate_per_minute = Some(60);
    register.policy.wake_on_http = Some(true);
    register.ttl = Some(Duration::from_secs(3600));
    register.resume_token = Bytes::from_static(b"resume");
    register.generation = Generation::new(4);
    register
}

fn agent_messages() -> Vec<(&'static str, AgentMessage)> {
    let registration = RegistrationId::new(7).unwrap();
    let ask = |n, request| AgentMessage::Request { number: number(n), request };
    let key = Register::new(Protocol::HTTP, Claim::Key("k3y".into()));
    let passthrough = {
        let mut register = Register::new(Protocol::HTTPS, Claim::Assigned);
        register.tls_mode = TlsMode::PASSTHROUGH;
        register
    };
    vec![
        ("Register with everything", ask(1, Request::Register(Box::new(register())))),
        ("Register of a key", ask(2, Request::Register(Box::new(key)))),
        ("Register of any name, passthrough", ask(3, Request::Register(Box::new(passthrough)))),
        ("Unregister", ask(4, Request::Unregister { registration })),
        ("Renew", ask(5, Request::Renew { registration, ttl: Some(Duration::from_secs(60)) })),
        ("Renew as before", ask(6, Request::Renew { registration, ttl: None })),
        ("SignCsr", ask(7, Request::SignCsr { registration, csr: Bytes::from_static(b"\x30\x00") })),
        ("RotateSecret", ask(8, Request::RotateSecret { overlap: Duration::from_secs(300) })),
        ("pause", ask(9, Request::SetStatus { registration, status: TunnelStatus::PAUSED })),
        ("Leave", AgentMessage::Leave { deadline: Duration::from_secs(30) }),
        ("an unknown request", AgentMessage::Unknown { number: Some(number(10)) }),
        ("an unknown message", AgentMessage::Unknown { number: None }),
    ]
}

fn gateway_messages() -> Vec<(String, GatewayMessage)> {
    let (registration, generation) = (RegistrationId::new(7).unwrap(), Generation::new(5).unwrap());
    let mut registered = Registered::new(registration, generation, "my-db");
    registered.tunnel = "tun-1".into();
    registered.addresses = vec!["tcp://my-db.example.com:35432".into()];
    registered.certificate.awaited = true;
    registered.certificate.names = vec!["my-db.example.com".into()];
    registered.ttl = Some(Duration::from_secs(3600));
    registered.limits.max_streams = 100;
    registered.resume_token = Bytes::from_static(b"resume");
    registered.visitor_token = VisitorToken::new("visitor-token".into());
    registered.status = TunnelStatus::AWAITING_CERT;
    let (long, half) = (Duration::from_secs(90 * 86_400), Duration::from_secs(45 * 86_400));
    let chain = CertificateChain::new(registration, vec![Bytes::from_static(b"\x30\x00")], long, half);
    let rotated = RotatedSecret::new(credential(), Duration::from_secs(300));
    let answer = |n, answer| GatewayMessage::Answer { number: number(n), answer };
    let id = RequestId::parse("req-1").unwrap();
    let refusal = |entry| Refusal::of(entry, "why").with_request_id(id.clone());
    let reason = refusal(&adit_errors::registry::REGISTRY[0]);
    let drain = Drain::new(Duration::from_secs(30)).with_hints(vec!["gw2.example.com:443".into()]);
    let named = [
        ("Challenge", GatewayMessage::Challenge([9; 32])),
        ("Registered", answer(1, Answer::Registered(Box::new(registered)))),
        ("Unregistered", answer(4, Answer::Unregistered { registration })),
        ("Renewed", answer(5, Answer::Renewed { registration, ttl: Some(Duration::from_secs(60)) })),
        ("Certificate", answer(7, Answer::Certificate(chain))),
        ("RotatedSecret", answer(8, Answer::RotatedSecret(rotated))),
        ("Status, asked for", answer(9, Answer::Status { registration, status: TunnelStatus::PAUSED })),
        (
            "Status, told",
            GatewayMessage::Notice(Notice::Status {
                registration,
                status: TunnelStatus::DELETE_PENDING,
                reason: Some(reason.clone()),
            }),
        ),
        ("Superseded", GatewayMessage::Notice(Notice::Superseded { registration, generation })),
        ("Drain", GatewayMessage::Notice(Notice::Drain(drain))),
        ("Terminate", GatewayMessage::Notice(Notice::Terminate { reason })),
        ("CertificateDue", GatewayMessage::Notice(Notice::CertificateDue { registration, expires_in: half })),
        ("SecretRotated", GatewayMessage::Notice(Notice::SecretRotated { old_valid: Duration::ZERO })),
    ];
    let named = named.into_iter().map(|(name, message)| (name.to_owned(), message));
    let refusals = adit_errors::registry::REGISTRY.iter().map(|entry| {
        let message = GatewayMessage::Refused { number: Some(number(1)), refusal: refusal(entry) };
        (format!("Refused: {}", entry.code()), message)
    });
    named.chain(refusals).collect()
}

/// Name, octets, section, for messages of an agent: what ends the session.
const BAD_MESSAGES: &[(&str, &str, &str)] = &[
    ("a varint of eleven octets", "0880808080808080808080 01", "6 rule 4"),
    ("a varint over 64 bits", "08ffffffffffffffffff02", "6 rule 4"),
    ("text that is no UTF-8", "0801220 40a02fffe", "6 rule 4"),
    ("an end inside a field", "0801220a0a", "6 rule 4"),
    ("a group that doesn't end", "a306a306a306", "6 rule 4"),
    ("a request without number", "2200", "6 rule 4"),
    ("a hello with a number", "08011200", "6 rule 4"),
    ("an empty name", "080122020a00", "6 rule 4"),
    ("an empty CSR", "08013a020807", "6 rule 4"),
    ("registration 0", "08012a00", "6 rule 4"),
    ("port 65,536", "08012204 20808004", "6 rule 4"),
    ("a proof of one octet", "1a030a0101", "7.3 rule 5"),
    ("an empty proof", "1a00", "6 rule 4"),
];

#[test]
fn control_messages_are_the_vectors() {
    let good = agent_messages().into_iter().map(|(name, message)| {
        let octets = message.encode().unwrap().slice(4..);
        json!({"name": name, "hex": hex(&octets), "value": protobuf_json("AgentMessage", octets)})
    });
    let bad = BAD_MESSAGES.iter().map(|(name, octets, section)| {
        let octets = octets.replace(' ', "");
        let code = AgentMessage::decode(unhex(&json!(octets))).unwrap_err().close_code();
        json!({"name": name, "hex": octets, "error": code.to_string(), "section": section})
    });
    for vector in kept("agent_messages.json", good.chain(bad).collect()) {
        let octets = unhex(&vector["hex"]);
        match AgentMessage::decode(octets.clone()) {
            Ok(message) => {
                assert_eq!(message.encode().unwrap()[4..], octets, "{vector}");
                assert_eq!(protobuf_json("AgentMessage", octets), vector["value"]);
            }
            Err(error) => assert_eq!(error.close_code().to_string(), vector["error"], "{vector}"),
        }
    }
    let good = gateway_messages().into_iter().map(|(name, message)| {
        let octets = message.encode().unwrap().slice(4..);
        json!({"name": name, "hex": hex(&octets), "value": protobuf_json("GatewayMessage", octets)})
    });
    for vector in kept("gateway_messages.json", good.collect()) {
        let octets = unhex(&vector["hex"]);
        let message = GatewayMessage::decode(octets.clone()).unwrap();
        assert_eq!(message.encode().unwrap()[4..], octets, "{vector}");
        assert_eq!(protobuf_json("GatewayMessage", octets), vector["value"]);
    }
}

// Stream heads.

fn heads() -> Vec<(&'static str, StreamHead)> {
    let registered = |protocol| {
        let (id, generation) = (RegistrationId::new(7).unwrap(), Generation::new(5).unwrap());
        StreamHead::builder(protocol)
            .registration(id, generation)
            .visitor("203.0.113.9:51000".parse().unwrap())
            .local("[2001:db8::1]:443".parse().unwrap())
    };
    let mut facts = TlsFacts::default();
    facts.version = 0x0304;
    facts.cipher_suite = 0x1301;
    facts.alpn = Bytes::from_static(b"h2");
    facts.ended_at_edge = true;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let http = registered(Protocol::HTTP).host("my-app.example.com").tls(facts).trace(trace, "a=b");
    let http = http.deadline(Duration::from_secs(10)).request_id("req-1");
    let https = registered(Protocol::HTTPS).host("my-app.example.com").tls(TlsFacts::default());
    let named = [
        ("http", http),
        ("https", https),
        ("tcp", registered(Protocol::TCP).port(35_432)),
        ("udp", registered(Protocol::UDP).port(19_132)),
        ("grpc", registered(Protocol::GRPC).host("api.example.com")),
        ("ssh", registered(Protocol::SSH)),
        ("reach", StreamHead::builder(Protocol::REACH).target("staging-db")),
        ("control", StreamHead::builder(Protocol::CONTROL)),
        ("a protocol of a later version", registered(Protocol::from_i32(77))),
    ];
    named.into_iter().map(|(name, head)| (name, head.build().unwrap())).collect()
}

const BAD_HEADS: &[(&str, &str, &str)] = &[
    ("an address of five octets", "220a0a050102030405 1001", "10"),
    ("a port of 65,536", "68808004", "10"),
    ("a generation without registration", "1801", "10 rule 1"),
    ("a registration without generation", "1001", "10 rule 1"),
    ("an end inside a field", "320a61", "10"),
];

#[test]
fn stream_heads_are_the_vectors() {
    let good = heads().into_iter().map(|(name, head)| {
        let octets = head.encode();
        json!({"name": name, "hex": hex(&octets), "value": protobuf_json("StreamHead", octets)})
    });
    let bad = BAD_HEADS.iter().map(|(name, octets, section)| {
        let octets = octets.replace(' ', "");
        let code = StreamHead::decode(unhex(&json!(octets))).unwrap_err().close_code();
        json!({"name": name, "hex": octets, "error": code.to_string(), "section": section})
    });
    for vector in kept("stream_heads.json", good.chain(bad).collect()) {
        let octets = unhex(&vector["hex"]);
        match StreamHead::decode(octets.clone()) {
            Ok(head) => {
                assert_eq!(head.encode(), octets, "{vector}");
                assert_eq!(protobuf_json("StreamHead", octets), vector["value"]);
            }
            Err(error) => assert_eq!(error.close_code().to_string(), vector["error"], "{vector}"),
        }
    }
}

// Credentials.

#[test]
fn credentials_are_the_vectors() {
    let made = [
        (CredentialKind::CapabilityToken, 0x0123_4567_89ab_cdef, [7; 32]),
        (CredentialKind::ConnectSecret, 0, [0; 32]),
        (CredentialKind::ConnectSecret, u64::MAX, [0xff; 32]),
    ];
    let good = made.map(|(kind, nonce, secret)| {
        let credential = Credential::from_random(kind, nonce, secret);
        json!({
            "name": "a credential", "text": *credential.reveal(), "id": credential.id().to_string(),
            "secret": hex(&secret), "verifier": hex(&credential.verifier().to_octets()),
        })
    });
    let text = credential().reveal();
    let bad = [
        ("another prefix", text.replace("adk_", "adx_")),
        ("cut short", text[..76].to_owned()),
        ("one character more", format!("{}a", *text)),
        ("upper case", format!("adk_{}", text[4..].to_uppercase())),
        ("another secret under the same checksum", format!("{}b{}", &text[..21], &text[22..])),
        ("another id under the same checksum", format!("adk_1{}", &text[5..])),
        ("nothing", String::new()),
    ];
    let bad = bad.map(|(name, text)| json!({"name": name, "text": text, "error": "refused"}));
    for vector in kept("credentials.json", good.into_iter().chain(bad).collect()) {
        let parsed = vector["text"].as_str().unwrap().parse::<Credential>();
        match parsed {
            Ok(credential) => {
                assert_eq!(credential.id().to_string(), vector["id"]);
                assert_eq!(hex(&credential.verifier().to_octets()), vector["verifier"]);
            }
            Err(_) => assert_eq!(vector["error"], "refused", "{vector}"),
        }
    }
}

// Records of UDP flows.

const RECORDS: &[(&str, &str)] = &[
    ("one message", "0005 68656c6c6f"),
    ("an empty message is a message", "0000 0001 78"),
    ("a message whose end has not come", "0001 78 0003 7879"),
    ("half a length", "0001 78 00"),
];

#[test]
fn records_are_the_vectors() {
    let good = RECORDS.iter().map(|(name, octets)| {
        let octets = octets.replace(' ', "");
        let (records, rest) = split_records(&unhex(&json!(octets))).unwrap();
        json!({"name": name, "section": "4", "hex": octets, "records": records, "rest": rest})
    });
    let bad = ["ffe4", "0001 78 ffff"].map(|octets| {
        json!({"name": "a length over 65,507", "section": "4", "hex": octets.replace(' ', ""), "error": "FRAME_TOO_LARGE"})
    });
    for vector in kept("records.json", good.chain(bad).collect()) {
        match split_records(&unhex(&vector["hex"])) {
            Ok((records, rest)) => {
                assert_eq!((json!(records), json!(rest)), (vector["records"].clone(), vector["rest"].clone()))
            }
            Err(code) => assert_eq!(code.to_string(), vector["error"], "{vector}"),
        }
    }
}

fn split_records(octets: &[u8]) -> Result<(Vec<String>, String), CloseCode> {
    let (mut input, mut decoder, mut records) = (BytesMut::from(octets), RecordDecoder::new(), Vec::new());
    while let Some(record) = decoder.decode(&mut input).map_err(|error| error.close_code())? {
        records.push(hex(&record));
    }
    Ok((records, hex(&input)))
}

// Traces: both machines, octet for octet.

/// What each side sends, in order, until both have nothing more to say.
fn trace(binding: ChannelBinding, anonymous: bool) -> Vec<Value> {
    let now = Instant::now();
    let options = agent::Options::new(offer());
    let options = if anonymous { options } else { options.with_credential(credential(), binding) };
    let mut agent = agent::Control::new(options, now).unwrap();
    let mut gateway = gateway::Control::new(gateway::Options::new(binding, [9; 32]), now);
    agent.request(now, Request::Register(Box::new(register()))).unwrap();
    let (mut to_gateway, mut to_agent, mut steps) = (BytesMut::new(), BytesMut::new(), Vec::new());
    loop {
        let before = steps.len();
        while let Some(octets) = agent.poll_output() {
            steps.push(json!({"from": "agent", "hex": hex(&octets)}));
            to_gateway.extend_from_slice(&octets);
        }
        while let Some(event) = gateway.receive(now, &mut to_gateway).unwrap() {
            decide(&mut gateway, event, anonymous);
        }
        while let Some(octets) = gateway.poll_output() {
            steps.push(json!({"from": "gateway", "hex": hex(&octets)}));
            to_agent.extend_from_slice(&octets);
        }
        while agent.receive(now, &mut to_agent).unwrap().is_some() {}
        if steps.len() == before {
            assert_eq!((agent.state(), gateway.state()), ("serving", "serving"));
            return steps;
        }
    }
}

fn decide(gateway: &mut gateway::Control, event: gateway::Event, anonymous: bool) {
    match event {
        gateway::Event::Hello(_) if anonymous => {
            gateway.welcome(&gateway::Authorised::by_other_means(), settings()).unwrap();
        }
        gateway::Event::Hello(_) => {
            let authorised = gateway.check([Some(&credential().verifier()), None]).unwrap();
            gateway.welcome(&authorised, settings()).unwrap();
        }
        gateway::Event::Requested { number, .. } => {
            let registered = Registered::new(RegistrationId::FIRST, Generation::FIRST, "my-db");
            gateway.answer(number, Answer::Registered(Box::new(registered))).unwrap();
        }
        other => panic!("{other:?}"),
    }
}

/// Name, what an agent sends (with lengths in front), the code, the section.
fn hostile() -> Vec<(&'static str, Vec<Bytes>, &'static str)> {
    let message = |message: AgentMessage| message.encode().unwrap();
    let register = |n| {
        let request = Request::Register(Box::new(Register::new(Protocol::HTTP, Claim::Assigned)));
        message(AgentMessage::Request { number: number(n), request })
    };
    let hello = || message(hello_of(offer()));
    let mut future = offer();
    future.versions = ControlVersions::new(ControlVersion::from_u32(2), ControlVersion::from_u32(3)).unwrap();
    let mut bound = offer();
    bound.credential = Some(credential().id());
    bound.binding = Binding::TLS_EXPORTER;
    let flood = std::iter::once(hello()).chain((1..=33).map(register)).collect();
    vec![
        ("a request before the hello", vec![register(1)], "14.2"),
        (
            "an unknown message before the hello",
            vec![message(AgentMessage::Unknown { number: None })],
            "6 rule 6",
        ),
        ("no version in common", vec![message(hello_of(future))], "7.1 rule 2"),
        ("a binding that the carrier hasn't", vec![message(hello_of(bound))], "7.3 rule 3"),
        ("a second hello", vec![hello(), hello()], "14.2"),
        ("a request number twice", vec![hello(), register(1), register(1)], "8 rule 1"),
        ("a request number that falls", vec![hello(), register(2), register(1)], "8 rule 1"),
        ("33 requests at once", flood, "8 rule 2"),
        ("a message of 65,537 octets", vec![Bytes::from_static(&[0, 1, 0, 1])], "6 rule 3"),
        ("a message of 4,294,967,295 octets", vec![Bytes::from_static(&[0xff; 4])], "6 rule 3"),
        ("not protobuf", vec![Bytes::from_static(&[0, 0, 0, 1, 0xff])], "6 rule 4"),
    ]
}

/// The hello of an agent without a credential, or of one that lies about its binding.
fn hello_of(offer: Offer) -> AgentMessage {
    // A Hello can't be built from outside but by an agent, so it is read from its octets.
    let offer = offer.encode();
    let mut field = vec![0x0a];
    let mut length = offer.len();
    while length > 0x7f {
        field.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    field.push(u8::try_from(length).unwrap());
    field.extend_from_slice(&offer);
    let mut wire = vec![0x12];
    let mut length = field.len();
    while length > 0x7f {
        wire.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    wire.push(u8::try_from(length).unwrap());
    wire.extend(field);
    AgentMessage::decode(wire.into()).unwrap()
}

/// What a gateway without an exporter, that lets anonymous agents in and answers nothing, ends the session with.
fn run_hostile(steps: &[Bytes]) -> CloseCode {
    let now = Instant::now();
    let options = gateway::Options::new(ChannelBinding::NONE, [9; 32]);
    let mut gateway = gateway::Control::new(options, now);
    let mut input = BytesMut::new();
    steps.iter().for_each(|octets| input.extend_from_slice(octets));
    loop {
        match gateway.receive(now, &mut input) {
            Ok(Some(gateway::Event::Hello(_))) => {
                gateway.welcome(&gateway::Authorised::by_other_means(), settings()).unwrap();
            }
            Ok(Some(_)) => {}
            Ok(None) => panic!("it was let through"),
            Err(error) => return error.close_code(),
        }
    }
}

#[test]
fn traces_are_the_vectors() {
    let exporter = ChannelBinding::tls_exporter([5; 32]);
    let good = [
        ("bound to the TLS exporter", exporter, false),
        ("challenged", ChannelBinding::NONE, false),
        ("without a credential", ChannelBinding::NONE, true),
    ];
    let good = good.map(|(name, binding, anonymous)| {
        json!({
            "name": name,
            "exporter": if binding.is_bound() { json!(hex(&[5; 32])) } else { Value::Null },
            "challenge": hex(&[9; 32]),
            "credential": if anonymous { Value::Null } else { json!(*credential().reveal()) },
            "steps": trace(binding, anonymous),
        })
    });
    let bad = hostile().into_iter().map(|(name, steps, section)| {
        let steps_hex: Vec<_> =
            steps.iter().map(|octets| json!({"from": "agent", "hex": hex(octets)})).collect();
        json!({"name": name, "steps": steps_hex, "error": run_hostile(&steps).to_string(), "section": section})
    });
    for vector in kept("traces.json", good.into_iter().chain(bad).collect()) {
        if let Some(code) = vector["error"].as_str() {
            let steps: Vec<_> =
                vector["steps"].as_array().unwrap().iter().map(|step| unhex(&step["hex"])).collect();
            assert_eq!(run_hostile(&steps).to_string(), code, "{vector}");
        }
    }
}
