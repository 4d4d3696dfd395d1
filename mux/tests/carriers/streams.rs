//! What a stream does.

use crate::on_every_carrier;
use crate::pair::{On, Pair};
use adit_mux::{Config, DatagramError, OpenError, RelayEnd, RelayOptions, Stream, StreamError, relay};
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use std::collections::HashMap;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

on_every_carrier! {
    either_side_opens_and_each_way_ends_apart
    heads_of_every_length_arrive_whole
    the_acceptor_may_speak_first
    megabytes_arrive_whole_in_chunks_and_in_slices
    a_reset_and_a_stop_end_one_half_each_with_its_code
    a_stop_right_behind_the_open_is_heard_whatever_else_goes_on
    a_refused_stream_fails_on_both_halves_with_the_code
    a_stream_nobody_takes_up_is_refused
    m14_half_close_is_no_close
    m09_one_reader_stops_and_the_others_go_on
    m31_a_write_given_up_sends_nothing
    a_dropped_stream_is_cancelled_both_ways
    openers_wait_for_the_peers_limit
    datagrams_keep_their_flow_and_say_their_size
    two_streams_are_relayed_with_their_codes
    a_write_after_the_end_is_an_error_of_the_stream
}

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at ^ (at >> 8)) % 251).unwrap()).collect()
}

/// Writes until the peer's stop is seen.
pub(crate) async fn write_until_stopped(stream: &mut Stream) -> StreamError {
    loop {
        match stream.write_chunk(Bytes::from_static(b"x")).await {
            Ok(()) => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(error) => break error,
        }
    }
}

async fn either_side_opens_and_each_way_ends_apart(on: On) {
    let Pair { mut agent, mut gateway } = Pair::new(on).await;
    for (opener, acceptor) in [(0, 1), (1, 0)] {
        let ends = [&mut agent, &mut gateway];
        let mut ours = ends[opener].session.open("a head").await.unwrap();
        ours.write_all(b"ping").await.unwrap();
        ours.shutdown().await.unwrap();
        let theirs = ends[acceptor].incoming.accept().await.unwrap();
        assert_eq!(theirs.head().as_ref(), b"a head");
        let mut theirs = theirs.accept();
        let mut text = Vec::new();
        theirs.read_to_end(&mut text).await.unwrap();
        assert_eq!(text, b"ping");
        assert_eq!(ours.id(), theirs.id());
        assert_ne!(ours.id(), 0);
        theirs.write_all(b"pong").await.unwrap();
        theirs.shutdown().await.unwrap();
        text.clear();
        ours.read_to_end(&mut text).await.unwrap();
        assert_eq!(text, b"pong");
        assert_eq!(ends[opener].session.stats().streams_opened, 1);
    }
}

async fn heads_of_every_length_arrive_whole(on: On) {
    let mut pair = Pair::new(on).await;
    for length in [0, 1, 255, 256, 4_096] {
        let head = Bytes::from(pattern(length));
        let _ours = pair.gateway.session.open(head.clone()).await.unwrap();
        assert_eq!(*pair.agent.incoming.accept().await.unwrap().head(), head);
    }
    let length = 4_097;
    let refused = pair.gateway.session.open(vec![0; length]).await;
    assert_eq!(refused.err(), Some(OpenError::HeadTooLarge { length }));
}

async fn the_acceptor_may_speak_first(on: On) {
    let mut pair = Pair::new(on).await;
    let (mut ours, mut theirs) = pair.stream().await;
    theirs.write_all(b"220 ready\r\n").await.unwrap();
    let mut greeting = [0; 11];
    ours.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"220 ready\r\n");
}

