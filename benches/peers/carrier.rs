//! The connections that multiplexers run on: TCP over loopback, TLS over that, or a link with a delay.

use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::link::{Link, LinkProfile};

/// Makes connected pairs.
pub(crate) struct Network {
    listener: TcpListener,
    link: Option<LinkProfile>,
    calls: Arc<Calls>,
    tls: OnceLock<(TlsConnector, TlsAcceptor)>,
}

/// One end of a connection.
pub(crate) enum Carrier {
    Tcp(Socket),
    Tls(Box<TlsStream<Socket>>),
    Link(Link),
}

/// Whether a carrier is encrypted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Security {
    Plain,
    Tls,
}

/// Reads and writes on sockets that moved bytes, of both ends together.
#[derive(Default)]
pub(crate) struct Calls {
    reads: AtomicU64,
    writes: AtomicU64,
}

/// A TCP socket, or one half of it, that counts its calls.
pub(crate) struct Counted<T> {
    io: T,
    calls: Arc<Calls>,
}

pub(crate) type Socket = Counted<TcpStream>;

impl Network {
    pub(crate) async fn new(link: Option<LinkProfile>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Ok(Self { listener, link, calls: Arc::default(), tls: OnceLock::new() })
    }

    /// Two ends of a new connection, the dialler's first.
    pub(crate) async fn pair(&self, security: Security) -> io::Result<(Carrier, Carrier)> {
        if let Some(link) = self.link {
            let (near, far) = Link::pair(link);
            return Ok((Carrier::Link(near), Carrier::Link(far)));
        }
        let dial = TcpStream::connect(self.listener.local_addr()?);
        let (near, far) = tokio::try_join!(dial, self.listener.accept())?;
        let (near, far) = (self.socket(near)?, self.socket(far.0)?);
        match security {
            Security::Plain => Ok((Carrier::Tcp(near), Carrier::Tcp(far))),
            Security::Tls => self.tls_pair(near, far).await,
        }
    }

    pub(crate) fn calls(&self) -> Arc<Calls> {
        Arc::clone(&self.calls)
    }

    /// All connections share one identity: pairs made at the same time may have swapped their far ends.
    async fn tls_pair(&self, near: Socket, far: Socket) -> io::Result<(Carrier, Carrier)> {
        let (connector, acceptor) = match self.tls.get() {
            Some(tls) => tls,
            None => {
                let (client, server) = Identity::new()?.configs(b"bench")?;
                self.tls.get_or_init(|| (Arc::new(client).into(), Arc::new(server).into()))
            }
        };
        let name = ServerName::try_from(SERVER_NAME).map_err(io::Error::other)?;
        let (near, far) = tokio::try_join!(connector.connect(name, near), acceptor.accept(far))?;
        Ok((Carrier::Tls(Box::new(near.into())), Carrier::Tls(Box::new(far.into()))))
    }

    fn socket(&self, tcp: TcpStream) -> io::Result<Socket> {
        tcp.set_nodelay(true)?;
        Ok(Counted { io: tcp, calls: self.calls() })
    }
}

impl Socket {
    /// The two halves, without a lock between them.
    pub(crate) fn into_split(self) -> (Counted<OwnedReadHalf>, Counted<OwnedWriteHalf>) {
        let (reader, writer) = self.io.into_split();
        let calls = Arc::clone(&self.calls);
        (Counted { io: reader, calls: self.calls }, Counted { io: writer, calls })
    }
}

impl Calls {
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }
}

/// A certificate for `localhost` with its key, made for this run.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Identity {
    pub(crate) fn new() -> io::Result<Self> {
        let made = rcgen::generate_simple_self_signed([SERVER_NAME.to_owned()]).map_err(io::Error::other)?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(io::Error::other)?;
        Ok(Self { certificate: made.cert.der().clone(), key })
    }

    /// The configurations of both ends: TLS 1.3 only, one protocol name, no client certificate.
    pub(crate) fn configs(self, alpn: &[u8]) -> io::Result<(rustls::ClientConfig, rustls::ServerConfig)> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).map_err(io::Error::other)?;
        let mut client = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut server = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate], self.key)
            .map_err(io::Error::other)?;
        client.alpn_protocols = vec![alpn.to_vec()];
        server.alpn_protocols = vec![alpn.to_vec()];
        Ok((client, server))
    }
}

impl AsyncRead for Carrier {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
            Self::Link(link) => Pin::new(link).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
            Self::Link(link) => Pin::new(link).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
            Self::Link(link) => Pin::new(link).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(socket) => socket.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
            Self::Link(link) => link.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
            Self::Link(link) => Pin::new(link).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
            Self::Link(link) => Pin::new(link).poll_shutdown(cx),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let answer = Pin::new(&mut self.io).poll_read(cx, buf);
        count(&self.calls.reads, answer.is_ready());
        answer
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let answer = Pin::new(&mut self.io).poll_write(cx, buf);
        count(&self.calls.writes, answer.is_ready());
        answer
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let answer = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        count(&self.calls.writes, answer.is_ready());
        answer
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

fn count(calls: &AtomicU64, moved: bool) {
    calls.fetch_add(u64::from(moved), Ordering::Relaxed);
}

pub(crate) const SERVER_NAME: &str = "localhost";
