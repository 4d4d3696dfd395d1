//! A visitor who reads without an end, and an upstream that answers so.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Within which a stream ends that may not go on.
pub const CLOSED_WITHIN: Duration = Duration::from_secs(5);

/// A visitor who reads a body without an end.
pub struct Streaming(TcpStream);

impl Streaming {
    pub async fn start(mut visitor: TcpStream, request: &[u8]) -> Self {
        visitor.write_all(request).await.unwrap();
        let mut streaming = Self(visitor);
        let head = streaming.goes_on().await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        streaming
    }

    pub async fn goes_on(&mut self) -> String {
        let mut octets = [0; 1024];
        let length = self.0.read(&mut octets).await.unwrap();
        assert!(length > 0, "the stream has ended");
        String::from_utf8_lossy(&octets[..length]).into_owned()
    }

    /// Ends in time, and not as a whole body would.
    pub async fn ends_cut_off(mut self) {
        let mut rest = Vec::new();
        let end = tokio::time::timeout(CLOSED_WITHIN, self.0.read_to_end(&mut rest)).await;
        let is_clean = end.expect("the stream goes on").is_ok() && rest.ends_with(b"0\r\n\r\n");
        assert!(!is_clean, "a cut body looks whole");
    }
}

/// An upstream whose answer never ends.
pub struct Ticker;

impl Ticker {
    pub async fn start() -> SocketAddr {
        serve(async |mut socket: TcpStream, _| {
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            socket.write_all(head).await?;
            loop {
                socket.write_all(b"5\r\ntick\n\r\n").await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }
}

/// An upstream that answers with the head it got.
pub struct Mirror;

impl Mirror {
    pub async fn start() -> SocketAddr {
        serve(async |mut socket: TcpStream, head: Vec<u8>| {
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", head.len());
            socket.write_all(answer.as_bytes()).await?;
            socket.write_all(&head).await
        })
        .await
    }
}

/// An upstream that gives each connection, and the head that was read from it, to `answer`.
pub async fn serve<F>(answer: impl Fn(TcpStream, Vec<u8>) -> F + Clone + Send + Sync + 'static) -> SocketAddr
where
    F: Future<Output = std::io::Result<()>> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                let length = socket.read(&mut head).await.unwrap_or(0);
                head.truncate(length);
                // The visitor going away is no failure of the upstream's.
                let _ = answer(socket, head).await;
            });
        }
    });
    address
}
