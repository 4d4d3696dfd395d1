//! The registry in SPEC.md is what the code says, and the other way round.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use adit_wire_proto::control::{AuthMode, Binding, ControlVersion, TlsMode, TunnelStatus, Visibility};
use adit_wire_proto::frame::{Feature, FrameKind, Hello, Version};
use adit_wire_proto::{CloseCode, Protocol};

const SPEC: &str = include_str!("../SPEC.md");

/// The rows of the table behind `<!-- registry: name -->`: number and name.
fn rows(name: &str) -> Vec<(u32, String)> {
    let marker = format!("<!-- registry: {name} -->\n");
    let (_, table) = SPEC.split_once(&marker).unwrap_or_else(|| panic!("no table {name}"));
    let lines = table.lines().take_while(|line| line.starts_with('|')).skip(2);
    lines
        .map(|line| {
            let mut cells = line.split('|').map(|cell| cell.trim().trim_matches('`')).skip(1);
            let number = cells.next().and_then(|cell| cell.strip_prefix("0x")).unwrap();
            (u32::from_str_radix(number, 16).unwrap(), cells.next().unwrap().to_owned())
        })
        .collect()
}

fn named<N>(values: &[(N, &str)], number: impl Fn(&N) -> u32) -> Vec<(u32, String)> {
    values.iter().map(|(value, name)| (number(value), (*name).to_owned())).collect()
}

#[test]
fn the_registry_and_the_constants_agree() {
    assert_eq!(rows("kinds"), named(FrameKind::NAMED, |kind| u32::from(kind.as_u8())));
    assert_eq!(rows("codes"), named(CloseCode::NAMED, |code| code.as_u32()));
    let open = |number: i32| u32::try_from(number).unwrap();
    assert_eq!(rows("protocols"), named(Protocol::NAMED, |it| open(it.as_i32())));
    assert_eq!(rows("tls-modes"), named(TlsMode::NAMED, |it| open(it.as_i32())));
    assert_eq!(rows("auth-modes"), named(AuthMode::NAMED, |it| open(it.as_i32())));
    assert_eq!(rows("visibilities"), named(Visibility::NAMED, |it| open(it.as_i32())));
    assert_eq!(rows("statuses"), named(TunnelStatus::NAMED, |it| open(it.as_i32())));
    assert_eq!(rows("bindings"), named(Binding::NAMED, |it| open(it.as_i32())));
    assert_eq!(rows("features"), [(u32::from(Feature::DATAGRAM.as_u16()), "DATAGRAM".into())]);
    let versions =
        [(u32::from(Version::V1.as_u16()), "FRAMES".into()), (ControlVersion::V1.as_u32(), "CONTROL".into())];
    assert_eq!(rows("versions"), versions);
}

/// Each parameter, set alone, stands in the HELLO under the number of the registry.
#[test]
fn the_parameters_of_the_registry_are_those_on_the_wire() {
    let mut numbers = Vec::new();
    for (at, name) in ["MAX_STREAMS", "STREAM_WINDOW", "MAX_DATAGRAM", "FEATURES"].into_iter().enumerate() {
        let mut hello = Hello::new();
        match at {
            0 => hello.max_streams = 1,
            1 => hello.stream_window = 1,
            2 => hello.max_datagram = 1,
            _ => hello.features = vec![Feature::DATAGRAM],
        }
        let mut body = Vec::new();
        hello.encode(&mut body);
        numbers.push((u32::from(body[9]), name.to_owned()));
    }
    assert_eq!(rows("parameters"), numbers);
}

/// The enums of the published `.proto` files have the same numbers and names.
#[test]
fn the_proto_files_and_the_constants_agree() {
    let proto = [
        include_str!("../proto/adit/wire/v1/control.proto"),
        include_str!("../proto/adit/wire/v1/stream.proto"),
    ]
    .concat();
    let has = |prefix: &str, values: Vec<(u32, String)>| {
        for (number, name) in values {
            let line = format!("  {prefix}_{name} = {number};");
            assert!(proto.contains(&line), "{line}");
        }
    };
    for (prefix, table) in [
        ("PROTOCOL", "protocols"),
        ("TLS_MODE", "tls-modes"),
        ("AUTH_MODE", "auth-modes"),
        ("VISIBILITY", "visibilities"),
        ("TUNNEL_STATUS", "statuses"),
        ("BINDING", "bindings"),
    ] {
        has(prefix, rows(table));
    }
}

/// The limits that the specification prints are those of the code.
#[test]
fn the_limits_of_the_specification_are_those_of_the_code() {
    use adit_wire_proto::{control, credential, datagram, frame};
    let deadlines = control::Deadlines::default();
    assert_eq!((deadlines.handshake.as_secs(), deadlines.answer.as_secs()), (10, 120));
    assert_eq!(control::SessionLimits::default().max_pending_requests, 32);
    assert_eq!(control::SessionLimits::default().max_registrations, 64);
    assert_eq!(control::MAX_MESSAGE_BYTES, 65_536);
    assert_eq!((frame::MAX_HEAD_BYTES, frame::MAX_REASON_BYTES, frame::MAX_DATA_BYTES), (4096, 256, 16_376));
    assert_eq!(datagram::Datagram::MAX_PAYLOAD_BYTES, 65_507);
    assert_eq!(credential::Credential::TEXT_BYTES, 4 + 16 + 1 + 56);
    assert_eq!(credential::StoredCredential::LEEWAY.as_secs(), 60);
    assert_eq!((frame::Conduct::PING_BURST, frame::Conduct::PING_INTERVAL.as_millis()), (40, 50));
    for shown in ["65,536", "4,096", "16,376", "65,507", "1,024", "burst 40"] {
        assert!(SPEC.contains(shown), "{shown}");
    }
}
