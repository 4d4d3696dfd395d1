//! Clients that attack HTTP/2 itself (M-23), against the layer that sessions stand on too.

use crate::raw::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GET, HEADERS, PADDED, RST_STREAM, RawClient,
    indexed_literal, literal,
};
use crate::{Asked, run};
use adit_mux::carrier::h2::{
    dialect::{Connection, Limits},
    start,
};
use adit_mux::{Config, Role};
use tokio::io::duplex;
use tokio::sync::mpsc;

/// A server with the default limits, and a client that writes what it likes.
async fn server() -> (RawClient, mpsc::UnboundedReceiver<Asked>) {
    server_with(Limits::default()).await
}

async fn server_with(limits: Limits) -> (RawClient, mpsc::UnboundedReceiver<Asked>) {
    let (near, far) = duplex(64 * 1024);
    let (pass_on, asked) = mpsc::unbounded_channel();
    tokio::spawn(async move { run(Connection::server(far, &limits).await.unwrap(), pass_on).await });
    (RawClient::new(near).await, asked)
}

/// The server still answers on `stream`.
async fn is_alive(client: &mut RawClient, asked: &mut mpsc::UnboundedReceiver<Asked>, stream: u32) {
    assert!(client.send(HEADERS, END_HEADERS | END_STREAM, stream, GET).await);
    let next = asked.recv().await.unwrap();
    assert_eq!(next.id(), stream);
    next.answer_whole(http::Response::new(())).unwrap();
    assert_eq!(client.next(HEADERS).await.unwrap().stream, stream);
}

#[tokio::test]
async fn m23_a_flood_of_continuations_ends_the_connection_within_a_few_frames() {
    let (mut client, _asked) = server().await;
    assert!(client.send(HEADERS, 0, 1, GET).await);
    let mut sent = 0;
    // 16 KiB each that say nothing: literals of the same name.
    let block = literal(b"x", &[b'x'; 1000]).repeat(16);
    while sent < 1_000 && client.send(CONTINUATION, 0, 1, &block).await {
        sent += 1;
    }
    assert!(sent < 1_000, "it was never stopped");
    assert_eq!(client.goaway().await, Some(0xb), "ENHANCE_YOUR_CALM");
}

#[tokio::test]
async fn m23_a_flood_of_empty_continuations_ends_the_connection_too() {
    let (mut client, _asked) = server().await;
    assert!(client.send(HEADERS, 0, 1, GET).await);
    let mut sent = 0;
    while sent < 100_000 && client.send(CONTINUATION, 0, 1, &[]).await {
        sent += 1;
    }
    assert!(sent < 100_000, "it was never stopped");
    assert_eq!(client.goaway().await, Some(0xb), "ENHANCE_YOUR_CALM");
}

#[tokio::test]
async fn m23_an_hpack_bomb_is_not_unpacked() {
    // A field of 3,900 octets in the table, then references to it: at 8,000, 32 MB in 12 KB.
    let bomb = |references| {
        let mut block = GET.to_vec();
        block.extend_from_slice(&indexed_literal(b"x", &[b'x'; 3_900]));
        block.extend(std::iter::repeat_n(0xbe, references));
        block
    };
    let (mut client, mut asked) = server().await;
    assert!(client.send(HEADERS, END_HEADERS | END_STREAM, 1, &bomb(8)).await);
    assert!(is_431(&client.next(HEADERS).await.unwrap().payload));
    // HPACK's table is what both sides think it is: a later request may use it.
    is_alive(&mut client, &mut asked, 3).await;
    let mut block = GET.to_vec();
    block.push(0xbe);
    assert!(client.send(HEADERS, END_HEADERS | END_STREAM, 5, &block).await);
    assert_eq!(asked.recv().await.unwrap().head().headers()["x"].len(), 3_900);

    let (mut client, _asked) = server().await;
    assert!(client.send(HEADERS, END_HEADERS | END_STREAM, 1, &bomb(8_000)).await);
    assert_eq!(client.goaway().await, Some(0xb), "ENHANCE_YOUR_CALM at four times the cap");
}

#[tokio::test]
async fn m23_a_thousand_fields_over_the_cap_are_answered_with_431_and_below_it_taken() {
    let (mut client, mut asked) = server().await;
    // Each counts 34 (RFC 9113 section 6.5.2): 34,000 over 16,384.
    let mut block = GET.to_vec();
    block.extend_from_slice(&literal(b"x", b"y").repeat(1_000));
    assert!(client.send(HEADERS, END_HEADERS, 1, &block).await);
    assert!(is_431(&client.next(HEADERS).await.unwrap().payload));
    // The request's body was to come: its stream is reset so that it doesn't.
    assert_eq!(client.next(RST_STREAM).await.unwrap().stream, 1);
    let mut block = GET.to_vec();
    block.extend_from_slice(&literal(b"x", b"y").repeat(400));
    assert!(client.send(HEADERS, END_HEADERS | END_STREAM, 3, &block).await);
    assert_eq!(asked.recv().await.unwrap().head().headers().get_all("x").iter().count(), 400);
    is_alive(&mut client, &mut asked, 5).await;
}

