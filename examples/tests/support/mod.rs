//! A gateway, agents and visitors for the tests, over real sockets and real TLS.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test")]

pub mod network;
pub mod raw_agent;
pub mod streaming;

use adit_examples::BoxError;
use adit_examples::agent::{self, Carriers, Event, Link, Local, Secret, Terms, Tunnel, Upstream};
use adit_examples::gateway::{Config, Gateway};
use adit_examples::test_authority::AnyCertificate;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

/// How long any wait of a test may take before the test has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// A folder of its own for each test, gone when dropped.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("adit-test-{}-{number}", std::process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A gateway with its folder and its secret.
pub struct World {
    pub gateway: Gateway,
    pub secret: String,
    pub folder: Folder,
}

impl World {
    pub async fn start() -> Self {
        Self::start_with(|_, _| {}).await
    }

    /// One whose agents come by plain TCP.
    pub async fn plain() -> Self {
        Self::start_with(|config, _| config.plain_agents = true).await
    }

    /// As settled by `settle`, which is also given the folder.
    pub async fn start_with(settle: impl FnOnce(&mut Config, &Path)) -> Self {
        let folder = Folder::new();
        let mut config = Config::on_loopback(folder.0.join("gateway"), (36_000, 36_099));
        settle(&mut config, &folder.0);
        let gateway = Gateway::start(config).await.unwrap();
        let secret = gateway.fresh_secret().unwrap().to_owned();
        Self { gateway, secret, folder }
    }

    pub fn link(&self) -> Link {
        Link {
            gateway: self.gateway.agent_address().to_string(),
            carriers: Carriers::only(adit_mux::Carrier::Native),
            server_name: self.gateway.server_name().to_owned(),
            ca: self.gateway.anchor_path(),
            secret_file: None,
            rotate_secret: None,
            state: self.folder.0.join("agent"),
            json: false,
        }
    }

    pub fn agent(&self, tunnel: Tunnel) -> Agent {
        Agent::start(tunnel, self.link(), &self.secret)
    }

    pub fn agent_on(&self, tunnel: Tunnel, terms: Terms) -> Agent {
        Agent::start_on(tunnel, terms, self.link(), &self.secret)
    }

    /// A request to the admin API, as its owner.
    pub async fn api(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let token = self.gateway.fresh_admin_token().unwrap().to_owned();
        let (status, _, answer) = self.api_as(&token, &[], method, path, body).await;
        (status, answer)
    }

    /// The same with any token and further fields; gives the answer's head, too.
    pub async fn api_as(
        &self,
        token: &str,
        fields: &[(&str, &str)],
        method: &str,
        path: &str,
        body: Value,
    ) -> (u16, String, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.call(token, fields, method, path, &body).await
    }

