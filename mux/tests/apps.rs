//! An axum app on the streams of a session, and a client whose connections are streams.
#![cfg(all(feature = "axum", feature = "tower", feature = "stream"))]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and owns its tasks")]

use adit_mux::{Builder, Config, Connector, Role};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use std::time::Duration;
use tower_service::Service;

#[tokio::test]
async fn an_axum_app_answers_a_client_through_a_session() {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (session, _keep, near) = Builder::new(Role::Dialler).build(near);
    let (_listener, incoming, far) = Builder::new(Role::Listener).build(far);
    tokio::spawn(near);
    tokio::spawn(far);
    let app = axum::Router::new().route("/", axum::routing::get(|| async { "hello" }));
    tokio::spawn(async move { axum::serve(incoming, app).await });
    let connector = Connector::new(session, |uri| Bytes::from(uri.to_string()));
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    for _ in 0..3 {
        let response = client.get("http://demo.example/".parse().unwrap()).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    }
}

#[tokio::test(start_paused = true)]
async fn m31_a_connect_that_is_given_up_opens_nothing() {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (session, _keep, near) = Builder::new(Role::Dialler).build(near);
    let config = Config::default().max_peer_streams(1);
    let (listener, mut incoming, far) = Builder::new(Role::Listener).config(config).build(far);
    tokio::spawn(near);
    tokio::spawn(far);
    let mut connector = Connector::new(session, |uri| Bytes::from(uri.to_string()));
    let mut call = || connector.call("http://demo.example/".parse().unwrap());
    let first = call().await.unwrap();
    let first_there = incoming.accept().await.unwrap();
    for _ in 0..5 {
        let given_up = tokio::time::timeout(Duration::from_millis(5), call()).await;
        assert!(given_up.is_err(), "there is no credit");
    }
    drop((first, first_there));
    // The stream that comes free is there for who still wants it.
    let _second = call().await.unwrap();
    assert!(incoming.accept().await.is_some());
    assert_eq!(listener.stats().streams_accepted, 2);
}
