//! Full handshakes of TLS 1.3 over loopback TCP, one after the other: our edge, which sniffs the hello, picks the
//! certificate by its name and ends TLS, beside tokio-rustls with one certificate for everybody.

use super::{compare, runtime, thread_time};
use adit_tls_modes::{
    Edge, EdgeHost, Mode, ModePolicy, NameStanding, ResumptionScope, RoomLimits, ServerCertificate,
    SniffLimits, SniffRoom, choose_mode,
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
const HANDSHAKES: u32 = 300;

pub(crate) fn run() {
    let provider = Arc::new(ring::default_provider());
    let certificate = Certificate::new();
    let bare = TlsAcceptor::from(Arc::new(certificate.server_config(&provider)));
    let edge = Arc::new(certificate.edge(&provider));
    let visitor = Arc::new(certificate.client_config(&provider));
    let mut wall = [0.0; 2];
    let mut measure = |ours: bool| {
        let (edge, bare) = (Arc::clone(&edge), bare.clone());
        let (rate, cpu) = round(&visitor, ours, edge, bare);
        wall[usize::from(ours)] = rate;
        1e6 * cpu.as_secs_f64() / f64::from(HANDSHAKES)
    };
    let measure = std::cell::RefCell::new(&mut measure);
    compare(
        "edge: processor time of the server for a full handshake (aim: at most x 1.05)",
        "us",
        &mut [
            ("tokio-rustls", &mut || measure.borrow_mut()(false)),
            ("adit: sniff, choose, edge", &mut || measure.borrow_mut()(true)),
        ],
    );
    let [bare, ours] = wall;
    println!("  handshakes a second, last round: tokio-rustls {bare:.0}, adit {ours:.0}");
}

/// Handshakes a second, and what they took of the server's thread.
fn round(visitor: &Arc<ClientConfig>, ours: bool, edge: Arc<Edge>, bare: TlsAcceptor) -> (f64, Duration) {
    let (address, addresses) = mpsc::channel();
    let server = std::thread::spawn(move || {
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            address.send(listener.local_addr().unwrap()).unwrap();
            let room = SniffRoom::new(RoomLimits::new());
            let begin = thread_time();
            for _ in 0..HANDSHAKES {
                let (socket, peer) = listener.accept().await.unwrap();
                if ours {
                    end_at_the_edge(&edge, &room, socket, peer).await;
                } else {
                    answer(bare.accept(socket).await.unwrap()).await;
                }
            }
            thread_time() - begin
        })
    });
    let address = addresses.recv().unwrap();
    let begin = std::time::Instant::now();
    for _ in 0..HANDSHAKES {
        visit(visitor, address);
    }
    let took = begin.elapsed();
    (f64::from(HANDSHAKES) / took.as_secs_f64(), server.join().unwrap())
}

async fn end_at_the_edge(edge: &Edge, room: &SniffRoom, socket: tokio::net::TcpStream, peer: SocketAddr) {
    let seat = room.enter(peer.ip()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let (hello, io) = seat.sniff(socket, SniffLimits::new(), deadline).await.unwrap();
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

fn visit(config: &Arc<ClientConfig>, address: SocketAddr) {
    let name = ServerName::try_from(HOST).unwrap();
    let connection = rustls::ClientConnection::new(Arc::clone(config), name).unwrap();
    let socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    let mut io = rustls::StreamOwned::new(connection, socket);
    io.flush().unwrap();
    let mut byte = [0];
    io.read_exact(&mut byte).unwrap();
}

struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Certificate {
    fn new() -> Self {
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

    fn edge(&self, provider: &Arc<CryptoProvider>) -> Edge {
        let edge = Edge::builder(Arc::clone(provider)).resumption(ring::Ticketer::new().unwrap()).build();
        let (chain, key) = (self.chain.clone(), self.key.clone_key());
        let certificate = ServerCertificate::new(chain, key, provider, SystemTime::now()).unwrap();
        edge.install(&HOST.parse().unwrap(), EdgeHost::new(certificate)).unwrap();
        edge
    }

    fn client_config(&self, provider: &Arc<CryptoProvider>) -> ClientConfig {
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
