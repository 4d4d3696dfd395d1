//! How sessions end.

use crate::on_every_carrier;
use crate::pair::{End, On, Pair};
use adit_mux::{Carrier, Config, OpenError, SessionEnd, StreamError};
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

on_every_carrier! {
    closing_tells_both_sides_why
    m16_a_drain_finishes_what_is_open_and_opens_nothing
    m16_a_drain_that_the_agent_begins_tells_the_gateway
    m17_a_drain_out_of_time_cuts_what_is_left
    m19_closing_wakes_a_hundred_waiting_writers
    a_session_that_nobody_holds_closes_in_order
    a_driver_that_is_dropped_ends_the_session
    m20_a_session_that_has_opened_its_share_of_streams_drains_and_loses_none
    a_ping_is_answered_and_the_carrier_says_what_it_is
}

async fn closing_tells_both_sides_why(on: On) {
    for from_agent in [true, false] {
        let Pair { agent, gateway } = Pair::new(on).await;
        let (near, far) = if from_agent { (agent, gateway) } else { (gateway, agent) };
        let mut waiting = near.session.open("head").await.unwrap();
        near.session.close(CloseCode::TERMINATED, "enough");
        let reason = Bytes::from_static(b"enough");
        let end = SessionEnd::Local { code: CloseCode::TERMINATED, reason: reason.clone() };
        assert_eq!(near.session.closed().await, end);
        assert_eq!(near.driver.await.unwrap(), end);
        let error = waiting.read_chunk().await.unwrap_err();
        assert_eq!(error, StreamError::Session(end));
        let end = SessionEnd::Peer { code: CloseCode::TERMINATED, reason };
        assert_eq!(far.session.closed().await, end);
        assert_eq!(far.driver.await.unwrap(), end);
        assert!(matches!(far.session.open("x").await, Err(OpenError::Session(_))));
        assert!(far.session.receive_datagram().await.is_none());
    }
}

async fn m16_a_drain_finishes_what_is_open_and_opens_nothing(on: On) {
    let pair = Pair::new(on).await;
    drains(pair.gateway, pair.agent).await;
}

async fn m16_a_drain_that_the_agent_begins_tells_the_gateway(on: On) {
    let pair = Pair::new(on).await;
    drains(pair.agent, pair.gateway).await;
}

async fn drains(mut near: End, mut far: End) {
    let mut ours = near.session.open("ours").await.unwrap();
    let mut peer = far.accept().await;
    let mut theirs = far.session.open("theirs").await.unwrap();
    let mut taken = near.accept().await;
    near.session.drain(CloseCode::DRAINING, "deploy");
    assert!(near.session.is_draining());
    assert_eq!(near.session.open("x").await.err(), Some(OpenError::Draining));
    while !far.session.is_draining() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(far.session.open("x").await.err(), Some(OpenError::Draining));
    assert_eq!(near.session.end(), None);
    for (one, other) in [(&mut ours, &mut peer), (&mut theirs, &mut taken)] {
        one.write_all(b"unhurried").await.unwrap();
        one.shutdown().await.unwrap();
        let mut text = String::new();
        other.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "unhurried");
        other.shutdown().await.unwrap();
        assert_eq!(one.read_chunk().await.unwrap(), None);
    }
    drop((ours, peer, theirs, taken));
    assert_eq!(far.session.closed().await.close_code(), CloseCode::DRAINING);
    assert_eq!(near.session.closed().await.close_code(), CloseCode::DRAINING);
}

async fn m17_a_drain_out_of_time_cuts_what_is_left(on: On) {
    let config = Config::default().drain(Duration::from_millis(10), Duration::from_millis(200));
    let mut pair = Pair::with(on, config).await;
    let (mut ours, mut theirs) = pair.stream().await;
    pair.gateway.session.drain(CloseCode::DRAINING, "deploy");
    let error = theirs.read_chunk().await.unwrap_err();
    assert_eq!(error.close_code(), CloseCode::SHUTDOWN, "{error}");
    ours.read_chunk().await.unwrap_err();
    pair.gateway.session.closed().await;
    pair.agent.session.closed().await;
}