    async fn call(
        &self,
        token: &str,
        fields: &[(&str, &str)],
        method: &str,
        path: &str,
        body: &str,
    ) -> (u16, String, Value) {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n");
        head += &format!("authorization: Bearer {token}\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in fields {
            head += &format!("{name}: {value}\r\n");
        }
        let socket = TcpStream::connect(self.gateway.admin_address()).await.unwrap();
        let reply = raw(socket, format!("{head}\r\n{body}").as_bytes()).await;
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_owned(), serde_json::from_str(body).unwrap_or(Value::Null))
    }

    /// A request to the admin API, as its owner, with a body that need not be JSON.
    pub async fn api_raw(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let token = self.gateway.fresh_admin_token().unwrap().to_owned();
        let (status, _, answer) = self.call(&token, &[], method, path, body).await;
        (status, answer)
    }

    /// Waits until the gateway knows that the tunnel's agent is gone.
    pub async fn until_disconnected(&self, name: &str) {
        let gone = async {
            while self.api("GET", &format!("/tunnels/{name}"), Value::Null).await.1["is_connected"] != false {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("the agent is still connected");
    }

    pub fn host(&self, name: &str) -> String {
        format!("{name}.{}", self.gateway.zone())
    }

    /// A connection to the agent port, below the protocol.
    pub async fn agent_port(&self) -> Result<TlsStream<TcpStream>, BoxError> {
        self.agent_port_for(b"adit/1").await
    }

    /// The same for another carrier over TCP.
    pub async fn agent_port_for(&self, alpn: &[u8]) -> Result<TlsStream<TcpStream>, BoxError> {
        let socket = TcpStream::connect(self.gateway.agent_address()).await?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from(self.gateway.server_name().to_owned())?;
        Ok(TlsConnector::from(Arc::new(self.agent_tls(alpn)?)).connect(name, socket).await?)
    }

    /// How agents set up TLS.
    pub fn agent_tls(&self, alpn: &[u8]) -> Result<ClientConfig, BoxError> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.gateway.anchor_pem().as_bytes())?)?;
        let mut config = ClientConfig::builder_with_provider(adit_examples::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(config)
    }

    /// Makes an API key on these terms; gives its id and itself.
    pub async fn mint(&self, terms: Value) -> (String, String) {
        let (status, token) = self.api("POST", "/tokens", terms).await;
        assert_eq!(status, 201, "{token}");
        let text = |field: &str| token[field].as_str().unwrap().to_owned();
        (text("id"), text("apiKey"))
    }

    /// The certificates that were taken back, as the zone's own host serves the list.
    pub async fn revocation_list(&self) -> Vec<u8> {
        let zone = self.gateway.zone();
        let request = format!("GET /authority.crl HTTP/1.1\r\nhost: {zone}\r\nconnection: close\r\n\r\n");
        let mut io = self.http().await;
        io.write_all(request.as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        io.read_to_end(&mut reply).await.unwrap();
        assert!(reply.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&reply));
        let end = reply.windows(4).position(|octets| octets == b"\r\n\r\n").unwrap() + 4;
        reply.split_off(end)
    }

    pub async fn http(&self) -> TcpStream {
        TcpStream::connect(self.gateway.http_address()).await.unwrap()
    }

    /// TLS with `sni`, which the certificate has to be for.
    pub async fn https(&self, sni: &str) -> Result<TlsStream<TcpStream>, BoxError> {
        self.https_with(sni, self.visitor(None)).await
    }

    /// The same for HTTP/2.
    pub async fn https_h2(&self, sni: &str) -> Result<TlsStream<TcpStream>, BoxError> {
        let mut visitor = self.visitor(None);
        visitor.alpn_protocols = vec![b"h2".to_vec()];
        self.https_with(sni, visitor).await
    }

    /// The same, as a visitor of one's own.
    pub async fn https_with(
        &self,
        sni: &str,
        visitor: ClientConfig,
    ) -> Result<TlsStream<TcpStream>, BoxError> {
        let socket = TcpStream::connect(self.gateway.https_address()).await?;
        let name = ServerName::try_from(sni.to_owned())?;
        Ok(TlsConnector::from(Arc::new(visitor)).connect(name, socket).await?)
    }

    /// A visitor who trusts the gateway's authority, and shows a certificate if there is one.
    pub fn visitor(&self, identity: Option<Identity>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.gateway.anchor_pem().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(adit_examples::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            Some((certificate, key)) => config.with_client_auth_cert(vec![certificate], key).unwrap(),
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config
    }

    /// A visitor who only looks at what certificate there is.
    pub fn visitor_of_anybody(&self) -> ClientConfig {
        let mut config = self.visitor(None);
        config.dangerous().set_certificate_verifier(Arc::new(AnyCertificate {}));
        config
    }
}

/// A certificate and its key.
pub type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// A running agent, and what it reports.
pub struct Agent {
    pub events: mpsc::UnboundedReceiver<Event>,
    pub stop: CancellationToken,
    pub task: tokio::task::JoinHandle<bool>,
}

impl Agent {
    pub fn start(tunnel: Tunnel, link: Link, secret: &str) -> Self {
        Self::start_with(tunnel, link, Local::default(), secret)
    }

    pub fn start_with(tunnel: Tunnel, link: Link, local: Local, secret: &str) -> Self {
        Self::start_as(agent::Config { tunnel, link, local, terms: Terms::default() }, secret)
    }

    pub fn start_on(tunnel: Tunnel, terms: Terms, link: Link, secret: &str) -> Self {
        Self::start_as(agent::Config { tunnel, link, local: Local::default(), terms }, secret)
    }

