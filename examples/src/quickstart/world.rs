//! Everything the visitor's checks need, started on free ports of the loopback interface.

use super::clients::{Clients, Identity};
use super::{http3, owner, upstream, visitor};
use crate::BoxError;
use crate::agent::{self, Carriers, Event, Link, Local, Reach, Secret, Terms, Tunnel, Upstream};
use crate::gateway::{self, Gateway, WakeHook};
use adit_mux::Carrier;
use adit_router::{Cents, Detector};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

/// A gateway, an upstream and the agents between them.
pub(crate) struct World {
    gateway: Gateway,
    folder: PathBuf,
    upstream: SocketAddr,
    anchor: CertificateDer<'static>,
    /// One runtime per agent, so that one can be killed as a process would be: without a word to anybody.
    agents: HashMap<&'static str, Runtime>,
    tcp: SocketAddr,
    clients: Clients,
    echo: SocketAddr,
    /// Names of tunnels whose machines the gateway wants woken.
    woken: Mutex<mpsc::UnboundedReceiver<String>>,
}

impl World {
    /// The tunnel whose TLS the gateway ends.
    pub(crate) const HTTP: &str = "my-app";
    /// The tunnel whose TLS its agent ends.
    pub(crate) const TLS: &str = "my-vault";
    /// The tunnel whose visitors have to show a certificate.
    pub(crate) const SAFE: &str = "my-safe";
    /// The tunnel of the TCP echo.
    pub(crate) const TCP: &str = "my-echo";
    /// The tunnel whose upstream isn't there.
    pub(crate) const DOWN: &str = "my-ruin";

    /// What a tunnel costs the key that registers it.
    pub(crate) const TUNNEL_CENTS: u64 = 100;

    /// Starts everything and waits until all tunnels are public.
    pub(crate) async fn start() -> Result<Self, BoxError> {
        let folder = std::env::temp_dir().join(format!("adit-quickstart-{}", std::process::id()));
        let http = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (upstream, echo_address) = (http.local_addr()?, echo.local_addr()?);
        tokio::spawn(upstream::serve_http(http));
        tokio::spawn(upstream::serve_echo(echo));
        let clients = Clients::new()?;
        let client_ca = folder.join("clients.pem");
        std::fs::create_dir_all(&folder)?;
        std::fs::write(&client_ca, clients.pem())?;
        let mut config = gateway::Config::on_loopback(folder.join("gateway"), (35_000, 35_999));
        config.client_ca = vec![(Self::SAFE.to_owned(), client_ca)];
        let (wake, woken) = mpsc::unbounded_channel();
        config.tunnel_price = Cents::new(Self::TUNNEL_CENTS);
        // Nobody here waits for a server to speak first, and a busy machine is slow.
        config.detector = Detector::new().patience(Duration::from_secs(10));
        config.wake = Some(WakeHook::new(move |name| {
            // Nobody waits for wakes after the row about them.
            let _ = wake.send(name.to_owned());
        }));
        let gateway = Gateway::start(config).await?;
        let anchor = CertificateDer::from_pem_slice(gateway.anchor_pem().as_bytes())?;
        let unset = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (agents, woken) = (HashMap::new(), Mutex::new(woken));
        let mut world = Self {
            gateway,
            folder,
            upstream,
            anchor,
            agents,
            tcp: unset,
            clients,
            echo: echo_address,
            woken,
        };
        let name = |name: &str| Some(name.to_owned());
        world.agent(Self::HTTP, Tunnel::Http { upstream: upstream.into(), name: name(Self::HTTP) }).await?;
        let quic = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let local = Local { quic: Some(quic.local_addr()?), ..Local::default() };
        let tls = Tunnel::Tls { upstream: upstream.into(), name: name(Self::TLS) };
        world.agent_with(Self::TLS, tls, local).await?;
        let key = agent::certificate_path(&world.folder.join(Self::TLS), Self::TLS);
        http3::serve(quic, &world.host(Self::TLS), &key)?;
        world.agent(Self::SAFE, Tunnel::Http { upstream: upstream.into(), name: name(Self::SAFE) }).await?;
        world.agent(Self::DOWN, Tunnel::Http { upstream: nobody().await?, name: name(Self::DOWN) }).await?;
        let tcp = Tunnel::Tcp { upstream: echo_address.into(), name: name(Self::TCP), public_port: None };
        let addresses = world.agent(Self::TCP, tcp).await?;
        world.tcp = port_of(&addresses).ok_or("the TCP tunnel has no port")?;
        Ok(world)
    }

