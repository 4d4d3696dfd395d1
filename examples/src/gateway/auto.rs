//! Public ports of `auto` tunnels: what a visitor speaks is told from its first octets, and treated as such.
//!
//! | spoken | treated as |
//! |---|---|
//! | HTTP/1, HTTP/2 with prior knowledge | a request on the HTTP port, only that the port leads to the tunnel: all its terms hold |
//! | TLS | passed through: only the upstream can say what it is for |
//! | SSH | its octets, as a stream of `ssh` |
//! | PostgreSQL, Redis, MongoDB, a server that speaks first, anything else | its octets, as a stream of `tcp` |
//!
//! Octets that nobody here reads can't be held to rules about requests: a tunnel that has some lets in HTTP alone.

use super::arrival::Arrival;
use super::hub::Hub;
use super::proxy::Visitor;
use super::{http, https, tcp};
use crate::BoxError;
use adit_router::{Detection, Detector, Spoken};
use adit_tls_modes::Sniffed;
use adit_wire_proto::Protocol;
use std::io;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout_at;

/// Room for the first octets: as many as a detector looks at unless told otherwise.
const ROOM: usize = 1024;

/// Serves one connection that arrived on the public port of an `auto` tunnel.
pub(super) async fn visit(hub: &Arc<Hub>, arrival: Arrival, port: u16) -> Result<(), BoxError> {
    let Arrival { mut io, address, local } = arrival;
    let (spoken, first) = first_octets(&mut io, &hub.detector).await?;
    tracing::debug!(?spoken, "detected what a visitor speaks");
    let io = https::flat(Sniffed::new(first, io));
    let protocol = match spoken {
        Spoken::Http1 | Spoken::Http2 => {
            http::serve(Arc::clone(hub), io, Visitor { address, local, tls: None, port: Some(port) }).await;
            return Ok(());
        }
        Spoken::Tls => Protocol::HTTPS,
        Spoken::Ssh => Protocol::SSH,
        _ => Protocol::TCP,
    };
    tcp::carry(hub, Arrival { io, address, local }, port, protocol).await
}

/// Reads until it is known what is spoken, or until whoever speaks has said nothing that tells for too long.
async fn first_octets<Io>(io: &mut Io, detector: &Detector) -> io::Result<(Spoken, Vec<u8>)>
where
    Io: AsyncRead + Unpin,
{
    let mut octets = Vec::with_capacity(ROOM);
    let deadline = detector.deadline(Instant::now()).into();
    loop {
        match timeout_at(deadline, io.read_buf(&mut octets)).await {
            Ok(Ok(read)) if read > 0 => {}
            Ok(Err(error)) => return Err(error),
            // At the deadline, or at the visitor's end.
            Ok(Ok(_)) | Err(_) => return Ok((detector.late(&octets), octets)),
        }
        if let Detection::Found(spoken) = detector.look(&octets) {
            return Ok((spoken, octets));
        }
    }
}
