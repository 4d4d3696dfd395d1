//! Hostile control messages and what becomes of them.
#![allow(missing_docs, clippy::unwrap_used, clippy::as_conversions, reason = "a test")]

use adit_wire_proto::control::{
    AgentMessage, Answer, CertificateChain, Claim, GatewayMessage, Generation, MAX_MESSAGE_BYTES,
    MessageDecoder, Register, Registered, RegistrationId, Request, RequestNumber, RotatedSecret, TlsMode,
    VisitorToken,
};
use adit_wire_proto::credential::{ChannelBinding, Credential, CredentialKind};
use adit_wire_proto::{CloseCode, MessageError, Protocol};
use bytes::{Bytes, BytesMut};
use std::time::Duration;

/// A length-delimited field of protobuf.
fn field(number: u32, octets: &[u8]) -> Vec<u8> {
    let mut out = varint(u64::from(number << 3 | 2));
    out.extend(varint(octets.len() as u64));
    out.extend(octets);
    out
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// An AgentMessage with number 1 around this Register.
fn register_message(register: &[u8]) -> Bytes {
    let mut out = vec![0x08, 0x01];
    out.extend(field(4, register));
    out.into()
}

fn code(octets: impl Into<Bytes>) -> CloseCode {
    AgentMessage::decode(octets.into()).unwrap_err().close_code()
}

fn decode_register(register: &[u8]) -> Register {
    let message = AgentMessage::decode(register_message(register)).unwrap();
    let AgentMessage::Request { request: Request::Register(register), .. } = message else { panic!() };
    *register
}

#[test]
fn w08_unknown_fields_are_ignored_and_of_a_repeated_singular_field_the_last_counts() {
    let mut wire = field(200, b"from the future");
    wire.extend(field(1, b"first"));
    wire.extend(field(1, b"last"));
    wire.extend([0x30, 0x63]); // tls_mode = 99
    let register = decode_register(&wire);
    assert_eq!(register.claim, Claim::Name("last".into()));
    assert_eq!(register.tls_mode, TlsMode::from_i32(99));
    assert_eq!(register.tls_mode.name(), None);
}

#[test]
fn w09_ten_thousand_levels_of_nesting_are_malformed() {
    // Groups: the one thing that protobuf nests without end in unknown fields.
    let groups = [0xa3, 0x06].repeat(10_000);
    assert_eq!(code(groups), CloseCode::MALFORMED);
    let mut nested = Vec::new();
    for _ in 0..10_000 {
        nested = field(4, &nested[..nested.len().min(60_000)]);
    }
    let _ = AgentMessage::decode(nested.into());
}

#[test]
fn w10_text_that_is_no_utf8_is_malformed() {
    assert_eq!(code(register_message(&field(1, b"\xff\xfe"))), CloseCode::MALFORMED);
}

#[test]
fn w11_a_message_over_64_kib_is_refused_on_its_length_alone() {
    for length in [MAX_MESSAGE_BYTES as u32 + 1, u32::MAX] {
        let mut input = BytesMut::from(&length.to_be_bytes()[..]);
        let error = MessageDecoder::new().decode(&mut input).unwrap_err();
        assert_eq!(error.close_code(), CloseCode::FRAME_TOO_LARGE);
    }
    assert_eq!(code(vec![0; MAX_MESSAGE_BYTES + 1]), CloseCode::FRAME_TOO_LARGE);
}

#[test]
fn w11_ten_thousand_labels_are_too_many() {
    let mut wire = Vec::new();
    for number in 0..10_000_u32 {
        wire.extend(field(11, &field(1, &number.to_be_bytes()[2..])));
        if wire.len() > 60_000 {
            break;
        }
    }
    let wire = register_message(&wire.iter().map(|octet| octet & 0x7f).collect::<Vec<_>>());
    assert_eq!(code(wire), CloseCode::FRAME_TOO_LARGE);
}

#[test]
fn w11_each_field_has_its_own_limit() {
    for (number, limit) in [(1, 100), (2, 128), (3, 253), (9, 400), (10, 2000), (12, 16_384), (15, 64)] {
        assert!(AgentMessage::decode(register_message(&field(number, &vec![b'x'; limit]))).is_ok());
        let over = register_message(&field(number, &vec![b'x'; limit + 1]));
        assert_eq!(code(over), CloseCode::FRAME_TOO_LARGE, "field {number}");
    }
}

#[test]
fn w12_octets_left_over_after_a_message_are_malformed() {
    let message = register_message(&field(1, b"a"));
    for tail in [&[0xff][..], &[0x00], &[0x0a, 0x05, 0x01], &[0x07]] {
        let mut octets = message.to_vec();
        octets.extend(tail);
        assert_eq!(code(octets), CloseCode::MALFORMED, "{tail:?}");
    }
}

#[test]
fn w13_varints_over_64_bits_are_malformed() {
    let eleven = [&[0x08][..], &[0x80; 10], &[0x01]].concat();
    let above = [&[0x08][..], &[0xff; 9], &[0x02]].concat();
    assert_eq!(code(eleven), CloseCode::MALFORMED);
    assert_eq!(code(above), CloseCode::MALFORMED);
}

#[test]
fn w02_every_prefix_of_every_message_asks_for_more_or_is_malformed_and_never_panics() {
    let request = Request::Register(Box::new(Register::new(Protocol::TCP, Claim::Name("my-db".into()))));
    let wire = AgentMessage::Request { number: RequestNumber::FIRST, request }.encode().unwrap();
    for cut in 0..wire.len() {
        let mut input = BytesMut::from(&wire[..cut]);
        assert_eq!(MessageDecoder::new().decode(&mut input), Ok(None));
        let _ = AgentMessage::decode(wire.slice(4..).slice(..cut.saturating_sub(4)));
    }
}

#[test]
fn w03_nothing_is_reserved_for_a_length_that_is_announced() {
    let counted = allocation_counter::measure(|| {
        let mut input = BytesMut::with_capacity(4);
        input.extend_from_slice(&(MAX_MESSAGE_BYTES as u32).to_be_bytes());
        assert_eq!(MessageDecoder::new().decode(&mut input), Ok(None));
    });
    assert!(counted.bytes_max < 128, "{}", counted.bytes_max);
}

#[test]
fn w19_a_proof_or_id_of_another_form_is_wrong_and_an_absurd_one_too_large() {
    let hello = |proof: &[u8]| field(2, &[field(1, b"offer"), field(2, proof)].concat());
    for length in [1, 31, 33, 512] {
        assert_eq!(code(hello(&vec![7; length])), CloseCode::AUTH_FAILED, "{length}");
    }
    for length in [513, 60_000] {
        assert_eq!(code(hello(&vec![7; length])), CloseCode::FRAME_TOO_LARGE, "{length}");
    }
    assert_eq!(code(field(3, &field(1, &[7; 31]))), CloseCode::AUTH_FAILED);
    let offer = |id: &[u8]| {
        let wire = [vec![0x08, 1, 0x10, 1], field(5, &[1; 32]), field(6, id)].concat();
        adit_wire_proto::control::Offer::decode(wire.into()).unwrap_err().close_code()
    };
    assert_eq!(offer(b"adk_0123456789abcde"), CloseCode::AUTH_FAILED);
    assert_eq!(offer(&[b'a'; 513]), CloseCode::FRAME_TOO_LARGE);
}

#[test]
fn w29_no_secret_in_the_debug_text_of_any_message() {
    let canary = Credential::from_random(CredentialKind::ConnectSecret, 1, [0xc5; 32]);
    let text = canary.reveal();
    let secret = &text[21..60];
    let mut registered = Registered::new(RegistrationId::FIRST, Generation::FIRST, "a");
    registered.visitor_token = VisitorToken::new("canary-visitor".into());
    let rotated = RotatedSecret::new(canary.clone(), Duration::ZERO);
    let answers = [Answer::Registered(Box::new(registered)), Answer::RotatedSecret(rotated)];
    for answer in answers {
        let message = GatewayMessage::Answer { number: RequestNumber::FIRST, answer };
        let shown = format!("{message:?} {:?}", GatewayMessage::decode(message.encode().unwrap().slice(4..)));
        assert!(!shown.contains("canary-visitor") && !shown.contains(secret), "{shown}");
        assert!(!shown.contains("197, 197"), "{shown}");
    }
    let error = GatewayMessage::decode(field(9, &field(1, text[..50].as_bytes())).into()).unwrap_err();
    assert!(!format!("{error:?} {error}").contains(&text[21..40]));
    let binding = format!("{:?}", ChannelBinding::tls_exporter([0xc5; 32]));
    assert!(!binding.contains("197"), "{binding}");
}

#[test]
fn w25_limits_on_our_own_side_are_errors_and_nothing_is_sent() {
    let long = Register::new(Protocol::HTTP, Claim::Name("x".repeat(101)));
    let request = Request::Register(Box::new(long));
    let error = AgentMessage::Request { number: RequestNumber::FIRST, request }.encode().unwrap_err();
    assert_eq!(error, MessageError::FieldTooLarge { field: "register.name", limit: 100 });
    let chain = vec![Bytes::from(vec![1; 49_153])];
    let chain = CertificateChain::new(RegistrationId::FIRST, chain, Duration::ZERO, Duration::ZERO);
    let answer = Answer::Certificate(chain);
    assert!(GatewayMessage::Answer { number: RequestNumber::FIRST, answer }.encode().is_err());
}

#[test]
fn a_request_without_number_and_a_notice_with_one_are_malformed() {
    assert_eq!(code(field(4, b"")), CloseCode::MALFORMED);
    let drain = [vec![0x08, 0x01], field(12, b"")].concat();
    assert_eq!(GatewayMessage::decode(drain.into()).unwrap_err().close_code(), CloseCode::MALFORMED);
}
