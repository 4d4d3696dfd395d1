//! Frames beside another implementation, and peers that break the rules of RFC 6455.
#![cfg(feature = "websocket")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and owns its tasks")]

use adit_mux::Violation;
use adit_mux::carrier::websocket::WebSocketIo;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use proptest::prelude::*;
use std::io::IoSlice;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

/// What the other implementation sends, or we write.
#[derive(Clone, Debug)]
enum Said {
    Octets(Vec<u8>),
    /// A message in fragments, with a ping between them.
    Fragments(Vec<Vec<u8>>),
    Ping(Vec<u8>),
}

fn octets(most: usize) -> impl Strategy<Value = Vec<u8>> {
    // The lengths at which heads change are as likely as all others.
    let length = prop_oneof![0..most, Just(125), Just(126), Just(127), Just(65_535), Just(65_536)];
    (length, any::<u8>()).prop_map(|(length, seed)| {
        (0..length).map(|at| at.to_le_bytes()[0].wrapping_mul(31) ^ at.to_le_bytes()[1] ^ seed).collect()
    })
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        4 => octets(3_000).prop_map(Said::Octets),
        1 => prop::collection::vec(octets(300), 1..4).prop_map(Said::Fragments),
        1 => prop::collection::vec(any::<u8>(), 0..=125).prop_map(Said::Ping),
    ]
}

/// Ours, as `role`, and theirs.
async fn ends(role: Role, pipe: usize) -> (WebSocketIo<DuplexStream>, WebSocketStream<DuplexStream>) {
    let (near, far) = duplex(pipe);
    match role {
        Role::Client => (
            WebSocketIo::upgraded_client(near, Bytes::new()),
            WebSocketStream::from_raw_socket(far, Role::Server, None).await,
        ),
        Role::Server => (
            WebSocketIo::upgraded_server(near, Bytes::new()),
            WebSocketStream::from_raw_socket(far, Role::Client, None).await,
        ),
    }
}

fn fragment(kind: Data, is_final: bool, octets: &[u8]) -> Message {
    Message::Frame(Frame::message(octets.to_vec(), OpCode::Data(kind), is_final))
}

