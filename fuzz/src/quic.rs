//! What visitors send over UDP before anybody is known to them.

#[path = "../../tls-modes/tests/quic/client.rs"]
#[allow(
    clippy::as_conversions,
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "shared with the tests"
)]
mod client;

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use adit_tls_modes::{
    AlertDescription, ConnectionId, FlowId, FlowLimits, InitialLimits, InitialRefusal, InitialSniff,
    InitialSniffer, QuicCrypto, QuicFront, QuicLimits, QuicVerdict, Reply,
};

use client::{Client, V1, V2};

/// First flights: raw datagrams, or frames that are sealed first so that they are read.
///
/// ```text
///  byte  0          then, up to 8 times
///       +----------+----------------+---------------------+
///       | 0 raw    | length, 2, LE  | datagram or frames  |
///       | 1 v1, 2 v2 sealed
///       +----------+----------------+---------------------+
/// ```
///
/// Properties: nothing is sent for less than 1,200 bytes, and never more than half of what came; memory stays within its
/// bounds, and is given back in time; frames that agree with each other lead to the same hello in either order.
///
/// # Panics
/// If a property is broken.
pub fn quic_initial(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else { return };
    let parts = split(rest);
    let sealed = |version| {
        let mut client = Client::new(version, DESTINATION);
        parts.iter().map(|frames| client.datagram(frames)).collect::<Vec<_>>()
    };
    match mode % 3 {
        0 => whatever_comes(&parts),
        1 => in_either_order(&sealed(V1)),
        _ => in_either_order(&sealed(V2)),
    }
}

fn whatever_comes(datagrams: &[Vec<u8>]) {
    let limits = QuicLimits::new().max_pending(3).max_pending_bytes(40_000);
    let mut front =
        QuicFront::new(*CRYPTO, limits.flows(FlowLimits::new().max_unvalidated(2).max_validated(2)));
    for (at, datagram) in (0..).zip(datagrams) {
        let peer = SocketAddr::from(([192, 0, 2, 1], at));
        let verdict = front.receive(*START, peer, datagram);
        if let QuicVerdict::Reply(answer) | QuicVerdict::Refused { answer: Some(answer), .. } = &verdict {
            assert_small(answer, datagram);
        }
        if let QuicVerdict::Hello { connection, .. } = verdict {
            decide(&mut front, at, &connection, datagrams);
        }
        assert!(front.pending() <= 3 && front.pending_bytes() <= 40_000 && front.flows().len() <= 4);
    }
    front.handle_timeout(*START + Duration::from_secs(120));
    assert!(front.pending() == 0 && front.pending_bytes() == 0 && front.flows().is_empty());
    assert_eq!(front.poll_timeout(), None);
}

/// Refuses every other connection, and admits the rest.
fn decide(front: &mut QuicFront<()>, at: u16, connection: &ConnectionId, datagrams: &[Vec<u8>]) {
    if at.is_multiple_of(2) {
        let answer = front.refuse(connection, AlertDescription::UNRECOGNIZED_NAME);
        assert!(answer.is_some_and(|answer| answer.len() < 100));
    } else if let Some(admitted) = front.admit(*START, connection, ()) {
        answer_within_three_times(front, admitted.flow(), datagrams);
    }
}

/// The visitor's own bytes stand in for the server's: whatever they are, an address that never answered gets no more of
/// them than three times what it sent.
fn answer_within_three_times(front: &mut QuicFront<()>, flow: FlowId, datagrams: &[Vec<u8>]) {
    let received: usize = datagrams.iter().map(Vec::len).sum();
    let stranger = SocketAddr::from(([198, 51, 100, 1], 9));
    for (at, datagram) in (0..).zip(datagrams) {
        let peer = SocketAddr::from(([192, 0, 2, 1], at));
        let mut sent = 0;
        for _ in 0..20 {
            if front.receive_from_upstream(*START, flow, peer, datagram) == Reply::Send {
                sent += datagram.len();
            }
        }
        assert!(sent <= 3 * received);
        let withheld = front.receive_from_upstream(*START, flow, stranger, datagram);
        assert_eq!(withheld, Reply::Withhold);
    }
}

fn assert_small(answer: &[u8], datagram: &[u8]) {
    assert!(answer.is_empty() || datagram.len() >= 1200 && answer.len() <= datagram.len() / 2);
}

fn in_either_order(datagrams: &[Vec<u8>]) {
    let (forth, complete_at_the_end) = sniff(datagrams.iter());
    if !complete_at_the_end {
        return; // What comes after the hello, or a contradiction, is not looked at; so order matters.
    }
    let (back, _) = sniff(datagrams.iter().rev());
    let too_many = matches!(back.verdict(), InitialSniff::Refused(InitialRefusal::TooManyPieces { .. }));
    assert!(too_many || forth.verdict() == back.verdict(), "{forth:?}, but backwards {back:?}");
}

/// The sniffer at the end, and whether it needed more until the last datagram and refused nothing.
fn sniff<'a>(datagrams: impl Iterator<Item = &'a Vec<u8>>) -> (InitialSniffer, bool) {
    let mut sniffer = InitialSniffer::new(*CRYPTO, InitialLimits::new());
    let mut needed_more = true;
    let mut received = 0;
    for datagram in datagrams {
        needed_more = sniffer.verdict() == InitialSniff::NeedMore;
        let _verdict = sniffer.receive(*START, datagram);
        received += datagram.len();
        // Pages of 256 bytes: two partial ones for each of 64 pieces.
        assert!(sniffer.memory_bytes() <= (received + 2 * 64 * 256).min(65_536));
    }
    let refused = matches!(sniffer.verdict(), InitialSniff::Refused(_));
    (sniffer, needed_more && !refused)
}

fn split(data: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = data;
    let mut parts = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk()
        && parts.len() < 8
    {
        let length = usize::from(u16::from_le_bytes(*length)).min(after.len()).min(MAX_PART_BYTES);
        let (part, next) = after.split_at(length);
        parts.push(part.to_vec());
        rest = next;
    }
    parts
}

static CRYPTO: LazyLock<QuicCrypto> = LazyLock::new(|| {
    let provider = rustls::crypto::ring::default_provider();
    QuicCrypto::new(&provider).expect("ring has AES-128-GCM for QUIC")
});
static START: LazyLock<Instant> = LazyLock::new(Instant::now);
const DESTINATION: &[u8] = b"any id will do";
const MAX_PART_BYTES: usize = 4000;
