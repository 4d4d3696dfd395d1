//! An axum app whose connections are the streams of a session: `cargo run -p adit-mux --features axum,tower --example serve_app`.
//!
//! The app never listens anywhere. It is the side that connected; whoever holds the other end of the session reaches it.
//! Here both ends are in one process, and hyper-util's client speaks through the far one.

#![allow(clippy::disallowed_methods, reason = "a program owns its sockets and tasks")]

use adit_mux::{Builder, Connector, Role};
use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // In earnest this is a socket: TLS to a gateway.
    let (inside, outside) = tokio::io::duplex(64 * 1024);

    // Inside: one line serves the app on every stream that the other side opens.
    let (session, incoming, driver) = Builder::new(Role::Dialler).build(inside);
    let driver = tokio::spawn(driver);
    let app = Router::new().route("/", get(|| async { "hello from inside\n" }));
    let until_over = async move { drop(session.closed().await) };
    let server = tokio::spawn(async { axum::serve(incoming, app).with_graceful_shutdown(until_over).await });

    // Outside: every connection of the client is a stream; its head says where it is to go.
    let (session, _no_streams, outside) = Builder::new(Role::Listener).build(outside);
    tokio::spawn(outside);
    let connector =
        Connector::new(session.clone(), |uri| Bytes::from(uri.host().unwrap_or_default().to_owned()));
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let response = client.get("http://app.example/".parse()?).await?;
    print!(
        "{}: {}",
        response.status(),
        String::from_utf8_lossy(&response.into_body().collect().await?.to_bytes())
    );

    // Idle connections of the client end, and so does the server.
    drop(client);
    session.drain(adit_wire_proto::CloseCode::DRAINING, "the example is over");
    println!("{}", driver.await?);
    server.await??;
    Ok(())
}