async fn megabytes_arrive_whole_in_chunks_and_in_slices(on: On) {
    let mut pair = Pair::new(on).await;
    for in_chunks in [true, false] {
        let (ours, theirs) = pair.stream().await;
        let (mut send, mut receive) = ours.split();
        let body = pattern(3_000_000);
        let sent = Bytes::from(body.clone());
        let writer = tokio::spawn(async move {
            if in_chunks {
                for chunk in sent.chunks(100_000) {
                    send.write_chunk(sent.slice_ref(chunk)).await.unwrap();
                }
            } else {
                send.write_all(&sent).await.unwrap();
            }
            send.finish().unwrap();
        });
        let echo = tokio::spawn(async move {
            let (mut send, mut receive) = theirs.split();
            if in_chunks {
                while let Some(chunk) = receive.read_chunk().await.unwrap() {
                    send.write_chunk(chunk).await.unwrap();
                }
            } else {
                tokio::io::copy(&mut receive, &mut send).await.unwrap();
            }
            send.finish().unwrap();
        });
        let mut back = Vec::new();
        receive.read_to_end(&mut back).await.unwrap();
        assert!(back == body);
        writer.await.unwrap();
        echo.await.unwrap();
    }
}

async fn a_reset_and_a_stop_end_one_half_each_with_its_code(on: On) {
    let mut pair = Pair::new(on).await;
    for opener_acts in [true, false] {
        let (mut ours, mut theirs) = pair.stream().await;
        if !opener_acts {
            std::mem::swap(&mut ours, &mut theirs);
        }
        ours.reset(CloseCode::UPSTREAM_RESET);
        let error = theirs.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(StreamError::of(&error), Some(&StreamError::Reset { code: CloseCode::UPSTREAM_RESET }));
        // The other half doesn't care.
        theirs.write_all(b"still here").await.unwrap();
        let mut text = [0; 10];
        ours.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"still here");
        ours.stop(CloseCode::UPSTREAM_TIMEOUT);
        let error = write_until_stopped(&mut theirs).await;
        assert_eq!(error, StreamError::Stopped { code: CloseCode::UPSTREAM_TIMEOUT });
    }
}

async fn a_stop_right_behind_the_open_is_heard_whatever_else_goes_on(on: On) {
    let mut pair = Pair::new(on).await;
    let busy = pair.gateway.session.clone();
    let busy = tokio::spawn(async move {
        loop {
            // Datagrams are the session's work, beside that of its streams.
            let _ = busy.send_datagram(1, Bytes::from_static(b"x"));
            tokio::task::yield_now().await;
        }
    });
    for _ in 0..300 {
        let mut ours = pair.agent.session.open("head").await.unwrap();
        ours.stop(CloseCode::UPSTREAM_TIMEOUT);
        let mut theirs = pair.gateway.accept().await;
        let error = tokio::time::timeout(PATIENCE, write_until_stopped(&mut theirs)).await.unwrap();
        assert_eq!(error, StreamError::Stopped { code: CloseCode::UPSTREAM_TIMEOUT });
    }
    busy.abort();
}

async fn a_refused_stream_fails_on_both_halves_with_the_code(on: On) {
    let mut pair = Pair::new(on).await;
    let mut ours = pair.gateway.session.open("head").await.unwrap();
    pair.agent.incoming.accept().await.unwrap().refuse(CloseCode::UNKNOWN_TUNNEL);
    let error = ours.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(StreamError::of(&error).unwrap().close_code(), CloseCode::UNKNOWN_TUNNEL);
    assert_eq!(write_until_stopped(&mut ours).await.close_code(), CloseCode::UNKNOWN_TUNNEL);
    assert_eq!(pair.agent.session.stats().streams_refused, 1);
}

async fn a_stream_nobody_takes_up_is_refused(on: On) {
    let mut pair = Pair::new(on).await;
    let mut first = pair.gateway.session.open("head").await.unwrap();
    drop(pair.agent.incoming.accept().await.unwrap());
    assert_eq!(first.read_chunk().await.unwrap_err().close_code(), CloseCode::REFUSED);
    drop(pair.agent.incoming);
    let mut second = pair.gateway.session.open("head").await.unwrap();
    assert_eq!(second.read_chunk().await.unwrap_err().close_code(), CloseCode::REFUSED);
}

