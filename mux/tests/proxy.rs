//! CONNECT through a proxy that is written here, and a session behind it.
#![cfg(feature = "proxy")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail, and owns its tasks and sockets"
)]

use adit_mux::proxy::{ConnectError, ConnectOptions, Proxy, Target, Tunnelled, connect};
use adit_mux::{Builder, Role};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn a_session_runs_through_a_proxy_as_without() {
    let gateway = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let target: Target = gateway.local_addr().unwrap().to_string().parse().unwrap();
    tokio::spawn(async move {
        let (socket, _) = gateway.accept().await.unwrap();
        let (session, mut incoming, driver) = Builder::new(Role::Listener).build(socket);
        tokio::spawn(driver);
        let mut stream = incoming.accept().await.unwrap().accept();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        stream.write_all(text.to_uppercase().as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        session.closed().await;
    });
    let address = serve(Some("bWU6c2VjcmV0")).await;
    let tunnel = through(&format!("http://me:secret@{address}"), &target).await.unwrap();
    let (session, _incoming, driver) = Builder::new(Role::Dialler).build(tunnel);
    tokio::spawn(driver);
    let mut stream = session.open("head").await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "HELLO");
}

#[tokio::test]
async fn a_proxy_that_wants_a_password_says_so_with_and_without_one() {
    let address = serve(Some("bWU6c2VjcmV0")).await;
    let target = Target::new("192.0.2.1", 443).unwrap();
    for (proxy, had_any) in [(format!("{address}"), false), (format!("me:canary@{address}"), true)] {
        let error = through(&proxy, &target).await.unwrap_err();
        assert!(
            matches!(error, ConnectError::AuthenticationRequired { had_credentials } if had_credentials == had_any),
            "{error}"
        );
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
}

#[tokio::test]
async fn what_a_target_says_first_is_not_lost_behind_the_proxys_answer() {
    let address = answering("HTTP/1.1 200 OK\r\n\r\n220 hello").await;
    let target = Target::new("mail.example", 25).unwrap();
    let mut tunnel = through(&address.to_string(), &target).await.unwrap();
    let mut greeting = [0; 9];
    tunnel.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"220 hello");
    let (_, ahead) = tunnel.into_parts();
    assert!(ahead.is_empty());
}

#[tokio::test]
async fn refusals_garbage_and_silence_are_told_apart() {
    let target = Target::new("gateway.example", 443).unwrap();
    let refused = through(&answering("HTTP/1.1 502 Bad Gateway\r\n\r\n").await.to_string(), &target).await;
    assert!(matches!(refused, Err(ConnectError::Refused { status: 502 })), "{refused:?}");
    let garbage = through(&answering("SSH-2.0-x\r\n").await.to_string(), &target).await;
    assert!(matches!(garbage, Err(ConnectError::NotHttp)), "{garbage:?}");
    let closed = through(&answering("").await.to_string(), &target).await;
    assert!(matches!(closed, Err(ConnectError::Closed)), "{closed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_drips_its_answer_is_given_up_at_the_deadline() {
    let (near, mut far) = tokio::io::duplex(1024);
    tokio::spawn(async move {
        far.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        while far.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let (proxy, target) = ("p".parse().unwrap(), Target::new("a", 1).unwrap());
    let begin = tokio::time::Instant::now();
    let error = connect(near, &proxy, &target, ConnectOptions::new()).await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut { after } if after == Duration::from_secs(10)), "{error}");
    assert_eq!(begin.elapsed(), Duration::from_secs(10));
}

/// A real, small CONNECT proxy, which may want credentials.
async fn serve(credentials: Option<&'static str>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut visitor, _)) = listener.accept().await {
            tokio::spawn(async move {
                let head = read_head(&mut visitor).await;
                let wanted = credentials.map(|pair| format!("\r\nProxy-Authorization: Basic {pair}\r\n"));
                if wanted.is_some_and(|wanted| !head.contains(&wanted)) {
                    let answer = "HTTP/1.1 407 Required\r\nProxy-Authenticate: Basic realm=\"p\"\r\n\r\n";
                    return visitor.write_all(answer.as_bytes()).await.unwrap();
                }
                let target = head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap();
                let mut onward = TcpStream::connect(target).await.unwrap();
                visitor.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                let _ = copy_bidirectional(&mut visitor, &mut onward).await;
            });
        }
    });
    address
}

/// Answers the same whatever it is asked, and closes.
async fn answering(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut visitor, _) = listener.accept().await.unwrap();
        read_head(&mut visitor).await;
        visitor.write_all(answer.as_bytes()).await.unwrap();
        visitor.shutdown().await.unwrap();
    });
    address
}

async fn read_head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn through(proxy: &str, target: &Target) -> Result<Tunnelled<TcpStream>, ConnectError> {
    let proxy: Proxy = proxy.parse().unwrap();
    let socket = TcpStream::connect((proxy.host(), proxy.port())).await.unwrap();
    connect(socket, &proxy, target, ConnectOptions::new()).await
}
