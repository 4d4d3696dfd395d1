//! What a peer can repeat has a budget, on every carrier.

use crate::on_every_carrier;
use crate::pair::{End, On, Pair};
use adit_mux::{Allowance, Config, SessionEnd, Violation};
use adit_wire_proto::CloseCode;
use tokio::io::AsyncWriteExt;

on_every_carrier! {
    m04_streams_opened_and_reset_at_once_end_the_session_of_an_application_that_keeps_up
    m04_streams_that_end_early_but_had_something_to_say_are_no_flood
}

/// Takes each stream up and reads it to its end, as quickly as they come.
fn keeps_up(end: End) -> adit_mux::Session {
    let (session, mut incoming) = (end.session, end.incoming);
    tokio::spawn(async move {
        while let Some(stream) = incoming.accept().await {
            let mut stream = stream.accept();
            tokio::spawn(async move { while let Ok(Some(_)) = stream.read_chunk().await {} });
        }
    });
    session
}

/// The opener's end and the other's, for each of the two who may open.
async fn ends(on: On, from_agent: bool, config: Config) -> (End, End) {
    let Pair { agent, gateway } = Pair::with(on, config).await;
    if from_agent { (agent, gateway) } else { (gateway, agent) }
}

async fn m04_streams_opened_and_reset_at_once_end_the_session_of_an_application_that_keeps_up(on: On) {
    for from_agent in [false, true] {
        let config = Config::default().rapid_resets(Allowance::new(500, 0));
        let (opener, other) = ends(on, from_agent, config).await;
        let other = keeps_up(other);
        let mut opened = 0;
        while opened < 10_000
            && let Ok(mut stream) = opener.session.open("x").await
        {
            stream.reset(CloseCode::CANCELLED);
            stream.stop(CloseCode::CANCELLED);
            opened += 1;
        }
        let end = other.closed().await;
        assert!(matches!(end, SessionEnd::Violation(Violation::Budget { .. })), "{end}");
        assert_eq!(opener.session.closed().await.close_code(), CloseCode::ENHANCE_CALM);
        assert!((501..10_000).contains(&opened), "{opened}");
    }
}

async fn m04_streams_that_end_early_but_had_something_to_say_are_no_flood(on: On) {
    for from_agent in [false, true] {
        let config = Config::default().rapid_resets(Allowance::new(2, 0));
        let (opener, mut other) = ends(on, from_agent, config).await;
        for _ in 0..50 {
            let mut stream = opener.session.open("x").await.unwrap();
            stream.write_all(b"request").await.unwrap();
            let mut taken = other.accept().await;
            assert_eq!(taken.read_chunk().await.unwrap().unwrap(), "request");
            stream.reset(CloseCode::CANCELLED);
            let error = taken.read_chunk().await.unwrap_err();
            assert_eq!(error.close_code(), CloseCode::CANCELLED);
        }
        opener.session.ping().await.unwrap();
        assert_eq!(other.session.end(), None);
    }
}