async fn m14_half_close_is_no_close(on: On) {
    let mut pair = Pair::new(on).await;
    let (mut ours, mut theirs) = pair.stream().await;
    ours.shutdown().await.unwrap();
    assert_eq!(theirs.read_chunk().await.unwrap(), None);
    for round in 0..50_u8 {
        theirs.write_all(&[round; 100]).await.unwrap();
        let mut block = [0; 100];
        ours.read_exact(&mut block).await.unwrap();
        assert_eq!(block, [round; 100]);
    }
    theirs.shutdown().await.unwrap();
    assert_eq!(ours.read_chunk().await.unwrap(), None);
}

async fn m09_one_reader_stops_and_the_others_go_on(on: On) {
    let mut pair = Pair::new(on).await;
    let (stalled, _unread) = pair.stream().await;
    let (mut send, _receive) = stalled.split();
    let filler = tokio::spawn(async move { while send.write_all(&[7; 64 * 1024]).await.is_ok() {} });
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let (ours, mut theirs) = pair.stream().await;
        let (mut send, _keep) = ours.split();
        tasks.push(tokio::spawn(async move {
            for _ in 0..16 {
                send.write_all(&[1; 64 * 1024]).await.unwrap();
            }
            send.finish().unwrap();
            _keep
        }));
        tasks.push(tokio::spawn(async move {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).await.unwrap();
            assert_eq!(all.len(), 1024 * 1024);
            theirs.split().1
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert!(!filler.is_finished(), "nobody reads it");
    filler.abort();
}

async fn m31_a_write_given_up_sends_nothing(on: On) {
    let mut pair = Pair::new(on).await;
    let (mut ours, mut theirs) = pair.stream().await;
    let mut sent = 0_usize;
    loop {
        let write = ours.write_chunk(Bytes::from(vec![1; 50_000]));
        match tokio::time::timeout(Duration::from_millis(200), write).await {
            Ok(written) => written.unwrap(),
            Err(_) => break,
        }
        sent += 50_000;
    }
    let reader = tokio::spawn(async move {
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).await.unwrap();
        (all, theirs)
    });
    ours.write_chunk(Bytes::from_static(b"after")).await.unwrap();
    ours.shutdown().await.unwrap();
    let (all, _theirs) = reader.await.unwrap();
    assert_eq!(all.len(), sent + 5);
    assert!(all.ends_with(b"\x01after"));
}

async fn a_dropped_stream_is_cancelled_both_ways(on: On) {
    let mut pair = Pair::new(on).await;
    let (ours, mut theirs) = pair.stream().await;
    drop(ours);
    assert_eq!(theirs.read_chunk().await.unwrap_err(), StreamError::Reset { code: CloseCode::CANCELLED });
    assert_eq!(write_until_stopped(&mut theirs).await, StreamError::Stopped { code: CloseCode::CANCELLED });
}

async fn openers_wait_for_the_peers_limit(on: On) {
    let mut pair = Pair::with(on, Config::default().max_peer_streams(4)).await;
    let mut held = Vec::new();
    // An opener that has a stream more than the peer grants waits, and isn't refused.
    while let Ok(opened) =
        tokio::time::timeout(Duration::from_millis(300), pair.gateway.session.open("x")).await
    {
        held.push((opened.unwrap(), pair.agent.accept().await));
        assert!(held.len() <= 8);
    }
    assert!(held.len() >= 4);
    let session = pair.gateway.session.clone();
    let opener = tokio::spawn(async move { session.open("y").await.unwrap() });
    let (mut ours, mut theirs) = held.pop().unwrap();
    ours.shutdown().await.unwrap();
    theirs.shutdown().await.unwrap();
    assert_eq!(ours.read_chunk().await.unwrap(), None);
    assert_eq!(theirs.read_chunk().await.unwrap(), None);
    drop((ours, theirs));
    assert_eq!(pair.agent.incoming.accept().await.unwrap().head().as_ref(), b"y");
    let _opened = opener.await.unwrap();
}

async fn datagrams_keep_their_flow_and_say_their_size(on: On) {
    let mut pair = Pair::new(on).await;
    let (mut ours, mut theirs) = pair.stream().await;
    ours.write_all(b"x").await.unwrap();
    theirs.read_exact(&mut [0]).await.unwrap();
    let (near, far, flow) = (&pair.gateway.session, &pair.agent.session, ours.id());
    let limit = near.max_datagram();
    assert!(limit > 1_000, "{limit}");
    let mut sizes = HashMap::new();
    for length in [0, 1, 1_000, limit] {
        near.send_datagram(flow, pattern(length)).unwrap();
        let (from, payload) = far.receive_datagram().await.unwrap();
        assert_eq!(from, theirs.id());
        assert!(payload == pattern(payload.len()));
        sizes.insert(payload.len(), ());
    }
    assert_eq!(sizes.len(), 4);
    far.send_datagram(theirs.id(), "back").unwrap();
    assert_eq!(near.receive_datagram().await.unwrap(), (flow, Bytes::from_static(b"back")));
    let length = 70_000;
    let refused = near.send_datagram(flow, vec![0; length]);
    assert!(matches!(refused, Err(DatagramError::TooLarge { length: 70_000, .. })));
    assert_eq!(near.send_datagram(0, "x"), Err(DatagramError::NoFlow));
    assert_eq!(near.stats().datagrams_sent, 4);
}

async fn two_streams_are_relayed_with_their_codes(on: On) {
    let mut pair = Pair::new(on).await;
    let (mut visitor, middle) = pair.stream().await;
    let mut second = Pair::new(On::Native).await;
    let (out, mut upstream) = second.stream().await;
    let relayed = tokio::spawn(relay(middle, out, RelayOptions::default()));
    visitor.write_all(b"request").await.unwrap();
    let mut request = [0; 7];
    upstream.read_exact(&mut request).await.unwrap();
    upstream.write_all(b"answer").await.unwrap();
    let mut answer = [0; 6];
    visitor.read_exact(&mut answer).await.unwrap();
    assert_eq!((&request, &answer), (b"request", b"answer"));
    upstream.reset(CloseCode::UPSTREAM_RESET);
    let code = CloseCode::UPSTREAM_RESET;
    assert_eq!(visitor.read_chunk().await.unwrap_err(), StreamError::Reset { code });
    let report = relayed.await.unwrap();
    assert_eq!(report.back, RelayEnd::Stream(StreamError::Reset { code }));

    let (visitor, middle) = pair.stream().await;
    let (mut socket, other) = duplex(1_000);
    let relayed = tokio::spawn(relay(middle, other, RelayOptions::default()));
    let (mut send, mut receive) = visitor.split();
    let writer = tokio::spawn(async move {
        send.write_all(&pattern(200_000)).await.unwrap();
        send.finish().unwrap();
    });
    let mut all = Vec::new();
    socket.read_to_end(&mut all).await.unwrap();
    assert!(all == pattern(200_000));
    socket.shutdown().await.unwrap();
    assert_eq!(receive.read_chunk().await.unwrap(), None);
    writer.await.unwrap();
    assert_eq!(relayed.await.unwrap().forth, RelayEnd::Finished);
}

async fn a_write_after_the_end_is_an_error_of_the_stream(on: On) {
    let mut pair = Pair::new(on).await;
    let (mut ours, _theirs) = pair.stream().await;
    ours.shutdown().await.unwrap();
    assert_eq!(ours.write_chunk(Bytes::from_static(b"x")).await, Err(StreamError::Ended));
    let (mut ours, _theirs) = pair.stream().await;
    ours.reset(CloseCode::CANCELLED);
    assert_eq!(ours.write_chunk(Bytes::from_static(b"x")).await, Err(StreamError::Ended));
    ours.stop(CloseCode::CANCELLED);
    assert!(ours.read_chunk().await.is_err());
}
