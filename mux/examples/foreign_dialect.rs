//! A gateway that serves two kinds of agents on one port: ours, and agents that speak somebody else's HTTP/2 protocol.
//!
//! `cargo run -p adit-mux --example foreign_dialect --features h2`
//!
//! In the other dialect the agent is HTTP/2's *client*. It parks requests (`GET /next`); when a visitor comes, the gateway
//! answers one with the visitor's number; the agent opens an extended CONNECT (RFC 8441) for it, and raw octets go both
//! ways. Our own agents are HTTP/2's *server* on the connection that they dialled. With TLS it is ALPN that tells them
//! apart (`h2` and `adit-h2/1`); this example has none, so it looks at the first octet, which differs too.
#![allow(clippy::disallowed_methods, reason = "a program owns its tasks and sockets")]

use adit_mux::carrier::h2::dialect::{Asked, Connection, Limits, LinkError};
use adit_mux::{Config, Role, carrier::h2};
use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy_bidirectional, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?;
    let gateway = tokio::spawn(async move {
        for _ in 0..2 {
            let (socket, _) = listener.accept().await?;
            serve(socket).await?;
        }
        Ok::<(), Failure>(())
    });
    our_agent(TcpStream::connect(port).await?).await?;
    foreign_agent(TcpStream::connect(port).await?).await?;
    gateway.await?
}

/// The gateway's side of a connection, of either kind.
async fn serve(socket: TcpStream) -> Result<(), Failure> {
    socket.set_nodelay(true)?;
    let mut first = [0];
    socket.peek(&mut first).await?;
    // HTTP/2's client begins with "PRI *", its server with the length of its settings.
    match first {
        [b'P'] => serve_foreign(socket).await,
        _ => serve_ours(socket).await,
    }
}

async fn serve_ours(socket: TcpStream) -> Result<(), Failure> {
    let (session, _incoming, driver) = h2::start(Role::Listener, socket, &Config::default());
    tokio::spawn(driver);
    let mut stream = session.open("visitor").await?;
    stream.write_all(b"hello").await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    println!("our agent answered: {answer}");
    Ok(())
}

async fn our_agent(socket: TcpStream) -> Result<(), Failure> {
    let (_session, mut incoming, driver) = h2::start(Role::Dialler, socket, &Config::default());
    tokio::spawn(driver);
    let Some(stream) = incoming.accept().await else { return Err("the gateway went away".into()) };
    shout(stream.accept()).await?;
    Ok(())
}

/// What the gateway knows of an agent of the other kind.
struct Foreign {
    /// Requests to be answered when a visitor comes; at most as many as [`Limits::streams`].
    parked: Vec<Asked>,
    /// Visitors that were told to the agent and wait for it; no more than requests were parked.
    told: HashMap<String, DuplexStream>,
    next_number: u64,
}

async fn serve_foreign(socket: TcpStream) -> Result<(), Failure> {
    let mut connection = Connection::server(socket, &Limits::default()).await?;
    let mut agent = Foreign { parked: Vec::new(), told: HashMap::new(), next_number: 1 };
    let (come, mut visitors) = mpsc::channel(1);
    let mut visitor = tokio::spawn(visit(come));
    loop {
        tokio::select! {
            asked = connection.accept() => match asked {
                Some(asked) => agent.asked(asked?)?,
                None => return Ok(()),
            },
            Some(visitor) = visitors.recv(), if !agent.parked.is_empty() => agent.tell(visitor)?,
            visited = &mut visitor => break visited??,
        }
    }
    // The agent learns when to come back, in words of its own protocol: nothing comes behind them.
    connection.close(0, b"retry-after=5", Duration::from_secs(5)).await?;
    Ok(())
}

impl Foreign {
    fn asked(&mut self, asked: Asked) -> Result<(), LinkError> {
        let path = asked.head().uri().path().to_owned();
        match asked.protocol() {
            None if path == "/next" => self.parked.push(asked),
            Some("bridge") => match self.told.remove(&path) {
                Some(visitor) => bridge(asked, visitor)?,
                None => asked.reset(CANCEL),
            },
            None | Some(_) => asked.reset(PROTOCOL_ERROR),
        }
        Ok(())
    }

    /// Answers a parked request with the path under which the visitor waits.
    fn tell(&mut self, visitor: DuplexStream) -> Result<(), Failure> {
        let Some(parked) = self.parked.pop() else { return Ok(()) };
        let path = format!("/visitors/{}", self.next_number);
        self.next_number += 1;
        parked.answer_whole(http::Response::builder().header("x-visitor", path.as_str()).body(())?)?;
        self.told.insert(path, visitor);
        Ok(())
    }
}

fn bridge(asked: Asked, mut visitor: DuplexStream) -> Result<(), LinkError> {
    let mut bridge = asked.answer(http::Response::new(()))?.into_bridge();
    tokio::spawn(async move { copy_bidirectional(&mut bridge, &mut visitor).await });
    Ok(())
}

/// A visitor, in the place of a public connection.
async fn visit(come: mpsc::Sender<DuplexStream>) -> Result<(), Failure> {
    let (mut ours, theirs) = duplex(64 * 1024);
    come.send(theirs).await?;
    ours.write_all(b"hello").await?;
    ours.shutdown().await?;
    let mut answer = String::new();
    ours.read_to_string(&mut answer).await?;
    println!("the foreign agent answered: {answer}");
    Ok(())
}

async fn foreign_agent(socket: TcpStream) -> Result<(), Failure> {
    let mut connection = Connection::client(socket, &Limits::default()).await?;
    let Some(mut opener) = connection.opener() else { return Err("a client opens".into()) };
    let driving = tokio::spawn(async move { connection.accept().await });
    let (answer, _) = opener.ask(request("/next")?).await?.await?;
    let path = answer.headers().get("x-visitor").ok_or("no visitor")?.to_str()?;
    let asking = opener.connect("bridge", request(path)?).await?;
    let bridge = asking.into_bridge().await?.map_err(|answer| answer.status().to_string())?;
    shout(bridge).await?;
    match driving.await? {
        Some(Err(error)) => println!("the gateway closed: {error}"),
        Some(Ok(_)) | None => println!("the gateway closed"),
    }
    Ok(())
}

fn request(path: &str) -> Result<http::Request<()>, http::Error> {
    http::Request::builder().uri(format!("https://gateway.example{path}")).body(())
}

/// What both agents do with a visitor's octets.
async fn shout(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) -> Result<(), Failure> {
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    stream.write_all(text.to_uppercase().as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}

/// RFC 9113 section 7.
const PROTOCOL_ERROR: u32 = 0x1;
const CANCEL: u32 = 0x8;