async fn m19_closing_wakes_a_hundred_waiting_writers(on: On) {
    let mut pair = Pair::new(on).await;
    let mut writers = Vec::new();
    let mut unread = Vec::new();
    for _ in 0..100 {
        let (mut ours, theirs) = pair.stream().await;
        unread.push(theirs);
        writers.push(tokio::spawn(async move {
            loop {
                if let Err(error) = ours.write_chunk(Bytes::from(vec![0; 256 * 1024])).await {
                    return error;
                }
            }
        }));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    pair.gateway.session.close(CloseCode::SHUTDOWN, "");
    for writer in writers {
        assert!(matches!(writer.await.unwrap(), StreamError::Session(SessionEnd::Local { .. })));
    }
}

async fn a_session_that_nobody_holds_closes_in_order(on: On) {
    let Pair { agent, mut gateway } = Pair::new(on).await;
    let mut last = agent.session.open("last").await.unwrap();
    last.write_all(&[7; 200_000]).await.unwrap();
    last.shutdown().await.unwrap();
    let (session, incoming) = (agent.session, agent.incoming);
    drop((session, incoming));
    let mut theirs = gateway.accept().await;
    theirs.shutdown().await.unwrap();
    assert_eq!(last.read_chunk().await.unwrap(), None);
    drop(last);
    let mut all = Vec::new();
    theirs.read_to_end(&mut all).await.unwrap();
    assert_eq!(all.len(), 200_000, "what was written arrives");
    drop(theirs);
    assert_eq!(gateway.session.closed().await.close_code(), CloseCode::NONE);
    assert_eq!(agent.driver.await.unwrap().close_code(), CloseCode::NONE);
}

async fn a_driver_that_is_dropped_ends_the_session(on: On) {
    let mut pair = Pair::new(on).await;
    let (mut ours, _theirs) = pair.stream().await;
    pair.gateway.driver.abort();
    let error = ours.read_chunk().await.unwrap_err();
    assert_eq!(error, StreamError::Session(SessionEnd::DriverDropped));
    assert_eq!(pair.gateway.session.closed().await, SessionEnd::DriverDropped);
    pair.agent.session.closed().await;
}

async fn m20_a_session_that_has_opened_its_share_of_streams_drains_and_loses_none(on: On) {
    for from_agent in [false, true] {
        let Pair { agent, gateway } = Pair::with(on, Config::default().max_lifetime_opens(5)).await;
        let (near, mut far) = if from_agent { (agent, gateway) } else { (gateway, agent) };
        let mut streams = Vec::new();
        for number in 0..5 {
            assert!(!near.session.is_draining(), "{number} of 5");
            let ours = near.session.open("head").await.unwrap();
            streams.push((ours, far.accept().await));
        }
        assert_eq!(near.session.open("sixth").await.err(), Some(OpenError::Draining));
        for (ours, theirs) in &mut streams {
            ours.write_all(b"all the same").await.unwrap();
            ours.shutdown().await.unwrap();
            let mut text = String::new();
            theirs.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "all the same");
            theirs.shutdown().await.unwrap();
            assert_eq!(ours.read_chunk().await.unwrap(), None);
        }
        drop(streams);
        assert_eq!(far.session.closed().await.close_code(), CloseCode::DRAINING);
    }
}

async fn a_ping_is_answered_and_the_carrier_says_what_it_is(on: On) {
    let pair = Pair::new(on).await;
    for session in [&pair.agent.session, &pair.gateway.session] {
        session.ping().await.unwrap();
        session.ping().await.unwrap();
        let capabilities = session.capabilities();
        let (carrier, is_quic) = (capabilities.carrier(), capabilities.carrier() == Carrier::Quic);
        assert_eq!(carrier.name(), format!("{on:?}").to_lowercase());
        assert_eq!(capabilities.survives_address_changes(), is_quic);
        assert_eq!(capabilities.has_lossy_datagrams(), is_quic);
        assert_eq!(capabilities.has_priorities(), carrier != Carrier::Http2);
        assert_eq!(session.stats().mtu.is_some(), is_quic);
        assert!(session.stats().rtt.is_some());
        assert!(session.stats().bytes_sent > 0);
    }
}
