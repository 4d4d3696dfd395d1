//! The agent program behind an HTTP proxy, which its environment names.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod support;

use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use support::{Greeter, PATIENCE, World, get, raw, read_head};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

#[tokio::test]
async fn an_agent_reaches_its_gateway_through_the_proxy_of_its_environment() {
    let (world, upstream, proxy) = (World::start().await, Greeter::start("a").await, Proxy::start().await);
    let address = format!("http://me:sec%20ret@{}", proxy.address);
    let gateway = world.gateway.agent_address();
    for (count, carrier) in ["native", "websocket", "h2"].into_iter().enumerate() {
        let variables = [("HTTPS_PROXY", address.as_str()), ("ADIT_CARRIER", carrier)];
        let mut agent = Program::start(&world, &upstream, &variables);
        agent.says("\"event\":\"serving\"").await;
        assert!(raw(world.http().await, &get(&world.host("my-app"))).await.ends_with('a'), "{carrier}");
        assert_eq!(world.api("GET", "/tunnels/my-app", Value::Null).await.1["carrier"], carrier);
        let head = proxy.heads().remove(count);
        assert!(head.starts_with(&format!("CONNECT {gateway} HTTP/1.1\r\nHost: {gateway}\r\n")), "{head}");
        assert!(head.contains("\r\nProxy-Authorization: Basic bWU6c2VjIHJldA==\r\n"), "{head}");
    }
}

#[tokio::test]
async fn no_proxy_and_an_empty_variable_lead_straight_there() {
    let (world, upstream, proxy) = (World::start().await, Greeter::start("a").await, Proxy::start().await);
    let address = format!("http://{}", proxy.address);
    for variables in [
        [("HTTPS_PROXY", address.as_str()), ("NO_PROXY", "example.com, 127.0.0.0/8")],
        [("ALL_PROXY", ""), ("HTTP_PROXY", address.as_str())],
    ] {
        let mut agent = Program::start(&world, &upstream, &variables);
        agent.says("\"event\":\"serving\"").await;
    }
    assert!(proxy.heads().is_empty());
}

#[tokio::test]
async fn w29_a_proxy_that_wants_another_password_is_named_without_the_one_it_got() {
    let (world, upstream, proxy) = (World::start().await, Greeter::start("a").await, Proxy::start().await);
    let address = format!("http://me:canary@{}", proxy.address);
    let mut agent = Program::start(&world, &upstream, &[("all_proxy", &address)]);
    agent.says("the proxy asks for other credentials").await;
    let mut agent = Program::start(&world, &upstream, &[("all_proxy", "socks5://me:canary@127.0.0.1:1080")]);
    agent.says("all_proxy: only http:// proxies are supported").await;
}

/// A small CONNECT proxy for whoever presents the password `sec ret`, and what it was asked.
struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, heads) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&seen)));
            }
        });
        Self { address, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn serve(mut socket: TcpStream, seen: Arc<Mutex<Vec<String>>>) {
    let head = read_head(&mut socket).await;
    let is_known = head.contains("\r\nProxy-Authorization: Basic bWU6c2VjIHJldA==\r\n");
    let target = head.split(' ').nth(1).unwrap().to_owned();
    seen.lock().unwrap().push(head);
    if !is_known {
        let answer = "HTTP/1.1 407 Required\r\nProxy-Authenticate: Basic realm=\"p\"\r\n\r\n";
        return drop(socket.write_all(answer.as_bytes()).await);
    }
    let mut onward = TcpStream::connect(target).await.unwrap();
    socket.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    let _ = copy_bidirectional(&mut socket, &mut onward).await;
}

/// The agent as a program of its own: an environment is a whole program's.
struct Program {
    _child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Program {
    fn start(world: &World, upstream: &Greeter, variables: &[(&str, &str)]) -> Self {
        let link = world.link();
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent"));
        command.args(["http", &upstream.address.to_string(), "--name", "my-app", "--json"]);
        command.arg("--gateway").arg(&link.gateway).arg("--server-name").arg(&link.server_name);
        command.arg("--ca").arg(&link.ca).arg("--state").arg(&link.state);
        for name in ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"] {
            command.env_remove(name);
        }
        // By TCP, and without a wait for QUIC, unless the variables say otherwise.
        command.env("ADIT_CARRIER", "native").env("ADIT_SECRET", &world.secret);
        command.envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { _child: child, lines }
    }

    /// Waits for a line with `wanted` in it; nothing before it shows a password.
    async fn says(&mut self, wanted: &str) {
        let wait = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                assert!(!line.contains("canary"), "{line}");
                if line.contains(wanted) {
                    return;
                }
            }
            panic!("the agent ended without `{wanted}`");
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never said `{wanted}`"));
    }
}
