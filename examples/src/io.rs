//! What sessions run over.

use tokio::io::{AsyncRead, AsyncWrite};

/// Something that octets are read from and written to: TLS, or plain TCP where tests want to be below it.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}
