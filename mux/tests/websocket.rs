//! Sessions in WebSocket messages, and peers that break the rules of that.
#![cfg(feature = "websocket")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and owns its tasks")]

use adit_mux::carrier::websocket::{self, HandshakeError, SUBPROTOCOL, WebSocketIo};
use adit_mux::{Builder, Incoming, Role, Session, SessionEnd, Violation};
use adit_wire_proto::CloseCode;
use adit_wire_proto::frame::{Frame, Hello};
use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode as SocketClose;
use tokio_tungstenite::{WebSocketStream, client_async};

fn start(role: Role, io: WebSocketIo<DuplexStream>) -> (Session, Incoming) {
    let (session, incoming, driver) = Builder::new(role).build(io);
    tokio::spawn(driver);
    (session, incoming)
}

/// A listener, and the bare WebSocket of a client that the test plays.
async fn scripted() -> (Session, Incoming, WebSocketStream<DuplexStream>) {
    let (near, far) = duplex(4 * 1024 * 1024);
    let request = ClientRequestBuilder::new("ws://gateway.test/".parse().unwrap());
    let client = client_async(request.with_sub_protocol(SUBPROTOCOL), near);
    let (client, listener) = tokio::join!(client, websocket::accept(far));
    let (session, incoming) = start(Role::Listener, listener.unwrap());
    (session, incoming, client.unwrap().0)
}

/// The Close that the client is sent.
async fn close_of(client: &mut WebSocketStream<DuplexStream>) -> SocketClose {
    loop {
        let message = client.next().await.unwrap().unwrap();
        if let Message::Close(Some(frame)) = message {
            return frame.code;
        }
        assert!(message.is_binary(), "{message:?}");
    }
}

fn octets(frame: &Frame) -> Bytes {
    let mut octets = BytesMut::new();
    frame.encode(&mut octets);
    octets.freeze()
}

#[tokio::test]
async fn a_session_in_messages_carries_streams_both_ways() {
    for pipe in [64, 3_000, 1 << 20] {
        let (near, far) = duplex(pipe);
        let uri = "wss://gateway.test/sessions";
        let (near, far) = tokio::join!(websocket::connect(near, uri), websocket::accept(far));
        let (dialler, _keep) = start(Role::Dialler, near.unwrap());
        let (listener, mut incoming) = start(Role::Listener, far.unwrap());
        let mut ours = dialler.open("head").await.unwrap();
        let body: Vec<u8> = (0..300_000_u32).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
        let sent = body.clone();
        let echo = tokio::spawn(async move {
            let theirs = incoming.accept().await.unwrap();
            assert_eq!(theirs.head().as_ref(), b"head");
            let (mut send, mut receive) = theirs.accept().split();
            let mut all = Vec::new();
            receive.read_to_end(&mut all).await.unwrap();
            send.write_all(&all).await.unwrap();
            send.finish().unwrap();
            (send, incoming)
        });
        ours.write_all(&sent).await.unwrap();
        ours.shutdown().await.unwrap();
        let mut back = Vec::new();
        ours.read_to_end(&mut back).await.unwrap();
        assert!(back == body, "pipe of {pipe}");
        let _keep = echo.await.unwrap();
        dialler.close(CloseCode::DRAINING, "moving");
        let reason = Bytes::from_static(b"moving");
        assert_eq!(listener.closed().await, SessionEnd::Peer { code: CloseCode::DRAINING, reason });
    }
}

#[tokio::test]
async fn message_boundaries_mean_nothing_and_pings_are_answered() {
    let (_session, mut incoming, mut client) = scripted().await;
    let mut wire = octets(&Frame::Hello(Hello::new())).to_vec();
    let (id, credit, head) = (1, 100, Bytes::from_static(b"cut anywhere"));
    wire.extend_from_slice(&octets(&Frame::Open { id, credit, head, fin: true }));
    for octet in &wire {
        client.send(Message::binary(vec![*octet])).await.unwrap();
    }
    client.send(Message::binary(Bytes::new())).await.unwrap();
    client.send(Message::Ping(Bytes::from_static(b"there?"))).await.unwrap();
    assert_eq!(incoming.accept().await.unwrap().head().as_ref(), b"cut anywhere");
    loop {
        let message = client.next().await.unwrap().unwrap();
        if message.is_pong() {
            break assert_eq!(message.into_data().as_ref(), b"there?");
        }
        assert!(message.is_binary(), "{message:?}");
    }
}

#[tokio::test]
async fn a_text_message_ends_the_session_with_protocol() {
    let (session, _incoming, mut client) = scripted().await;
    client.send(Message::binary(octets(&Frame::Hello(Hello::new())))).await.unwrap();
    client.send(Message::text("hello?")).await.unwrap();
    let end = session.closed().await;
    assert_eq!(end, SessionEnd::Violation(Violation::TextMessage));
    assert_eq!(end.close_code(), CloseCode::PROTOCOL);
    assert_eq!(close_of(&mut client).await, SocketClose::Unsupported);
}

#[tokio::test]
async fn a_message_over_a_mebibyte_ends_the_session_before_it_is_kept() {
    let (session, _incoming, mut client) = scripted().await;
    let send = client.send(Message::binary(vec![0; 1024 * 1024 + 1]));
    let (_, end) = tokio::join!(send, session.closed());
    assert_eq!(end, SessionEnd::Violation(Violation::MessageTooLong));
    assert_eq!(end.close_code(), CloseCode::FRAME_TOO_LARGE);
    assert_eq!(close_of(&mut client).await, SocketClose::Size);
}

#[tokio::test]
async fn a_client_without_our_subprotocol_is_refused() {
    for protocols in [&[][..], &["mqtt", "adit.v2"]] {
        let (near, far) = duplex(64 * 1024);
        let mut request = ClientRequestBuilder::new("ws://gateway.test/".parse().unwrap());
        for protocol in protocols {
            request = request.with_sub_protocol(*protocol);
        }
        let (client, listener) = tokio::join!(client_async(request, near), websocket::accept(far));
        assert!(
            matches!(client, Err(tokio_tungstenite::tungstenite::Error::Http(answer)) if answer.status() == 400)
        );
        assert!(matches!(listener, Err(HandshakeError::Refused { status: 400 })));
    }
}

#[tokio::test]
async fn a_server_that_is_no_websocket_is_told_apart() {
    let (near, mut far) = duplex(64 * 1024);
    let answer = async {
        let mut request = [0; 1024];
        assert!(far.read(&mut request).await.unwrap() > 0);
        far.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    };
    let (refused, ()) = tokio::join!(websocket::connect(near, "wss://gateway.test/"), answer);
    assert!(matches!(refused, Err(HandshakeError::Refused { status: 403 })));
    let no_uri = websocket::connect(duplex(1).0, "no uri").await;
    assert!(matches!(no_uri, Err(HandshakeError::InvalidUri)));
}

#[tokio::test]
async fn a_websocket_that_is_cut_ends_the_session() {
    let (session, _incoming, client) = scripted().await;
    drop(client);
    assert!(matches!(session.closed().await, SessionEnd::Io { .. } | SessionEnd::Cut));
}