    /// Starts an agent in a runtime of its own and waits until its tunnel is public.
    async fn agent(&mut self, name: &'static str, tunnel: Tunnel) -> Result<Vec<String>, BoxError> {
        self.agent_with(name, tunnel, Local::default()).await
    }

    pub(super) async fn agent_with(
        &mut self,
        name: &'static str,
        tunnel: Tunnel,
        local: Local,
    ) -> Result<Vec<String>, BoxError> {
        let asked = Asked { local, ..Asked::default() };
        self.agent_as(name, tunnel, asked).await.map(|(addresses, _token)| addresses)
    }

    /// The same on terms; gives the visitors' token too, if one was made.
    pub(super) async fn agent_on(
        &mut self,
        name: &'static str,
        tunnel: Tunnel,
        terms: Terms,
    ) -> Result<(Vec<String>, Option<String>), BoxError> {
        self.agent_as(name, tunnel, Asked { terms, ..Asked::default() }).await
    }

    /// The same by one carrier and no other.
    pub(super) async fn agent_by(
        &mut self,
        name: &'static str,
        tunnel: Tunnel,
        carrier: Carrier,
    ) -> Result<Vec<String>, BoxError> {
        let asked = Asked { carrier: Some(carrier), ..Asked::default() };
        self.agent_as(name, tunnel, asked).await.map(|(addresses, _token)| addresses)
    }

    /// The same for the HTTP upstream.
    pub(super) async fn http_agent(
        &mut self,
        name: &'static str,
        terms: Terms,
    ) -> Result<Option<String>, BoxError> {
        let tunnel = Tunnel::Http { upstream: self.upstream.into(), name: Some(name.to_owned()) };
        self.agent_on(name, tunnel, terms).await.map(|(_addresses, token)| token)
    }

    /// The same with a key of its own.
    pub(super) async fn http_agent_by(&mut self, name: &'static str, key: &str) -> Result<(), BoxError> {
        let tunnel = Tunnel::Http { upstream: self.upstream.into(), name: Some(name.to_owned()) };
        let asked = Asked { secret: Some(key.to_owned()), ..Asked::default() };
        self.agent_as(name, tunnel, asked).await.map(drop)
    }

    /// An agent for the upstream, or for the echo on a TCP port, that reaches the gateway by `carrier` alone.
    pub(super) async fn start_by(
        &self,
        carrier: Carrier,
        name: &str,
        is_http: bool,
    ) -> Result<(Runtime, Vec<String>), BoxError> {
        let asked = Asked { carrier: Some(carrier), ..Asked::default() };
        let name = Some(name.to_owned());
        let tunnel = if is_http {
            Tunnel::Http { upstream: self.upstream.into(), name }
        } else {
            Tunnel::Tcp { upstream: self.echo.into(), name, public_port: None }
        };
        let folder = self.folder.join(carrier.name());
        let (runtime, addresses, _token) = start_agent_as(&self.gateway, &folder, tunnel, asked).await?;
        Ok((runtime, addresses))
    }

    async fn agent_as(
        &mut self,
        name: &'static str,
        tunnel: Tunnel,
        asked: Asked,
    ) -> Result<(Vec<String>, Option<String>), BoxError> {
        let folder = self.folder.join(name);
        let (runtime, addresses, token) = start_agent_as(&self.gateway, &folder, tunnel, asked).await?;
        if let Some(before) = self.agents.insert(name, runtime) {
            before.shutdown_background();
        }
        Ok((addresses, token))
    }

    /// Ends the agent of the HTTP tunnel as a crash would.
    pub(crate) fn kill_agent(&mut self) {
        self.stop_agent(Self::HTTP);
    }

    /// Ends an agent without a word.
    pub(super) fn stop_agent(&mut self, name: &str) {
        if let Some(runtime) = self.agents.remove(name) {
            runtime.shutdown_background();
        }
    }

