//! Full handshakes of TLS 1.3 over loopback TCP, one after the other: our edge, which sniffs the hello, picks the
//! certificate by its name and ends TLS, beside tokio-rustls with one certificate for everybody.

use super::{Figures, runtime, thread_time};
use adit_tls_modes::{
    Edge, EdgeHost, Mode, ModePolicy, NameStanding, ResumptionScope, RoomLimits, ServerCertificate,
    SniffLimits, SniffRoom, SniffSeat, choose_mode,
};
use rcgen::{CertificateParams, KeyPair};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

const HOST: &str = adit_benches::hello::HOST;
const ROUNDS: usize = 3_000;
const NAMES: [&str; 2] = ["tokio-rustls", "adit: sniff, choose, edge"];

/// A round is one handshake of each, by the same thread of one server and the same visitor.
pub(crate) fn run() {
    let provider = Arc::new(ring::default_provider());
    let certificate = Certificate::new();
    let visitor = Arc::new(certificate.client_config(&provider));
    let (turns, times, addresses) = serve(certificate.edge(&provider), certificate.server_config(&provider));
    let mut wall = Vec::new();
    let processor = Figures::collect(&NAMES, ROUNDS, |index| {
        turns.send(index == 1).unwrap();
        let begin = std::time::Instant::now();
        visit(&visitor, addresses);
        wall.push((index, 1e6 * begin.elapsed().as_secs_f64()));
        times.recv().unwrap()
    });
    processor.print("edge: processor time of the server for a full handshake (aim: at most x 1.05)", "us");
    // The same rounds by the clock on the wall.
    let mut wall = wall.into_iter();
    let wall = Figures::collect(&NAMES, ROUNDS, |wanted| {
        let (index, took) = wall.next().unwrap();
        assert_eq!(index, wanted);
        took
    });
    wall.print("edge: the same by the visitor's clock, from connecting to the first byte", "us");
}

/// A server that takes one connection for each turn that it is told of, as ours or as the plain one, and tells what that
/// took of its thread's time, in microseconds.
fn serve(edge: Edge, bare: ServerConfig) -> (mpsc::Sender<bool>, mpsc::Receiver<f64>, SocketAddr) {
    let (turn, turns) = mpsc::channel();
    let (time, times) = mpsc::channel();
    let (address, addresses) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = runtime();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        address.send(listener.local_addr().unwrap()).unwrap();
        let bare = TlsAcceptor::from(Arc::new(bare));
        let room = SniffRoom::new(RoomLimits::new());
        while let Ok(ours) = turns.recv() {
            runtime.block_on(async {
                let begin = thread_time();
                let (socket, peer) = listener.accept().await.unwrap();
                if ours {
                    end_at_the_edge(&edge, room.enter(peer.ip()).unwrap(), socket).await;
                } else {
                    answer(bare.accept(socket).await.unwrap()).await;
                }
                time.send(1e6 * (thread_time() - begin).as_secs_f64()).unwrap();
            });
        }
    });
    (turn, times, addresses.recv().unwrap())
}

/// Sniffs, chooses, ends TLS and answers. Who never says hello is waited for as long as a gateway does.
pub(crate) async fn end_at_the_edge(edge: &Edge, seat: SniffSeat, socket: tokio::net::TcpStream) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let Ok((hello, io)) = seat.sniff(socket, SniffLimits::new(), deadline).await else { return };
    let Mode::Edge { name, .. } = choose_mode(&hello, &ModePolicy::new(), |_| NameStanding::Edge) else {
        panic!("not for the edge")
    };
    answer(edge.accept(io, name, &ResumptionScope::new("tunnel 7")).await.unwrap()).await;
}

/// One byte, so that the visitor knows that both sides are through.
async fn answer(mut io: impl tokio::io::AsyncWrite + Unpin) {
    tokio::io::AsyncWriteExt::write_all(&mut io, b"!").await.unwrap();
    tokio::io::AsyncWriteExt::flush(&mut io).await.unwrap();
}

pub(crate) fn visit(config: &Arc<ClientConfig>, address: SocketAddr) {
    let name = ServerName::try_from(HOST).unwrap();
    let connection = rustls::ClientConnection::new(Arc::clone(config), name).unwrap();
    let socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    let mut io = rustls::StreamOwned::new(connection, socket);
    io.flush().unwrap();
    let mut byte = [0];
    io.read_exact(&mut byte).unwrap();
}

pub(crate) struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Certificate {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { chain: vec![certificate.into()], key: PrivateKeyDer::Pkcs8(key.serialize_der().into()) }
    }

    fn server_config(&self, provider: &Arc<CryptoProvider>) -> ServerConfig {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = ring::Ticketer::new().unwrap();
        config
    }

    pub(crate) fn edge(&self, provider: &Arc<CryptoProvider>) -> Edge {
        let edge = Edge::builder(Arc::clone(provider)).resumption(ring::Ticketer::new().unwrap()).build();
        let (chain, key) = (self.chain.clone(), self.key.clone_key());
        let certificate = ServerCertificate::new(chain, key, provider, SystemTime::now()).unwrap();
        edge.install(&HOST.parse().unwrap(), EdgeHost::new(certificate)).unwrap();
        edge
    }

    pub(crate) fn client_config(&self, provider: &Arc<CryptoProvider>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.chain[0].clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        config
    }
}
