use std::io;
use std::net::IpAddr;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

use super::Sniffed;
use crate::{ProxyError, ProxyHeader, ProxyLimits, ProxyRead, ProxyReader, TrustedSources};

/// Reads the PROXY header at the start of a connection from `source`, the address that the socket reports, and gives the
/// connection back as the visitor's, with what was read behind the header still in front.
///
/// `deadline` is absolute; of `limits` only the cap on bytes is used here. From a source that isn't trusted nothing is
/// read.
///
/// Dropping the future drops the stream.
///
/// # Errors
/// [`ReadProxyError`]: the stream is gone, since nobody who is refused here is to be answered.
pub async fn read_proxy_header<IO>(
    mut io: IO,
    source: IpAddr,
    trusted: &TrustedSources,
    limits: ProxyLimits,
    deadline: Instant,
) -> Result<(ProxyHeader, Sniffed<IO>), ReadProxyError>
where
    IO: AsyncRead + Unpin,
{
    let mut reader = ProxyReader::new(source, trusted, limits)?;
    let verdict = match timeout_at(deadline, read_to_verdict(&mut reader, &mut io)).await {
        Ok(verdict) => verdict?,
        Err(_elapsed) => reader.handle_timeout(),
    };
    match verdict {
        ProxyRead::Header(header) => Ok((header, Sniffed::new(reader.into_remaining(), io))),
        ProxyRead::Refused(error) => Err(error.into()),
        // Not reached: `read_to_verdict` ends with a verdict, and the timeout is one.
        ProxyRead::NeedMore => Err(ProxyError::DeadlinePassed.into()),
    }
}

/// Why [`read_proxy_header`] has no header.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadProxyError {
    /// The source, the bytes, the end of the stream or the deadline rule it out.
    #[error("{error}")]
    #[non_exhaustive]
    Refused {
        /// The reason.
        #[from]
        error: ProxyError,
    },
    /// Reading failed.
    #[error("reading the PROXY header failed: {source}")]
    #[non_exhaustive]
    Io {
        /// What the stream said.
        #[from]
        source: io::Error,
    },
}

async fn read_to_verdict<IO: AsyncRead + Unpin>(
    reader: &mut ProxyReader,
    io: &mut IO,
) -> io::Result<ProxyRead> {
    let mut buffer = [0; READ_BYTES];
    loop {
        let count = io.read(&mut buffer).await?;
        let received = buffer.get(..count).unwrap_or_default();
        let verdict = if received.is_empty() { reader.receive_end() } else { reader.receive(received) };
        if verdict != ProxyRead::NeedMore {
            return Ok(verdict);
        }
    }
}

/// Enough for a header and the hello behind it in one read.
const READ_BYTES: usize = 2_048;