    /// Starts the agent of the HTTP tunnel again.
    pub(crate) async fn restart_agent(&mut self) -> Result<(), BoxError> {
        let tunnel = Tunnel::Http { upstream: self.upstream.into(), name: Some(Self::HTTP.to_owned()) };
        self.agent(Self::HTTP, tunnel).await.map(drop)
    }

    /// Has the edge serve with new certificates.
    pub(crate) fn renew_certificates(&self) -> Result<(), BoxError> {
        self.gateway.renew_certificates()
    }

    /// A certificate for a visitor of the tunnel that asks for one.
    pub(crate) fn client(&self) -> Result<Identity, BoxError> {
        self.clients.identity()
    }

    /// Where everything is kept, until the end.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A request to the admin API, as the owner.
    pub(super) async fn api(&self, method: &str, path: &str, body: &Value) -> Result<(u16, Value), BoxError> {
        let token = self.gateway.fresh_admin_token().ok_or("the gateway is not new")?;
        owner::call(self.gateway.admin_address(), token, method, path, body).await
    }

    /// The next tunnel whose machine the gateway wants woken.
    pub(super) async fn woken(&self) -> Result<String, BoxError> {
        Ok(self.woken.lock().await.recv().await.ok_or("nothing wakes any more")?)
    }

    /// Where the HTTP upstream is.
    pub(super) const fn upstream(&self) -> SocketAddr {
        self.upstream
    }

    /// Where the TCP upstream is.
    pub(super) const fn echo(&self) -> SocketAddr {
        self.echo
    }

    /// Opens another agent's tunnel at a local port, with `key` or else the connect secret.
    pub(super) async fn reach(&self, name: &str, key: Option<&str>) -> Result<SocketAddr, BoxError> {
        let link = link(&self.gateway, &self.folder.join("reach"));
        let key = key.or_else(|| self.gateway.fresh_secret()).ok_or("the gateway is not new")?;
        let secret = key.parse::<Secret>()?;
        let reach = Reach::bind(name, 0).await?;
        let address = reach.local_address()?;
        tokio::spawn(async move { reach.run(&link, &secret, &CancellationToken::new(), drop).await });
        Ok(address)
    }

    /// The public host of the tunnel `name`.
    pub(crate) fn host(&self, name: &str) -> String {
        format!("{name}.{}", self.gateway.zone())
    }

    /// Where visitors connect by HTTP.
    pub(crate) const fn http_address(&self) -> SocketAddr {
        self.gateway.http_address()
    }

    /// A new visitor's connection for HTTP.
    pub(crate) async fn http(&self) -> Result<TcpStream, BoxError> {
        visitor::connect(self.gateway.http_address()).await
    }

    /// Where visitors connect by HTTPS.
    pub(crate) const fn https_address(&self) -> SocketAddr {
        self.gateway.https_address()
    }

    /// A new visitor's connection for HTTPS.
    pub(crate) async fn https(&self) -> Result<TcpStream, BoxError> {
        visitor::connect(self.gateway.https_address()).await
    }

    /// Where visitors connect by QUIC.
    pub(crate) const fn quic(&self) -> Option<SocketAddr> {
        self.gateway.quic_address()
    }

    /// Where the TCP tunnel is public.
    pub(crate) const fn tcp(&self) -> SocketAddr {
        self.tcp
    }

