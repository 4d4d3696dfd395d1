//! HTTP/2's lower layer, as somebody who speaks another dialect uses it.
#![cfg(feature = "h2")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail, and owns its tasks, sockets and clock"
)]

mod farewell;
mod hostile;
mod proxies;
mod raw;
mod streams;

use adit_mux::carrier::h2::dialect::{Asked, Connection, Limits, LinkError, Opener};
use tokio::io::{AsyncRead, AsyncWrite, duplex};
use tokio::sync::mpsc;

/// A client of the dialect, and a server whose requests come out of a queue.
pub(crate) struct Pair {
    pub(crate) opener: Opener,
    pub(crate) asked: mpsc::UnboundedReceiver<Asked>,
}

impl Pair {
    pub(crate) async fn new(limits: Limits) -> Self {
        let (near, far) = duplex(256 * 1024);
        let (client, server) =
            tokio::try_join!(Connection::client(near, &limits), Connection::server(far, &limits)).unwrap();
        let opener = client.opener().unwrap();
        let (pass_on, asked) = mpsc::unbounded_channel();
        let (ignored, _) = mpsc::unbounded_channel();
        tokio::spawn(run(client, ignored));
        tokio::spawn(run(server, pass_on));
        Self { opener, asked }
    }

    pub(crate) async fn next(&mut self) -> Asked {
        self.asked.recv().await.unwrap()
    }
}

/// Moves a connection along; gives what ended it.
pub(crate) async fn run<T>(
    mut connection: Connection<T>,
    pass_on: mpsc::UnboundedSender<Asked>,
) -> Option<LinkError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match connection.accept().await? {
            Ok(asked) => drop(pass_on.send(asked)),
            Err(error) => return Some(error),
        }
    }
}

pub(crate) fn head(path: &str) -> http::Request<()> {
    http::Request::builder().uri(format!("https://gateway.test{path}")).body(()).unwrap()
}
