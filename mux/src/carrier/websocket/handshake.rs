//! From an HTTP/1.1 connection to a WebSocket.

use super::io::WebSocketIo;
use super::upgrade::Upgrade;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, Uri};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, error::ProtocolError};
use tokio_tungstenite::{accept_hdr_async_with_config, client_async_with_config};

/// The subprotocol that both sides name.
pub const SUBPROTOCOL: &str = "adit.v1";

/// Upgrades the dialled connection `io` to the WebSocket at `uri` (`wss://host/path`), which names the host and the
/// path and nothing else: `io` is connected already.
///
/// Has no time limit of its own. Not cancel-safe: give `io` up.
///
/// # Errors
/// [`HandshakeError`] if the other side is no WebSocket, or doesn't speak [`SUBPROTOCOL`].
pub async fn connect<T>(io: T, uri: &str) -> Result<WebSocketIo<T>, HandshakeError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let uri: Uri = uri.parse().map_err(|_| HandshakeError::InvalidUri)?;
    let request = ClientRequestBuilder::new(uri).with_sub_protocol(SUBPROTOCOL);
    let (socket, _) = client_async_with_config(request, Upgrade::new(io), Some(config())).await?;
    let (io, early) = socket.into_inner().into_parts();
    Ok(WebSocketIo::upgraded_client(io, early))
}

/// Upgrades the accepted connection `io`. The request's path isn't looked at.
///
/// Has no time limit of its own. Not cancel-safe: give `io` up.
///
/// # Errors
/// [`HandshakeError`] if the client asks for no WebSocket, or not for [`SUBPROTOCOL`]; it was told so with 400.
pub async fn accept<T>(io: T) -> Result<WebSocketIo<T>, HandshakeError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let socket = accept_hdr_async_with_config(Upgrade::new(io), choose, Some(config())).await?;
    let (io, early) = socket.into_inner().into_parts();
    Ok(WebSocketIo::upgraded_server(io, early))
}

/// The library reads and writes no frames: it needs no room for them.
fn config() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(1)
}

#[expect(clippy::result_large_err, reason = "the library's callback is so")]
fn choose(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offered = request.headers().get_all(PROTOCOL_FIELD);
    let mut names = offered.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    if !names.any(|name| name.trim() == SUBPROTOCOL) {
        let mut refusal = ErrorResponse::new(None);
        *refusal.status_mut() = StatusCode::BAD_REQUEST;
        return Err(refusal);
    }
    response.headers_mut().insert(PROTOCOL_FIELD, HeaderValue::from_static(SUBPROTOCOL));
    Ok(response)
}

const PROTOCOL_FIELD: &str = "sec-websocket-protocol";

/// Why there is no WebSocket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The address has no host, or another form.
    #[error("the address of the WebSocket is no ws or wss URI")]
    InvalidUri,
    /// The other side answered something else.
    #[error("the other side answered with status {status}")]
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// The other side broke the rules of the upgrade, or didn't name the subprotocol.
    #[error("the upgrade to WebSocket failed")]
    Protocol {
        /// What was wrong.
        #[source]
        source: ProtocolFailure,
    },
    /// The connection failed.
    #[error("the connection failed: {}", source.kind())]
    Io {
        /// What the operating system says.
        #[from]
        source: io::Error,
    },
}

/// What was wrong with an upgrade; for logs.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ProtocolFailure(Box<ProtocolError>);

impl From<Error> for HandshakeError {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(source) => Self::Io { source },
            Error::Protocol(error) => Self::Protocol { source: ProtocolFailure(Box::new(error)) },
            Error::Http(response) => Self::Refused { status: response.status().as_u16() },
            Error::Url(_) | Error::HttpFormat(_) => Self::InvalidUri,
            Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Tls(_)
            | Error::Capacity(_)
            | Error::WriteBufferFull(_)
            | Error::Utf8(_)
            | Error::AttackAttempt => Self::Io { source: io::Error::other(error) },
        }
    }
}
