//! What an observer is told, on every carrier.

use crate::on_every_carrier;
use crate::pair::{On, Pair};
use crate::recorder::Recorder;
use crate::streams::write_until_stopped;
use adit_mux::Config;
use adit_wire_proto::CloseCode;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

on_every_carrier! {
    an_observer_hears_of_both_ends_of_a_session
}

/// One observer for both ends: what one does the other is told of.
async fn an_observer_hears_of_both_ends_of_a_session(on: On) {
    let heard = Arc::new(Recorder::default());
    let mut pair = Pair::with(on, Config::default().observer(heard.clone())).await;
    pair.agent.session.ping().await.unwrap();
    let (mut ours, mut theirs) = pair.stream().await;
    ours.write_all(&[7; 100_000]).await.unwrap();
    let mut block = vec![0; 100_000];
    theirs.read_exact(&mut block).await.unwrap();
    ours.reset(CloseCode::UPSTREAM_RESET);
    theirs.read_chunk().await.unwrap_err();
    ours.stop(CloseCode::UPSTREAM_TIMEOUT);
    write_until_stopped(&mut theirs).await;
    let mut refused = pair.gateway.session.open("refused").await.unwrap();
    pair.agent.incoming.accept().await.unwrap().refuse(CloseCode::UNKNOWN_TUNNEL);
    refused.read_chunk().await.unwrap_err();
    drop((ours, theirs, refused));
    pair.gateway.session.close(CloseCode::SHUTDOWN, "");
    pair.gateway.driver.await.unwrap();
    pair.agent.driver.await.unwrap();
    assert_eq!(heard.count("connected"), 2);
    assert_eq!((heard.count(&format!("ended {}", CloseCode::SHUTDOWN)), heard.sum("ended")), (2, 2));
    assert_eq!((heard.count("opened by Local"), heard.count("opened by Peer")), (2, 2));
    let [reset, stopped, refused] =
        [CloseCode::UPSTREAM_RESET, CloseCode::UPSTREAM_TIMEOUT, CloseCode::UNKNOWN_TUNNEL];
    assert_eq!(heard.count(&format!("reset by Local {reset}")), 1);
    assert_eq!(heard.count(&format!("reset by Peer {reset}")), 1);
    assert_eq!(heard.count(&format!("stopped by Local {stopped}")), 1);
    assert_eq!(heard.count(&format!("refused by Local {refused}")), 1);
    assert!(heard.count("round trips") > 0);
    assert!(heard.count("received") > 100_000 && heard.count("sent") > 100_000);
}
