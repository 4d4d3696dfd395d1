//! Requests as two-way streams.

use crate::{Pair, head};
use adit_mux::Origin;
use adit_mux::carrier::h2::dialect::{Connection, Limits, LinkError};
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

#[tokio::test]
async fn a_request_is_parked_and_answered_later() {
    let mut pair = Pair::new(Limits::default()).await;
    let mut asking = pair.opener.open(head("/next?agent=7")).await.unwrap();
    let asked = pair.next().await;
    assert_eq!((asked.head().uri().path(), asked.protocol()), ("/next", None));
    let early =
        poll_fn(|task| Poll::Ready(std::pin::Pin::new(&mut asking.answer).poll(task).is_ready())).await;
    assert!(!early, "nobody has answered");
    let answer = Response::builder().status(StatusCode::ACCEPTED).body(()).unwrap();
    let mut answered = asked.answer(answer).unwrap();
    answered.send.send(Bytes::from_static(b"visitor 9")).await.unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-load", "3".parse().unwrap());
    answered.send.finish_with(trailers).unwrap();
    let (head, mut body) = asking.answer.await.unwrap();
    assert_eq!(head.status(), StatusCode::ACCEPTED);
    assert_eq!(body.data().await.unwrap().unwrap().as_ref(), b"visitor 9");
    assert_eq!(body.data().await.unwrap(), None);
    assert_eq!(body.trailers().await.unwrap().unwrap()["x-load"], "3");
}

#[tokio::test]
async fn a_thousand_requests_are_parked_at_once_and_one_more_waits_for_its_turn() {
    let mut pair = Pair::new(Limits::default().streams(1_000)).await;
    let mut asking = Vec::new();
    let mut parked = Vec::new();
    for _ in 0..1_000 {
        asking.push(pair.opener.ask(head("/next")).await.unwrap());
        parked.push(pair.next().await);
    }
    let more = pair.opener.ask(head("/next")).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(50), pair.asked.recv()).await;
    assert!(early.is_err(), "the client keeps to the limit");
    // Answered in another order than they came.
    for (at, asked) in parked.into_iter().enumerate().rev() {
        let answer = Response::builder().header("x-at", at).body(()).unwrap();
        asked.answer_whole(answer).unwrap();
    }
    for (at, answer) in asking.into_iter().enumerate() {
        assert_eq!(answer.await.unwrap().0.headers()["x-at"], at.to_string());
    }
    pair.next().await.answer_whole(Response::new(())).unwrap();
    assert_eq!(more.await.unwrap().0.status(), StatusCode::OK);
}

