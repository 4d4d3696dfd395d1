//! What becomes of visitors whose requests have two readings, or lead elsewhere than they say.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod support;

use support::{Greeter, World, get, http_tunnel, raw, tls_tunnel};
use tokio::io::AsyncReadExt;

#[tokio::test]
async fn r18_r19_r08_requests_with_two_readings_are_refused_and_nothing_is_forwarded() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    let mut agent = world.agent(http_tunnel(upstream.address, "my-app"));
    agent.serving().await;
    let host = world.host("my-app");
    let cases = [
        format!("POST / HTTP/1.1\r\nhost: {host}\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcd"),
        format!("POST / HTTP/1.1\r\nhost: {host}\r\ncontent-length: +4\r\n\r\nabcd"),
        format!("POST / HTTP/1.1\r\nhost: {host}\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        format!("POST / HTTP/1.0\r\nhost: {host}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: {host}\r\nhost: other.example\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost : {host}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: {host}\r\n folded: yes\r\n\r\n"),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET http://other.example/ HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"),
        format!("GET http://user@{host}/ HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"),
    ];
    for case in cases {
        let reply = raw(world.http().await, case.as_bytes()).await;
        assert!(
            reply.starts_with("HTTP/1.1 4") || reply.starts_with("HTTP/1.0 4"),
            "{case:?} gave {reply:?}"
        );
    }
    assert_eq!(upstream.count(), 0, "nothing reached the upstream");
    assert!(raw(world.http().await, &get(&host)).await.ends_with('a'));
}

#[tokio::test]
async fn r01_r02_r09_other_spellings_of_one_host_lead_to_the_same_tunnel() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    let mut agent = world.agent(http_tunnel(upstream.address, "my-app"));
    agent.serving().await;
    let host = world.host("my-app");
    for spelling in
        [host.to_ascii_uppercase(), format!("{host}."), format!("{host}:8080"), format!("{host}:")]
    {
        let reply = raw(world.http().await, &get(&spelling)).await;
        assert!(reply.ends_with('a'), "{spelling} gave {reply}");
    }
    let absolute = format!("GET http://{host}/ HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    assert!(raw(world.http().await, absolute.as_bytes()).await.ends_with('a'));
}

#[tokio::test]
async fn r03_r04_r12_hosts_that_lead_nowhere_give_the_same_answer() {
    let world = World::start().await;
    let zone = world.gateway.zone().to_owned();
    let mut bodies = Vec::new();
    for host in
        [format!("nobody.{zone}"), format!("a.b.{zone}"), format!("x{zone}"), zone, "127.0.0.1".to_owned()]
    {
        let reply = raw(world.http().await, &get(&host)).await;
        assert!(reply.starts_with("HTTP/1.1 404"), "{host} gave {reply}");
        let (_, body) = reply.split_once("\r\n\r\n").unwrap();
        let (known, _id) = body.split_once("\"request_id\"").unwrap();
        bodies.push(known.to_owned());
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
}

#[tokio::test]
async fn t16_names_that_nobody_serves_get_an_alert_and_never_another_tenant() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    let mut agent = world.agent(http_tunnel(upstream.address, "my-app"));
    agent.serving().await;
    let refused = world.https("my-app.other.example").await.unwrap_err().to_string();
    assert!(refused.contains("UnrecognisedName"), "{refused}");
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn t54_a_passthrough_tunnel_without_its_agent_is_never_ended_at_the_edge() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    let mut agent = world.agent(tls_tunnel(upstream.address, "my-vault"));
    agent.serving().await;
    let host = world.host("my-vault");
    assert!(raw_https(&world, &host).await.ends_with('a'));
    agent.stop.cancel();
    agent.task.await.unwrap();
    // Who comes while the session ends may find it cut off; who comes later is told.
    let told = async {
        while !world.https(&host).await.is_err_and(|error| error.to_string().contains("InternalError")) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(support::PATIENCE, told).await.expect("an alert for a tunnel without its agent");
    for _ in 0..3 {
        let alert = world.https(&host).await.unwrap_err().to_string();
        assert!(alert.contains("InternalError"), "{alert}");
    }
}

#[tokio::test]
async fn t34_what_is_not_tls_on_the_https_port_is_closed_without_an_answer() {
    let world = World::start().await;
    assert_eq!(
        raw(
            tokio::net::TcpStream::connect(world.gateway.https_address()).await.unwrap(),
            b"GET / HTTP/1.1\r\n\r\n"
        )
        .await,
        ""
    );
}

#[tokio::test]
async fn f19_an_upstream_that_resets_gives_502_and_the_session_lives() {
    let world = World::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut agent = world.agent(http_tunnel(listener.local_addr().unwrap(), "my-app"));
    agent.serving().await;
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            // Closed after the head was read, before an answer.
            let _ = socket.read(&mut [0; 4096]).await;
        }
    });
    for _ in 0..3 {
        let reply = raw(world.http().await, &get(&world.host("my-app"))).await;
        assert!(reply.starts_with("HTTP/1.1 502"), "{reply}");
    }
}

async fn raw_https(world: &World, host: &str) -> String {
    raw(world.https(host).await.unwrap(), &get(host)).await
}