/// Theirs says all and closes; gives what of it we read.
async fn listen(role: Role, all: &[Said], by: usize) -> Vec<u8> {
    let (mut ours, theirs) = ends(role, 64 * 1024).await;
    let (mut sink, mut stream) = theirs.split();
    let send = async {
        for said in all.iter().cloned() {
            match said {
                Said::Octets(octets) => sink.send(Message::binary(octets)).await.unwrap(),
                Said::Ping(payload) => sink.send(Message::Ping(payload.into())).await.unwrap(),
                Said::Fragments(parts) => {
                    let last = parts.len() - 1;
                    for (at, part) in parts.iter().enumerate() {
                        let kind = if at == 0 { Data::Binary } else { Data::Continue };
                        sink.send(fragment(kind, at == last, part)).await.unwrap();
                    }
                }
            }
        }
        let frame = CloseFrame { code: CloseCode::Away, reason: "done".into() };
        sink.send(Message::Close(Some(frame))).await.unwrap();
    };
    let receive = async {
        let mut pong = None;
        while let Some(message) = stream.next().await {
            match message.unwrap() {
                Message::Pong(payload) => pong = Some(payload.to_vec()),
                Message::Close(close) => assert_eq!(close.unwrap().code, CloseCode::Away),
                other @ (Message::Binary(_) | Message::Text(_) | Message::Ping(_) | Message::Frame(_)) => {
                    panic!("{other:?}")
                }
            }
        }
        pong
    };
    let read = async {
        let (mut all, mut buffer) = (Vec::new(), vec![0; by]);
        loop {
            match ours.read(&mut buffer).await.unwrap() {
                0 => break,
                read => all.extend_from_slice(&buffer[..read]),
            }
        }
        // Nothing is sent behind a Close.
        assert_eq!(ours.write(b"late").await.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
        // What was owed at the end, pong and Close, waits for its turn like any write.
        ours.shutdown().await.unwrap();
        drop(ours);
        all
    };
    let ((), pong, read) = tokio::join!(send, receive, read);
    let last_ping = all.iter().rev().find_map(|said| match said {
        Said::Ping(payload) => Some(payload.clone()),
        Said::Octets(_) | Said::Fragments(_) => None,
    });
    assert_eq!(pong, last_ping);
    read
}

/// Writes `octets` in pieces and closes; gives what theirs reads.
async fn speak(role: Role, pipe: usize, octets: &[u8], by: usize) -> Vec<u8> {
    let (ours, mut theirs) = ends(role, pipe).await;
    let (_reader, mut writer) = ours.split_with(tokio::io::split);
    let write = async {
        for (at, mut rest) in octets.chunks(by).enumerate() {
            while !rest.is_empty() {
                let (first, second) = rest.split_at([0, 1, 7, 64][at % 4].min(rest.len()));
                let slices = [IoSlice::new(first), IoSlice::new(second)];
                rest = &rest[writer.write_vectored(&slices).await.unwrap()..];
            }
        }
        writer.shutdown().await.unwrap();
        assert_eq!(writer.write(b"late").await.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    };
    let read = async {
        let mut all = Vec::new();
        loop {
            match theirs.next().await.unwrap().unwrap() {
                Message::Binary(octets) => all.extend_from_slice(&octets),
                Message::Close(close) => {
                    assert_eq!(close.unwrap().code, CloseCode::Normal);
                    break all;
                }
                other @ (Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {
                    panic!("{other:?}")
                }
            }
        }
    };
    tokio::join!(write, read).1
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn another_implementation_understands_us_and_we_it(
        said in prop::collection::vec(said(), 0..10),
        is_client in any::<bool>(),
        by in prop_oneof![Just(1_usize), 2..200_usize, Just(70_000)],
        pipe in prop_oneof![Just(40_usize), Just(5_000), Just(1 << 20)],
    ) {
        let role = if is_client { Role::Client } else { Role::Server };
        let octets: Vec<u8> = said
            .iter()
            .flat_map(|said| match said {
                Said::Octets(octets) => octets.clone(),
                Said::Fragments(parts) => parts.concat(),
                Said::Ping(_) => Vec::new(),
            })
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        prop_assert!(runtime.block_on(listen(role, &said, by)) == octets);
        prop_assert!(runtime.block_on(speak(role, pipe, &octets, by)) == octets);
    }
}

#[tokio::test]
async fn a_frame_that_breaks_a_rule_is_answered_with_its_close_and_ends_the_reading() {
    let table: &[(&[u8], u16)] = &[
        (&[0xc2, 0x00], 1002),
        (&[0x81, 0x01, b'a'], 1003),
        (&[0x88, 0x03, 0x03, 0xe8, 0xff], 1007),
        (&[0x82, 0x7f, 0, 0, 0, 0, 0, 0x10, 0, 1], 1009),
    ];
    for (frame, number) in table {
        let (near, mut far) = duplex(1_000);
        let mut ours = WebSocketIo::upgraded_client(near, Bytes::from_static(&[0x82, 0x02, b'o']))
            .randomness(|octets| {
                octets.fill(0);
                Ok(())
            });
        far.write_all(b"k").await.unwrap();
        far.write_all(frame).await.unwrap();
        let mut before = [0; 2];
        ours.read_exact(&mut before).await.unwrap();
        assert_eq!(&before, b"ok");
        for _ in 0..2 {
            let error = ours.read(&mut before).await.unwrap_err();
            assert!(error.get_ref().unwrap().is::<Violation>(), "{error}");
        }
        drop(ours);
        let mut answer = Vec::new();
        far.read_to_end(&mut answer).await.unwrap();
        let [high, low] = number.to_be_bytes();
        // Masked with the key of zeros that it was given.
        assert_eq!(answer, [0x88, 0x82, 0, 0, 0, 0, high, low]);
    }
}

#[tokio::test]
async fn a_peer_that_sends_pings_and_reads_nothing_makes_nothing_grow() {
    let (near, mut far) = duplex(64);
    let mut ours = WebSocketIo::upgraded_client(near, Bytes::new());
    let flood = async {
        for at in 0..10_000_u16 {
            let [high, low] = at.to_be_bytes();
            far.write_all(&[0x89, 0x02, high, low]).await.unwrap();
        }
        far.write_all(&[0x82, 0x01, b'x']).await.unwrap();
    };
    let mut octet = [0; 1];
    let (read, ()) = tokio::join!(ours.read_exact(&mut octet), flood);
    read.unwrap();
    assert_eq!(&octet, b"x");
    // What the pipe held, one that was under way, and the last: none of the others was kept.
    let answers = async {
        ours.flush().await.unwrap();
        drop(ours);
    };
    let mut all = Vec::new();
    let ((), read) = tokio::join!(answers, far.read_to_end(&mut all));
    read.unwrap();
    assert!(all.len() <= 64 + 2 * 8, "{}", all.len());
    let last: Vec<u8> =
        all[all.len() - 2..].iter().zip(&all[all.len() - 6..]).map(|(octet, key)| octet ^ key).collect();
    assert_eq!(last, 9_999_u16.to_be_bytes());
}

#[tokio::test]
async fn what_was_taken_arrives_as_a_whole_message_though_nothing_is_said_after_it() {
    for role in [Role::Client, Role::Server] {
        let (mut ours, mut theirs) = ends(role, 100).await;
        let octets = vec![7; 50_000];
        let write = async {
            let taken = ours.write(&octets).await.unwrap();
            ours.flush().await.unwrap();
            (taken, ours)
        };
        let ((taken, _ours), message) = tokio::join!(write, theirs.next());
        assert_eq!(message.unwrap().unwrap().into_data().as_ref(), &octets[..taken]);
    }
}
