//! The last frame of a connection.

use crate::head;
use crate::raw::{DATA, END_HEADERS, END_STREAM, GET, GOAWAY, HEADERS, PING, RawClient, RawFrame, frames};
use adit_mux::carrier::h2::dialect::{Connection, Limits, LinkError};
use bytes::Bytes;
use http::Response;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, ReadBuf, duplex};

/// A connection that keeps every octet that was read from it.
struct Recorder {
    io: DuplexStream,
    read: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    fn new(io: DuplexStream) -> (Self, Arc<Mutex<Vec<u8>>>) {
        let read = Arc::new(Mutex::new(Vec::new()));
        (Self { io, read: Arc::clone(&read) }, read)
    }
}

impl AsyncRead for Recorder {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = out.filled().len();
        let answer = Pin::new(&mut self.io).poll_read(task, out);
        self.read.lock().unwrap().extend_from_slice(&out.filled()[before..]);
        answer
    }
}

impl AsyncWrite for Recorder {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(task, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(task)
    }
}

fn goaway(frame: &RawFrame) -> (u32, u32, &[u8]) {
    assert_eq!((frame.kind, frame.flags, frame.stream), (GOAWAY, 0, 0));
    let number = |at: usize| u32::from_be_bytes(frame.payload[at..at + 4].try_into().unwrap());
    (number(0), number(4), &frame.payload[8..])
}

#[tokio::test]
async fn the_servers_last_frame_is_goaway_with_its_code_and_debug_data_behind_all_it_sent() {
    // A connection that takes few octets at a time: the frame must not stand in the middle of another.
    for room in [64, 1_000, 300_000] {
        let (near, far) = duplex(room);
        let (near, read) = Recorder::new(near);
        let limits = Limits::default();
        let (mut client, mut server) =
            tokio::try_join!(Connection::client(near, &limits), Connection::server(far, &limits)).unwrap();
        let mut opener = client.opener().unwrap();
        let mut driving = tokio::spawn(async move { client.accept().await.map(|asked| asked.err()) });
        let (exchange, asked) = tokio::join!(opener.open(head("/")), server.accept());
        let mut answered = asked.unwrap().unwrap().answer(Response::new(())).unwrap();
        let mut octets = Bytes::from(vec![7; 200_000]);
        // As the windows allow, though nothing was written yet: the budget is 256 KiB.
        let sent = std::future::poll_fn(|task| {
            let mut sent = 0;
            while !octets.is_empty()
                && let Poll::Ready(Ok(more)) = answered.send.poll_send(task, &mut octets)
            {
                sent += more;
            }
            Poll::Ready(sent)
        })
        .await;
        let code = 0xad17_0012;
        server.close(code, b"drained: 10.0.0.7 takes over", Duration::from_secs(60)).await.unwrap();
        let ended = (&mut driving).await.unwrap();
        let read = read.lock().unwrap().clone();
        let frames = frames(&read);
        let (last_id, said, debug_data) = goaway(frames.last().unwrap());
        assert_eq!((last_id, said), (1, code));
        assert_eq!(debug_data, b"drained: 10.0.0.7 takes over");
        assert_eq!(frames.iter().filter(|frame| frame.kind == GOAWAY).count(), 1);
        let came: usize =
            frames.iter().filter(|frame| frame.kind == DATA).map(|frame| frame.payload.len()).sum();
        assert_eq!(came, sent, "what the windows let through comes before it");
        let error = ended.flatten();
        assert_eq!(error.and_then(|error| error.code()), Some(code), "a client of crate h2 understands it");
        drop((exchange, answered));
    }
}

#[tokio::test]
async fn the_clients_last_frame_is_goaway_too() {
    let (near, far) = duplex(1_000);
    let (far, read) = Recorder::new(far);
    let limits = Limits::default();
    let (mut client, mut server) =
        tokio::try_join!(Connection::client(near, &limits), Connection::server(far, &limits)).unwrap();
    let mut opener = client.opener().unwrap();
    let serving = tokio::spawn(async move {
        let mut parked = Vec::new();
        while let Some(Ok(asked)) = server.accept().await {
            parked.push(asked);
        }
        parked.len()
    });
    // Two requests that nobody answers: references to them must not keep the connection from ending.
    let first = tokio::select! {
        asking = opener.open(head("/next")) => asking.unwrap(),
        _ = client.accept() => panic!("a server opens nothing"),
    };
    let second = opener.ask(head("/next")).await.unwrap();
    client.close(7, &[b'd'; 20_000], Duration::from_secs(60)).await.unwrap();
    assert_eq!(serving.await.unwrap(), 2);
    let read = read.lock().unwrap().clone();
    let all = frames(read.strip_prefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap());
    let (last_id, code, debug_data) = goaway(all.last().unwrap());
    assert_eq!((last_id, code, debug_data.len()), (0, 7, 16_376), "cut to a frame that every peer takes");
    assert_eq!(all.iter().filter(|frame| frame.kind == GOAWAY).count(), 1);
    drop((first, second));
}

#[tokio::test]
async fn after_a_drain_of_http2_itself_the_last_word_is_still_ours() {
    let (near, far) = duplex(64 * 1024);
    let serving = tokio::spawn(async move {
        let mut server = Connection::server(far, &Limits::default()).await.unwrap();
        let asked = server.accept().await.unwrap().unwrap();
        server.drain();
        asked.answer_whole(Response::new(())).unwrap();
        assert!(server.accept().await.is_none(), "the open request finished");
        server.close(0x42, b"bye", Duration::from_secs(60)).await
    });
    let mut client = RawClient::new(near).await;
    assert!(client.send(HEADERS, END_HEADERS | END_STREAM, 1, GET).await);
    let first = client.next(GOAWAY).await.unwrap();
    assert_eq!(goaway(&first), (0x7fff_ffff, 0, &b""[..]), "open no more");
    let ping = client.next(PING).await.unwrap();
    assert!(client.send(PING, 1, 0, &ping.payload).await);
    let mut last = None;
    while let Some(frame) = client.next(GOAWAY).await {
        last = Some(frame);
    }
    assert_eq!(goaway(&last.unwrap()), (1, 0x42, &b"bye"[..]));
    drop(client);
    assert_eq!(serving.await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_is_given_up_in_time_and_one_that_only_stays_is_no_error() {
    let (near, far) = duplex(64);
    let limits = Limits::default();
    let server = Connection::server(far, &limits);
    let (mut near, server) = tokio::join!(
        async {
            let mut near = near;
            tokio::io::AsyncWriteExt::write_all(
                &mut near,
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
            )
            .await
            .unwrap();
            near
        },
        server
    );
    let closed = server.unwrap().close(1, &[b'x'; 1_000], Duration::from_secs(5)).await;
    assert_eq!(closed, Err(LinkError::TimedOut));
    let mut rest = Vec::new();
    near.read_to_end(&mut rest).await.unwrap();

    let (near, far) = duplex(64 * 1024);
    let (client, server) =
        tokio::try_join!(Connection::client(near, &limits), Connection::server(far, &limits)).unwrap();
    let closed = server.close(1, b"said", Duration::from_secs(5)).await;
    assert_eq!(closed, Ok(()), "it has all, and keeps its side open");
    drop(client);
}
