//! `penguin-mux`: frames as WebSocket messages, masked by the dialler.

use std::io;
use std::sync::Arc;

use penguin_mux::config::Options;
use penguin_mux::{Multiplexor, MuxStream};
use tokio_tungstenite_penguin::WebSocketStream;
use tokio_tungstenite_penguin::tungstenite::protocol::Role;

use super::{Acceptor, BoxStream, Contestant, Later, MANY, Opener, Session, Stream, boxed};
use crate::peers::carrier::{Network, Security};

pub(crate) const PENGUIN: Contestant = Contestant {
    name: "penguin-mux",
    about: "penguin-mux 0.8 over tokio-tungstenite 0.29; windows of 512 frames",
    max_streams: MANY,
    on_any_carrier: true,
    quick: false,
    connect: |network| Box::pin(connect(network)),
};

struct Dialler(Multiplexor);

struct Listener(Multiplexor);

async fn connect(network: Arc<Network>) -> io::Result<Session> {
    let (near, far) = network.pair(Security::Plain).await?;
    let near = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    let far = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
    let options = Options::new().stream_buffer_size(1024);
    let opener = Arc::new(Dialler(Multiplexor::new(near, Some(options), None)));
    Ok(Session { opener, acceptor: Box::new(Listener(Multiplexor::new(far, Some(options), None))) })
}

impl Opener for Dialler {
    fn open(&self) -> Later<'_, io::Result<BoxStream>> {
        Box::pin(async {
            let stream = self.0.new_stream_channel(b"bench", 1).await.map_err(text)?;
            Ok(boxed(stream))
        })
    }
}

impl Acceptor for Listener {
    fn accept(&mut self) -> Later<'_, io::Result<BoxStream>> {
        Box::pin(async {
            let stream = self.0.accept_stream_channel().await.map_err(text)?;
            Ok(boxed(stream))
        })
    }
}

impl Stream for MuxStream {}

/// The library's error isn't `Sync`.
fn text(error: penguin_mux::Error) -> io::Error {
    io::Error::other(error.to_string())
}
