//! What visitors and upstreams may do to HTTP, over real sockets: nothing that two servers read differently gets through.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod support;

use std::sync::Arc;
use std::time::Duration;
use support::{Agent, Greeter, PATIENCE, Script, World, get, http_tunnel, raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn r18_r19_octets_with_two_readings_are_answered_400_and_nothing_is_forwarded() {
    let (world, upstream, _agent) = greeted().await;
    let host = world.host("my-app");
    for (fields, status) in [
        ("content-length: 4\r\ntransfer-encoding: chunked\r\n", 400),
        ("transfer-encoding: chunked\r\ncontent-length: 4\r\n", 400),
        ("transfer-encoding: gzip, chunked\r\n", 501),
        ("transfer-encoding: xchunked\r\n", 400),
        ("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", 400),
        ("transfer_encoding: chunked\r\n", 400),
        ("transfer-encoding : chunked\r\n", 400),
        ("transfer-encoding\r\n: chunked\r\n", 400),
        ("content-length: 4\r\ncontent-length: 4\r\n", 400),
        ("content-length: 4, 4\r\n", 400),
        ("content-length: 0x4\r\n", 400),
        ("content-length: -4\r\n", 400),
        ("content-length: 99999999999999999999\r\n", 400),
        ("x: a\nb: c\r\n", 400),
        ("x: a\r\n b\r\n", 400),
        ("x: \0\r\n", 400),
    ] {
        let request = format!("POST / HTTP/1.1\r\nhost: {host}\r\n{fields}\r\n0\r\n\r\n");
        let reply = raw(world.http().await, request.as_bytes()).await;
        assert!(reply.starts_with(&format!("HTTP/1.1 {status}")), "{fields:?} gave {reply:?}");
        assert!(reply.contains("connection: close") && reply.contains("\"next_action\""), "{reply}");
    }
    let old = format!("POST / HTTP/1.0\r\nhost: {host}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n");
    assert!(raw(world.http().await, old.as_bytes()).await.contains(" 400 "));
    assert_eq!(upstream.count(), 0, "nothing reached the upstream");
}

#[tokio::test]
async fn r18_tricks_with_chunks_are_answered_400() {
    let (world, _upstream, _agent) = greeted().await;
    let host = world.host("my-app");
    for body in [
        "0x1\r\na\r\n0\r\n\r\n",
        "1 \r\na\r\n0\r\n\r\n",
        "1\na\r\n0\r\n\r\n",
        "1\r\nab\r\n0\r\n\r\n",
        "1;\n\r\n",
        "fffffffffffffffff\r\n",
    ] {
        let request = format!("POST / HTTP/1.1\r\nhost: {host}\r\ntransfer-encoding: chunked\r\n\r\n{body}");
        let reply = raw(world.http().await, request.as_bytes()).await;
        assert!(reply.starts_with("HTTP/1.1 400"), "{body:?} gave {reply:?}");
    }
}

#[tokio::test]
async fn r18_the_second_request_of_a_connection_is_checked_as_the_first() {
    let (world, upstream, _agent) = greeted().await;
    let host = world.host("my-app");
    let good = format!("POST / HTTP/1.1\r\nhost: {host}\r\ncontent-length: 2\r\n\r\nok");
    let bad = format!("GET / HTTP/1.1\r\nhost: {host}\r\nx : 1\r\n\r\n");
    let reply = raw(world.http().await, format!("{good}{bad}").as_bytes()).await;
    let (first, second) = reply.split_once("HTTP/1.1 400").expect(&reply);
    assert!(first.starts_with("HTTP/1.1 200") && second.contains("VALIDATION_FAILED"), "{reply}");
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn r21_octets_behind_an_upgrade_that_was_not_made_are_a_request_with_all_checks() {
    let (world, _upstream, _agent) = greeted().await;
    let host = world.host("my-app");
    let wish = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    let hidden =
        format!("GET / HTTP/1.1\r\nhost: {host}\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n");
    let reply = raw(world.http().await, format!("{wish}{hidden}").as_bytes()).await;
    assert!(reply.starts_with("HTTP/1.1 200") && reply.contains("HTTP/1.1 400"), "{reply}");
}

#[tokio::test]
async fn r23_heads_that_are_too_large_are_told_so() {
    let (world, upstream, _agent) = greeted().await;
    let host = world.host("my-app");
    let target = format!("GET /{} HTTP/1.1\r\nhost: {host}\r\n\r\n", "a".repeat(17 * 1024));
    let field = format!("GET / HTTP/1.1\r\nhost: {host}\r\nx: {}\r\n\r\n", "a".repeat(66 * 1024));
    let fields = format!("GET / HTTP/1.1\r\nhost: {host}\r\n{}\r\n", "x: y\r\n".repeat(101));
    for (request, status) in [(target, "414"), (field, "431"), (fields, "431")] {
        let reply = raw(world.http().await, request.as_bytes()).await;
        assert!(reply.starts_with(&format!("HTTP/1.1 {status}")), "{reply}");
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn r27_connect_and_trace_are_refused_and_unknown_methods_are_forwarded() {
    let (world, upstream, _agent) = greeted().await;
    let host = world.host("my-app");
    for request in [
        format!("CONNECT {host}:443 HTTP/1.1\r\nhost: {host}:443\r\nconnection: close\r\n\r\n"),
        format!("TRACE / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"),
    ] {
        let reply = raw(world.http().await, request.as_bytes()).await;
        assert!(reply.starts_with("HTTP/1.1 405"), "{reply}");
    }
    assert_eq!(upstream.count(), 0);
    let brew = format!("BREW / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    assert!(raw(world.http().await, brew.as_bytes()).await.ends_with('a'));
}

#[tokio::test]
async fn r26_odd_paths_reach_the_upstream_byte_for_byte() {
    let (world, script, _agent) = scripted("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let host = world.host("my-app");
    for path in ["//", "/a/../b", "/%2e%2e/%2F", "/%00", "/a;b=c//d"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        raw(world.http().await, request.as_bytes()).await;
        assert!(script.last().starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{}", script.last());
    }
}

#[tokio::test]
async fn r28_a_visitor_is_told_to_go_on_once_the_upstream_wants_the_body() {
    let world = World::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut agent = world.agent(http_tunnel(listener.local_addr().unwrap(), "my-app"));
    agent.serving().await;
    let go = Arc::new(tokio::sync::Notify::new());
    let upstream_goes = Arc::clone(&go);
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let head = support::read_head(&mut socket).await;
        assert!(head.to_ascii_lowercase().contains("expect: 100-continue"), "{head}");
        upstream_goes.notified().await;
        socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
        let mut body = [0; 4];
        socket.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"body");
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone").await.unwrap();
    });
    let host = world.host("my-app");
    let mut io = world.http().await;
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {host}\r\nexpect: 100-continue\r\ncontent-length: 4\r\nconnection: close\r\n\r\n"
    );
    io.write_all(head.as_bytes()).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(200), io.readable()).await;
    assert!(early.is_err(), "the visitor was told to go on before the upstream was");
    go.notify_one();
    let go_on = support::read_head(&mut io).await;
    assert!(go_on.starts_with("HTTP/1.1 100"), "{go_on}");
    assert!(raw(io, b"body").await.ends_with("done"));
}

#[tokio::test]
async fn r28_other_expectations_are_refused() {
    let (world, upstream, _agent) = greeted().await;
    let request = format!(
        "GET / HTTP/1.1\r\nhost: {}\r\nexpect: magic\r\nconnection: close\r\n\r\n",
        world.host("my-app")
    );
    assert!(raw(world.http().await, request.as_bytes()).await.starts_with("HTTP/1.1 417"));
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn r22_an_answer_before_the_body_is_read_arrives() {
    let (world, _script, _agent) =
        scripted("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno").await;
    let head =
        format!("POST / HTTP/1.1\r\nhost: {}\r\ncontent-length: 1000000\r\n\r\n", world.host("my-app"));
    let mut io = world.http().await;
    io.write_all(head.as_bytes()).await.unwrap();
    let answer = support::read_head(&mut io).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn r22_answers_without_a_body_have_none_and_a_second_answer_is_dropped() {
    for (method, answer) in [
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        ),
        ("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\nevil"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"),
        (
            "GET",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        ),
    ] {
        let (world, script, _agent) = scripted(answer).await;
        let host = world.host("my-app");
        let mut io = world.http().await;
        for turn in 1..=2 {
            let request = format!("{method} /{turn} HTTP/1.1\r\nhost: {host}\r\n\r\n");
            io.write_all(request.as_bytes()).await.unwrap();
            let head = support::read_head(&mut io).await;
            assert!(
                head.starts_with(answer.split(' ').take(2).collect::<Vec<_>>().join(" ").as_str()),
                "{head}"
            );
            if answer.contains("ok") {
                let mut body = [0; 2];
                io.read_exact(&mut body).await.unwrap();
                assert_eq!(&body, b"ok");
            }
        }
        assert_eq!(script.count(), 2, "{method} {answer}");
    }
}

#[tokio::test]
async fn r29_an_answer_that_is_no_http_or_has_two_ends_gives_502() {
    for answer in [
        "HTTP/1.1 200 OK\r\nbad header: 1\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "SSH-2.0-OpenSSH_9.6\r\n",
    ] {
        let (world, _script, _agent) = scripted(answer).await;
        let reply = raw(world.http().await, &get(&world.host("my-app"))).await;
        assert!(reply.starts_with("HTTP/1.1 502"), "{answer:?} gave {reply}");
    }
}

#[tokio::test]
async fn r29_r30_an_answer_binds_nothing_that_all_tenants_share() {
    let answer = "HTTP/1.1 200 OK\r\nset-cookie: a=1\r\nset-cookie: b=2; Domain=adit.localhost\r\nalt-svc: h3=\":1\"\r\n\
                  strict-transport-security: max-age=1; includeSubDomains\r\ncontent-length: 0\r\n\r\n";
    let (world, _script, _agent) = scripted(answer).await;
    let reply = raw(world.http().await, &get(&world.host("my-app"))).await;
    assert!(reply.contains("a=1") && reply.contains("strict-transport-security"), "{reply}");
    assert!(!reply.contains("b=2") && !reply.contains("alt-svc"), "{reply}");
}

#[tokio::test]
async fn r08_r11_e09_each_request_of_a_tls_connection_is_held_to_its_name() {
    let (world, upstream, _agent) = greeted().await;
    let other = Greeter::start("b").await;
    let mut second = world.agent(http_tunnel(other.address, "your-app"));
    second.serving().await;
    let (mine, yours) = (world.host("my-app"), world.host("your-app"));
    for foreign in [yours.clone(), yours.to_ascii_uppercase(), format!("{yours}:8443"), format!("{yours}.")] {
        let io = world.https(&mine).await.unwrap();
        let requests = format!(
            "GET / HTTP/1.1\r\nhost: {mine}\r\n\r\nGET / HTTP/1.1\r\nhost: {foreign}\r\nconnection: close\r\n\r\n"
        );
        let reply = raw(io, requests.as_bytes()).await;
        assert!(reply.starts_with("HTTP/1.1 200") && reply.contains("HTTP/1.1 421"), "{foreign}: {reply}");
    }
    assert_eq!((upstream.count(), other.count()), (4, 0));
}

#[tokio::test]
async fn r10_e10_a_stream_of_http2_for_another_tenant_is_misdirected_and_the_connection_lives() {
    let (world, _upstream, _agent) = greeted().await;
    let other = Greeter::start("b").await;
    let mut second = world.agent(http_tunnel(other.address, "your-app"));
    second.serving().await;
    let (mine, yours) = (world.host("my-app"), world.host("your-app"));
    let (sender, connection) = h2::client::handshake(world.https_h2(&mine).await.unwrap()).await.unwrap();
    tokio::spawn(connection);
    let ask = async |authority: &str, host: Option<&str>| {
        let mut request = http::Request::get(format!("https://{authority}/"));
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let mut sender = sender.clone().ready().await.unwrap();
        let (response, _) = sender.send_request(request.body(()).unwrap(), true).unwrap();
        tokio::time::timeout(PATIENCE, response).await.unwrap().map(|response| response.status().as_u16())
    };
    assert_eq!(ask(&yours, None).await.unwrap(), 421);
    let reset = ask(&mine, Some(&yours)).await.unwrap_err();
    assert_eq!(reset.reason(), Some(h2::Reason::PROTOCOL_ERROR), "{reset}");
    assert_eq!(ask(&mine, Some(&mine)).await.unwrap(), 200);
    assert_eq!(other.count(), 0);
}

/// A gateway, and a tunnel `my-app` to an upstream that greets.
async fn greeted() -> (World, Greeter, Agent) {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    let mut agent = world.agent(http_tunnel(upstream.address, "my-app"));
    agent.serving().await;
    (world, upstream, agent)
}

/// The same with an upstream that says `answer` to every head, whatever it is.
async fn scripted(answer: &'static str) -> (World, Script, Agent) {
    let world = World::start().await;
    let upstream = Script::start(answer).await;
    let mut agent = world.agent(http_tunnel(upstream.address, "my-app"));
    agent.serving().await;
    (world, upstream, agent)
}
