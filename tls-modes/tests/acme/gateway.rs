//! The ports of a gateway that an authority looks at.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use adit_tls_modes::{ChallengeBoard, SniffLimits, sniff};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

/// A listener on a free port.
pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Answers HTTP-01 from `board`.
pub(crate) async fn serve_http(listener: TcpListener, board: ChallengeBoard) {
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(answer_http(socket, board.clone()));
    }
}

/// Answers TLS-ALPN-01 from `board`.
pub(crate) async fn serve_tls(listener: TcpListener, board: ChallengeBoard) {
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(answer_tls(socket, board.clone()));
    }
}

async fn answer_http(mut socket: TcpStream, board: ChallengeBoard) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap();
    let host = head.lines().find_map(|line| line.strip_prefix("Host: ")).unwrap();
    let host = host.split(':').next().unwrap().parse().unwrap();
    let answer = match board.http_answer(SystemTime::now(), &host, path) {
        Some(body) => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
        None => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
    };
    socket.write_all(answer.as_bytes()).await.unwrap();
}

async fn answer_tls(socket: TcpStream, board: ChallengeBoard) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let Ok((hello, io)) = sniff(socket, SniffLimits::new(), deadline).await else { return };
    let Some(config) = board.tls_config(SystemTime::now(), &hello) else { return };
    if let Ok(mut tls) = TlsAcceptor::from(config).accept(io).await {
        let _ = tls.shutdown().await;
    }
}
