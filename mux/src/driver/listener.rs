//! Streams of a session as connections of an app, in both directions.

#[cfg(feature = "stream")]
mod incoming_stream {
    use crate::{Incoming, IncomingStream};
    use std::pin::Pin;
    use std::task::{Context, Poll};

    /// The streams that the peer opens, yet to be accepted or refused; ends with the session.
    impl futures_core::Stream for Incoming {
        type Item = IncomingStream;

        fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<IncomingStream>> {
            self.get_mut().poll_accept(task)
        }
    }
}

#[cfg(feature = "axum")]
mod axum_listener {
    use crate::{Incoming, Stream};
    use bytes::Bytes;
    use std::io;

    /// Every stream is a connection to the app; its address is the stream's head.
    ///
    /// `axum::serve(incoming, app)` is all that it takes. When the session ended, accepting waits forever: end the
    /// server with `with_graceful_shutdown` and [`Session::closed`](crate::Session::closed).
    impl axum::serve::Listener for Incoming {
        type Io = Stream;
        type Addr = Bytes;

        async fn accept(&mut self) -> (Stream, Bytes) {
            match Self::accept(self).await {
                Some(stream) => {
                    let head = stream.head().clone();
                    (stream.accept(), head)
                }
                None => std::future::pending().await,
            }
        }

        /// A session's streams have no address of their own.
        fn local_addr(&self) -> io::Result<Bytes> {
            Ok(Bytes::new())
        }
    }
}

#[cfg(feature = "tower")]
pub use connector::{Connector, TunnelIo};

#[cfg(feature = "tower")]
mod connector {
    use crate::{OpenError, Session, Stream};
    use bytes::Bytes;
    use http::Uri;
    use hyper_util::client::legacy::connect::{Connected, Connection};
    use hyper_util::rt::TokioIo;
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    /// Opens a stream for each connection that an HTTP client asks for.
    ///
    /// A `tower_service::Service<Uri>`, as hyper-util's client wants it. The head of the stream is made of the URI by
    /// the function it is given.
    #[derive(Clone, Debug)]
    pub struct Connector {
        session: Session,
        head: fn(&Uri) -> Bytes,
    }

    impl Connector {
        /// A connector through `session`, whose streams get the head that `head` makes.
        pub const fn new(session: Session, head: fn(&Uri) -> Bytes) -> Self {
            Self { session, head }
        }
    }

    impl tower_service::Service<Uri> for Connector {
        type Response = TunnelIo;
        type Error = OpenError;
        type Future = Pin<Box<dyn Future<Output = Result<TunnelIo, OpenError>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OpenError>> {
            Poll::Ready(Ok(()))
        }

        /// Cancel-safe, as [`Session::open`]: no stream is opened unless the future resolves.
        fn call(&mut self, uri: Uri) -> Self::Future {
            let (session, head) = (self.session.clone(), (self.head)(&uri));
            Box::pin(async move { Ok(TunnelIo(TokioIo::new(session.open(head).await?))) })
        }
    }

    /// A stream as hyper-util's client takes it.
    #[derive(Debug)]
    pub struct TunnelIo(TokioIo<Stream>);

    impl Connection for TunnelIo {
        fn connected(&self) -> Connected {
            Connected::new()
        }
    }

    impl hyper::rt::Read for TunnelIo {
        fn poll_read(
            mut self: Pin<&mut Self>,
            task: &mut Context<'_>,
            buffer: hyper::rt::ReadBufCursor<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(task, buffer)
        }
    }

    impl hyper::rt::Write for TunnelIo {
        fn poll_write(
            mut self: Pin<&mut Self>,
            task: &mut Context<'_>,
            octets: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(task, octets)
        }

        fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(task)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(task)
        }
    }
}