#[tokio::test]
async fn raw_octets_are_bridged_over_extended_connect_both_ways_with_half_close() {
    let mut pair = Pair::new(Limits::default()).await;
    let asking = pair.opener.connect("bridge", head("/visitor/9")).await.unwrap();
    let asked = pair.next().await;
    assert_eq!((asked.protocol(), asked.head().method()), (Some("bridge"), &http::Method::CONNECT));
    let mut far = asked.answer(Response::new(())).unwrap().into_bridge();
    let mut near = asking.into_bridge().await.unwrap().unwrap();
    let body: Vec<u8> = (0..3_000_000_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let sent = body.clone();
    let echo = tokio::spawn(async move {
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.unwrap();
        far.write_all(&all).await.unwrap();
        far.shutdown().await.unwrap();
    });
    near.write_all(&sent).await.unwrap();
    near.shutdown().await.unwrap();
    let mut back = Vec::new();
    near.read_to_end(&mut back).await.unwrap();
    assert!(back == body);
    echo.await.unwrap();
}

#[tokio::test]
async fn m24_extended_connect_without_the_setting_is_not_sent() {
    let mut pair = Pair::new(Limits::default().extended_connect(false)).await;
    let refused = pair.opener.connect("bridge", head("/")).await;
    assert_eq!(refused.err(), Some(LinkError::NotOffered));
    let _asking = pair.opener.ask(head("/still-works")).await.unwrap();
    assert_eq!(pair.next().await.head().uri().path(), "/still-works");
}

#[tokio::test]
async fn codes_of_resets_arrive_as_they_were_sent_either_way() {
    let mut pair = Pair::new(Limits::default()).await;
    for code in [0, 8, 0xad17_0022, u32::MAX] {
        let asking = pair.opener.open(head("/")).await.unwrap();
        pair.next().await.reset(code);
        let error = asking.answer.await.err();
        assert_eq!(error, Some(LinkError::Reset { code, by: Origin::Peer }));

        let mut asking = pair.opener.open(head("/")).await.unwrap();
        let (_, mut reply, mut receive) = pair.next().await.into_parts();
        asking.send.reset(code);
        assert_eq!(receive.data().await.err(), Some(LinkError::Reset { code, by: Origin::Peer }));
        assert_eq!(reply.given_up().await, Ok(code), "a parked request that was given up");
    }
    let asking = pair.opener.open(head("/")).await.unwrap();
    drop(pair.next().await);
    let error = asking.answer.await.err();
    assert_eq!(error.and_then(|error| error.code()), Some(8), "dropped is cancelled");
}

#[tokio::test]
async fn a_window_grows_only_with_what_is_released() {
    let window = 50_000;
    let mut pair = Pair::new(Limits::default().window(window).send_budget(1_000_000)).await;
    let mut asking = pair.opener.open(head("/")).await.unwrap();
    let sender = tokio::spawn(async move {
        asking.send.send(Bytes::from(vec![7; 120_000])).await.unwrap();
        asking.send.finish().unwrap();
        asking
    });
    let (_, _reply, mut receive) = pair.next().await.into_parts();
    let mut came = 0;
    while came < 50_000 {
        came += receive.data().await.unwrap().unwrap().len();
    }
    let more = tokio::time::timeout(Duration::from_millis(50), receive.data()).await;
    assert!(more.is_err(), "the window is used up");
    assert_eq!((came, receive.unreleased()), (50_000, 50_000));
    assert_eq!(receive.release(50_001), Err(LinkError::Misplaced), "more than came");
    receive.release(50_000).unwrap();
    while let Some(octets) = receive.data().await.unwrap() {
        came += octets.len();
        receive.release(octets.len()).unwrap();
    }
    assert_eq!(came, 120_000);
    drop(sender.await.unwrap());
}

#[tokio::test]
async fn a_sender_waits_for_its_budget_as_for_the_window() {
    let (near, _far) = duplex(64 * 1024);
    let limits = Limits::default().send_budget(10_000).window(1_000_000);
    let mut client = Connection::client(near, &limits).await.unwrap();
    let mut opener = client.opener().unwrap();
    let mut waiting = std::pin::pin!(opener.open(head("/")));
    let opened = poll_fn(|task| {
        let _ = client.poll_accept(task);
        Poll::Ready(waiting.as_mut().poll(task).is_ready())
    });
    assert!(!opened.await, "nothing is asked before the peer's settings, which say what it takes");

    let mut pair = Pair::new(limits).await;
    let asking = pair.opener.open(head("/")).await.unwrap();
    let mut send = asking.send;
    let _asked = pair.next().await;
    // Until the connection's task runs, nothing leaves: the budget alone lets octets in.
    let mut octets = Bytes::from(vec![7; 50_000]);
    let mut taken = 0;
    poll_fn(|task| {
        while let Poll::Ready(Ok(more)) = send.poll_send(task, &mut octets) {
            taken += more;
        }
        Poll::Ready(())
    })
    .await;
    assert_eq!(taken, 10_000);
    send.send(octets).await.unwrap();
}

#[tokio::test]
async fn a_head_over_the_cap_is_answered_with_431_and_costs_its_stream_alone() {
    let mut pair = Pair::new(Limits::default().head(4_000)).await;
    let mut large = head("/");
    large.headers_mut().insert("x-large", "x".repeat(5_000).parse().unwrap());
    let refused = pair.opener.ask(large).await.unwrap().await;
    let status = refused.map(|(head, _)| head.status());
    assert_eq!(status, Ok(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    let _asking = pair.opener.ask(head("/next")).await.unwrap();
    assert_eq!(pair.next().await.head().uri().path(), "/next");
}
