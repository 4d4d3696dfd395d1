//! `yamux`, the one of rust-libp2p: windows tune themselves up to a limit of the connection.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::{mpsc, oneshot};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};
use yamux::{Config, Connection, Mode};

use super::{Acceptor, BoxStream, Contestant, Later, MANY, Opener, Session, Stream, boxed, ended};
use crate::peers::carrier::{Carrier, Network, Security};

pub(crate) const YAMUX: Contestant = Contestant {
    name: "yamux",
    about: "yamux 0.14; no limit on the connection's windows, 100,000 streams",
    max_streams: MANY,
    on_any_carrier: true,
    quick: true,
    connect: |network| Box::pin(connect(network)),
};

type OpenRequest = oneshot::Sender<io::Result<yamux::Stream>>;

struct Requests(mpsc::UnboundedSender<OpenRequest>);

struct Accepted(mpsc::UnboundedReceiver<yamux::Stream>);

/// Polls one end's connection: it opens what is asked for and passes on what it accepts.
struct Driver {
    connection: Connection<Compat<Carrier>>,
    requests: mpsc::UnboundedReceiver<OpenRequest>,
    waiting: VecDeque<OpenRequest>,
    accepted: mpsc::UnboundedSender<yamux::Stream>,
}

async fn connect(network: Arc<Network>) -> io::Result<Session> {
    let (near, far) = network.pair(Security::Plain).await?;
    let (requests, _) = start(near, Mode::Client);
    let (keep, accepted) = start(far, Mode::Server);
    let opener = Arc::new(Requests(requests));
    Ok(Session { opener, acceptor: Box::new(Listening { accepted: Accepted(accepted), _keep: keep }) })
}

struct Listening {
    accepted: Accepted,
    _keep: mpsc::UnboundedSender<OpenRequest>,
}

fn start(
    carrier: Carrier,
    mode: Mode,
) -> (mpsc::UnboundedSender<OpenRequest>, mpsc::UnboundedReceiver<yamux::Stream>) {
    let mut config = Config::default();
    config.set_max_connection_receive_window(None).set_max_num_streams(MANY);
    let (ask, requests) = mpsc::unbounded_channel();
    let (accepted, streams) = mpsc::unbounded_channel();
    let connection = Connection::new(carrier.compat(), config, mode);
    let mut driver = Driver { connection, requests, waiting: VecDeque::new(), accepted };
    tokio::spawn(async move { poll_fn(|cx| driver.poll(cx)).await });
    (ask, streams)
}

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(Some(request)) = self.requests.poll_recv(cx) {
            self.waiting.push_back(request);
        }
        while !self.waiting.is_empty() {
            let Poll::Ready(stream) = self.connection.poll_new_outbound(cx) else { break };
            if let Some(request) = self.waiting.pop_front() {
                // An opener that has gone wants no stream.
                let _ = request.send(stream.map_err(io::Error::other));
            }
        }
        loop {
            let Some(Ok(stream)) = ready!(self.connection.poll_next_inbound(cx)) else {
                return Poll::Ready(());
            };
            if self.accepted.send(stream).is_err() {
                return Poll::Ready(());
            }
        }
    }
}

impl Opener for Requests {
    fn open(&self) -> Later<'_, io::Result<BoxStream>> {
        Box::pin(async {
            let (request, answer) = oneshot::channel();
            self.0.send(request).map_err(|_| ended())?;
            let stream = answer.await.map_err(|_| ended())??;
            Ok(boxed(stream.compat()))
        })
    }
}

impl Acceptor for Listening {
    fn accept(&mut self) -> Later<'_, io::Result<BoxStream>> {
        Box::pin(async {
            let stream = self.accepted.0.recv().await.ok_or_else(ended)?;
            Ok(boxed(stream.compat()))
        })
    }
}

impl Stream for Compat<yamux::Stream> {}