    pub fn start_as(config: agent::Config, secret: &str) -> Self {
        let (report, events) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let secret: Secret = secret.parse().unwrap();
        let task = tokio::spawn(agent::run(config, secret, stop.clone(), move |event| {
            let _ = report.send(event);
        }));
        Self { events, stop, task }
    }

    /// Waits for the event that `wanted` finds something in.
    pub async fn event<R>(&mut self, mut wanted: impl FnMut(&Event) -> Option<R>) -> R {
        let wait = async {
            loop {
                let event = self.events.recv().await.expect("the agent ended before the awaited event");
                if let Some(found) = wanted(&event) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the awaited event never came")
    }

    /// Waits until the tunnel is public; gives its addresses.
    pub async fn serving(&mut self) -> Vec<String> {
        self.event(|event| match event {
            Event::Serving { addresses, .. } => Some(addresses.clone()),
            _ => None,
        })
        .await
    }

    /// Waits until the tunnel is public, or the agent stops for good with a code.
    pub async fn serving_or_stopped(&mut self) -> Option<String> {
        self.event(|event| match event {
            Event::Serving { .. } => Some(None),
            Event::Stopped { code, .. } => Some(Some(code.clone())),
            _ => None,
        })
        .await
    }

    /// Waits until the agent stops for good; gives the code and the next action.
    pub async fn stopped(&mut self) -> (String, String) {
        self.event(|event| match event {
            Event::Stopped { code, next_action, .. } => Some((code.clone(), next_action.clone())),
            _ => None,
        })
        .await
    }
}

pub fn http_tunnel(upstream: SocketAddr, name: &str) -> Tunnel {
    Tunnel::Http { upstream: Upstream::from(upstream), name: Some(name.to_owned()) }
}

pub fn tls_tunnel(upstream: SocketAddr, name: &str) -> Tunnel {
    Tunnel::Tls { upstream: Upstream::from(upstream), name: Some(name.to_owned()) }
}

/// An upstream that answers every request with its own name, and counts the connections that reach it.
pub struct Greeter {
    pub address: SocketAddr,
    pub visits: Arc<AtomicUsize>,
}

impl Greeter {
    pub async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, visits) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&visits);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut head = [0; 4096];
                    // One read is enough for the small requests of these tests.
                    let _ = socket.read(&mut head).await;
                    let reply = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
                    let _ = socket.write_all(reply.as_bytes()).await;
                    let _ = socket.shutdown().await;
                });
            }
        });
        Self { address, visits }
    }

    pub fn count(&self) -> usize {
        self.visits.load(Ordering::SeqCst)
    }
}

/// An upstream that answers every head it reads with the same octets, and remembers the heads.
pub struct Script {
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Script {
    pub async fn start(answer: &'static str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, heads) = (listener.local_addr().unwrap(), Arc::default());
        let seen: Arc<Mutex<Vec<String>>> = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    let head = read_head(&mut socket).await;
                    seen.lock().unwrap().push(head);
                    let _ = socket.write_all(answer.as_bytes()).await;
                    let _ = socket.shutdown().await;
                });
            }
        });
        Self { address, heads }
    }

    pub fn count(&self) -> usize {
        self.heads.lock().unwrap().len()
    }

    pub fn last(&self) -> String {
        self.heads.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

/// Reads up to the end of a head, and nothing behind it.
pub async fn read_head(io: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let read = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match io.read_u8().await {
                Ok(octet) => head.push(octet),
                Err(_) => break,
            }
        }
        String::from_utf8(head).unwrap()
    };
    tokio::time::timeout(PATIENCE, read).await.expect("no end of the head")
}

/// Sends raw octets and reads until the other side closes.
pub async fn raw(io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin, octets: &[u8]) -> String {
    let mut io = io;
    io.write_all(octets).await.unwrap();
    let mut reply = Vec::new();
    tokio::time::timeout(PATIENCE, io.read_to_end(&mut reply)).await.expect("no end of the answer").unwrap();
    String::from_utf8(reply).unwrap()
}

/// A GET that asks for the connection to be closed behind it.
pub fn get(host: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").into_bytes()
}