    /// The development authority, the only one that visitors trust here.
    pub(crate) const fn anchor(&self) -> &CertificateDer<'static> {
        &self.anchor
    }

    /// The certificate in the store of the agent that ends TLS itself.
    pub(crate) fn agent_certificate(&self) -> Result<CertificateDer<'static>, BoxError> {
        let path = agent::certificate_path(&self.folder.join(Self::TLS), Self::TLS);
        Ok(CertificateDer::from_pem_file(path)?)
    }

    /// Prints what curl needs.
    pub(crate) fn describe(&self) {
        let (http, https) = (self.gateway.http_address(), self.gateway.https_address());
        let ca = self.gateway.anchor_path();
        println!("\ntry, and end with Ctrl-C:");
        println!("  curl -H 'Host: {}' http://{http}/", self.host(Self::HTTP));
        for name in [Self::HTTP, Self::TLS] {
            let host = self.host(name);
            println!(
                "  curl --cacert {} --resolve {host}:{}:{} https://{host}:{}/",
                ca.display(),
                https.port(),
                https.ip(),
                https.port()
            );
        }
        println!(
            "  curl -H 'Host: {}' http://{http}/   # an upstream that isn't there",
            self.host(Self::DOWN)
        );
    }

    /// Ends the agents and the gateway and removes what they stored.
    pub(crate) async fn stop(self) {
        for (_, runtime) in self.agents {
            runtime.shutdown_background();
        }
        self.gateway.stop(Duration::from_secs(1)).await;
        // What is left behind is only in the temporary folder.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Starts an agent of `gateway` in a runtime of its own and waits until its tunnel is public.
pub(super) async fn start_agent(
    gateway: &Gateway,
    folder: &Path,
    tunnel: Tunnel,
    local: Local,
) -> Result<(Runtime, Vec<String>), BoxError> {
    let asked = Asked { local, ..Asked::default() };
    let (runtime, addresses, _token) = start_agent_as(gateway, folder, tunnel, asked).await?;
    Ok((runtime, addresses))
}

/// How an agent is started, beside what it serves.
#[derive(Default)]
struct Asked {
    local: Local,
    terms: Terms,
    /// Native if there is none.
    carrier: Option<Carrier>,
    /// The gateway's own connect secret if there is none.
    secret: Option<String>,
}

/// The same as asked for; gives the visitors' token too, if one was made.
async fn start_agent_as(
    gateway: &Gateway,
    folder: &Path,
    tunnel: Tunnel,
    asked: Asked,
) -> Result<(Runtime, Vec<String>, Option<String>), BoxError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut link = link(gateway, folder);
    if let Some(carrier) = asked.carrier {
        let quic_gateway = gateway.quic_address().map(|address| address.to_string());
        link.carriers = Carriers { quic_gateway, ..Carriers::only(carrier) };
    }
    let (report, mut events) = mpsc::unbounded_channel();
    let secret = match &asked.secret {
        Some(secret) => secret.parse::<Secret>()?,
        None => gateway.fresh_secret().ok_or("the gateway is not new")?.parse::<Secret>()?,
    };
    let stop = CancellationToken::new();
    let config = agent::Config { tunnel, link, local: asked.local, terms: asked.terms };
    runtime.spawn(agent::run(config, secret, stop, move |event| {
        // Nobody listens any more once the tunnel is public.
        let _ = report.send(event);
    }));
    let serving = async {
        let mut token = None;
        while let Some(event) = events.recv().await {
            match event {
                Event::VisitorToken { token: shown } => token = Some(shown.0),
                Event::Serving { addresses, .. } => return Ok((addresses, token)),
                Event::Stopped { message, .. } => return Err::<_, BoxError>(message.into()),
                _ => {}
            }
        }
        Err("the agent ended".into())
    };
    match tokio::time::timeout(Duration::from_secs(30), serving).await {
        Ok(Ok((addresses, token))) => Ok((runtime, addresses, token)),
        Ok(Err(error)) => {
            runtime.shutdown_background();
            Err(error)
        }
        Err(elapsed) => {
            runtime.shutdown_background();
            Err(elapsed.into())
        }
    }
}

/// An address at which nobody listens: it was free a moment ago.
async fn nobody() -> Result<Upstream, BoxError> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?.into())
}

/// `tcp://host:port` gives the port on the loopback interface.
pub(super) fn port_of(addresses: &[String]) -> Option<SocketAddr> {
    let (_, port) = addresses.first()?.rsplit_once(':')?;
    Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().ok()?)))
}

fn link(gateway: &Gateway, folder: &Path) -> Link {
    Link {
        gateway: gateway.agent_address().to_string(),
        carriers: Carriers::only(Carrier::Native),
        server_name: gateway.server_name().to_owned(),
        ca: gateway.anchor_path(),
        secret_file: None,
        rotate_secret: None,
        state: folder.to_owned(),
        json: false,
    }
}