#[tokio::test]
async fn m23_a_table_larger_than_allowed_ends_the_connection() {
    let (mut client, _asked) = server().await;
    // RFC 7541 section 6.3: a size update to 5,000, where 4,096 are allowed.
    let mut block = vec![0x3f, 0xe9, 0x26];
    block.extend_from_slice(GET);
    assert!(client.send(HEADERS, END_HEADERS | END_STREAM, 1, &block).await);
    // RFC 9113 section 4.3 has COMPRESSION_ERROR (9); crate h2 says PROTOCOL_ERROR. Both end the connection.
    assert!(matches!(client.goaway().await, Some(0x1 | 0x9)));
}

#[tokio::test]
async fn m23_padding_of_255_is_taken_off_and_counts_against_the_window_and_too_much_is_an_error() {
    let (mut client, mut asked) = server().await;
    let mut block = vec![255];
    block.extend_from_slice(GET);
    block.extend_from_slice(&[0; 255]);
    assert!(client.send(HEADERS, END_HEADERS | PADDED, 1, &block).await);
    let (head, _reply, mut receive) = asked.recv().await.unwrap().into_parts();
    assert_eq!(head.uri().path(), "/");
    let mut padded = vec![255];
    padded.extend_from_slice(b"payload");
    padded.extend_from_slice(&[0; 255]);
    for _ in 0..1_000 {
        // A megabyte with padding, in a window of 256 KiB: what is padding goes back by itself.
        assert!(client.send(DATA, PADDED, 1, &padded).await);
        let octets = receive.data().await.unwrap().unwrap();
        assert_eq!(octets.as_ref(), b"payload");
        receive.release(octets.len()).unwrap();
    }
    assert!(client.send(DATA, PADDED, 1, &[7, 1, 2, 3]).await);
    assert_eq!(client.goaway().await, Some(0x1), "PROTOCOL_ERROR");
}

/// An extended CONNECT (RFC 8441) with these fields and the others that it must have.
fn extended_connect(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = literal(b":method", b"CONNECT");
    for (name, value) in fields {
        block.extend_from_slice(&literal(name, value));
    }
    block.extend_from_slice(&literal(b":authority", b"adit"));
    block
}

#[tokio::test]
async fn m24_extended_connect_without_the_setting_or_without_path_is_reset_and_the_connection_lives() {
    const WHOLE: &[(&[u8], &[u8])] = &[(b":protocol", b"adit"), (b":scheme", b"https"), (b":path", b"/x")];
    let (mut client, mut asked) = server().await;
    assert!(client.send(HEADERS, END_HEADERS, 1, &extended_connect(WHOLE)).await);
    assert_eq!(asked.recv().await.unwrap().protocol(), Some("adit"), "a good one is taken");
    assert!(client.send(HEADERS, END_HEADERS, 3, &extended_connect(&WHOLE[..2])).await);
    is_reset(&mut client, 3).await;
    is_alive(&mut client, &mut asked, 5).await;

    let (mut client, mut asked) = server_with(Limits::default().extended_connect(false)).await;
    assert!(client.send(HEADERS, END_HEADERS, 1, &extended_connect(WHOLE)).await);
    is_reset(&mut client, 1).await;
    is_alive(&mut client, &mut asked, 3).await;
}

/// The server reset `stream` with PROTOCOL_ERROR.
async fn is_reset(client: &mut RawClient, stream: u32) {
    loop {
        let reset = client.next(RST_STREAM).await.unwrap();
        if reset.stream == stream {
            return assert_eq!(reset.payload, [0, 0, 0, 1]);
        }
    }
}

#[tokio::test]
async fn m24_a_request_without_path_is_reset() {
    let (mut client, mut asked) = server().await;
    assert!(client.send(HEADERS, END_HEADERS | END_STREAM, 1, &[0x82, 0x87]).await);
    let reset = client.next(RST_STREAM).await.unwrap();
    assert_eq!((reset.stream, reset.payload), (1, vec![0, 0, 0, 1]));
    is_alive(&mut client, &mut asked, 3).await;
}

#[tokio::test]
async fn m23_the_session_of_a_flooding_gateway_ends_and_says_why() {
    let (near, far) = duplex(64 * 1024);
    let (session, _incoming, driver) = start(Role::Dialler, far, &Config::default());
    tokio::spawn(driver);
    let mut client = RawClient::new(near).await;
    assert!(client.send(HEADERS, 0, 1, GET).await);
    while client.send(CONTINUATION, 0, 1, &[]).await {}
    assert_eq!(client.goaway().await, Some(0xb));
    let end = session.closed().await;
    assert_eq!(end.close_code(), adit_wire_proto::CloseCode::ENHANCE_CALM, "{end}");
}

/// `:status` with the value 431, as a literal with the static table's name.
fn is_431(block: &[u8]) -> bool {
    let plain = block.windows(4).any(|part| part == [3, b'4', b'3', b'1']);
    // "431" in HPACK's Huffman code: 011010 011001 00001 and ones.
    let packed = block.windows(4).any(|part| part == [0x83, 0x69, 0x90, 0xff]);
    plain || packed || block.windows(3).any(|part| part == [0x82, 0x69, 0x90])
}
