//! Several agents for one tunnel: who gets a visitor, and what becomes of visitors whose agent goes.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test"
)]

mod support;

use adit_examples::agent::{Terms, Tunnel};
use std::collections::HashSet;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::{Agent, Greeter, PATIENCE, World, get, http_tunnel, raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;

#[tokio::test]
async fn two_agents_share_one_name_and_a_visitor_with_the_cookie_sticks() {
    let world = World::start().await;
    let (_one, _two) = (sharing(&world, "one").await, sharing(&world, "two").await);
    let host = world.host("my-app");
    let mut answered = HashSet::new();
    let mut cookies = Vec::new();
    for _ in 0..40 {
        let reply = raw(world.http().await, &get(&host)).await;
        answered.insert(name(&reply));
        cookies.push((cookie(&reply).expect("a visitor without a cookie gets one"), name(&reply)));
    }
    assert_eq!(answered.len(), 2, "each gets some of those who come");
    for (cookie, before) in cookies {
        let request =
            format!("GET / HTTP/1.1\r\nhost: {host}\r\ncookie: {cookie}\r\nconnection: close\r\n\r\n");
        let reply = raw(world.http().await, request.as_bytes()).await;
        assert_eq!(name(&reply), before);
        assert!(self::cookie(&reply).is_none(), "who has one gets no other");
    }
}

#[tokio::test]
async fn one_agent_alone_sets_no_cookie_and_its_upstream_sees_none() {
    let world = World::start().await;
    let upstream = support::Script::start("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let mut agent = world.agent_on(http_tunnel(upstream.address, "my-app"), shared());
    agent.serving().await;
    let host = world.host("my-app");
    let request = format!(
        "GET / HTTP/1.1\r\nhost: {host}\r\ncookie: a=b; adit-agent=00000000000000ff\r\nconnection: close\r\n\r\n"
    );
    let reply = raw(world.http().await, request.as_bytes()).await;
    assert!(cookie(&reply).is_none());
    let head = upstream.last();
    assert!(head.contains("cookie: a=b\r\n"), "{head}");
}

#[tokio::test]
async fn the_newest_agent_that_does_not_share_wins_over_all_who_do() {
    let world = World::start().await;
    let (mut one, mut two) = (sharing(&world, "one").await, sharing(&world, "two").await);
    let upstream = Greeter::start("alone").await;
    let mut alone = world.agent(http_tunnel(upstream.address, "my-app"));
    alone.serving().await;
    assert_eq!(one.stopped().await.0, "SUPERSEDED");
    assert_eq!(two.stopped().await.0, "SUPERSEDED");
    // And whoever would share with one that doesn't has the tunnel alone, too.
    let _three = sharing(&world, "three").await;
    assert_eq!(alone.stopped().await.0, "SUPERSEDED");
    assert_eq!(name(&raw(world.http().await, &get(&world.host("my-app"))).await), "three");
}

#[tokio::test]
async fn a_killed_agent_loses_no_request_that_was_not_answered() {
    let world = World::start().await;
    let silent = Silent::start().await;
    let killed = Killable::start(&world, http_tunnel(silent.address, "my-app")).await;
    let (_two, _three) = (sharing(&world, "two").await, sharing(&world, "three").await);
    let host = world.host("my-app");
    let mut visits = JoinSet::new();
    // Until some of them wait at the one that never answers.
    while silent.count() < 3 {
        let (io, request) = (world.http().await, get(&host));
        visits.spawn(async move { raw(io, &request).await });
        tokio::task::yield_now().await;
        assert!(visits.len() < 2_000, "nobody is brought to one of three agents");
    }
    killed.kill();
    while let Some(reply) = visits.join_next().await {
        let reply = reply.unwrap();
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
        assert!(["two", "three"].contains(&name(&reply).as_str()), "{reply}");
    }
}

#[tokio::test]
async fn what_may_have_been_done_is_sent_again_where_that_is_safe_and_never_where_it_is_not() {
    let world = World::start().await;
    let silent = Silent::start().await;
    let killed = Killable::start(&world, http_tunnel(silent.address, "my-app")).await;
    let done = Greeter::start("done").await;
    let mut other = world.agent_on(http_tunnel(done.address, "my-app"), shared());
    other.serving().await;
    let host = world.host("my-app");
    let (mut puts, mut posts) = (JoinSet::new(), JoinSet::new());
    while silent.puts() < 1 || silent.posts() < 1 {
        for (method, visits) in [("PUT", &mut puts), ("POST", &mut posts)] {
            let request = format!(
                "{method} / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            );
            let io = world.http().await;
            visits.spawn(async move { raw(io, request.as_bytes()).await });
        }
        tokio::task::yield_now().await;
        assert!(puts.len() < 2_000, "nobody is brought to one of two agents");
    }
    // Whatever is on its way has arrived once the other one's are answered and the rest waits here.
    let waiting = |silent: &Silent, done: &Greeter| silent.count() + done.count();
    while waiting(&silent, &done) < puts.len() + posts.len() {
        tokio::task::yield_now().await;
    }
    let (silent_posts, before) = (silent.posts(), done.count());
    let silent_puts = silent.count() - silent_posts;
    killed.kill();
    while let Some(reply) = puts.join_next().await {
        let reply = reply.unwrap();
        assert_eq!(name(&reply), "done");
    }
    let mut cut_off = 0;
    while let Some(reply) = posts.join_next().await {
        let reply = reply.unwrap();
        cut_off += usize::from(reply.starts_with("HTTP/1.1 502") || reply.starts_with("HTTP/1.1 503"));
    }
    assert_eq!(cut_off, silent_posts, "what may have been done is not done twice");
    assert_eq!(done.count(), before + silent_puts);
}

#[tokio::test]
async fn a_raw_visitor_goes_to_another_agent_before_the_first_octet_and_comes_back_to_the_same_one() {
    let world = World::start().await;
    let (one, two) = (Host::start("one").await, Host::start("two").await);
    let tcp = |host: &Host| Tunnel::Tcp {
        upstream: host.address.into(),
        name: Some("my-db".to_owned()),
        public_port: None,
    };
    let (first, second) =
        (Killable::start(&world, tcp(&one)).await, Killable::start(&world, tcp(&two)).await);
    assert_eq!(first.addresses, second.addresses, "who shares a tunnel shares its port");
    let port: SocketAddr = first.addresses[0].strip_prefix("tcp://").unwrap().parse().unwrap();
    let mut visitors = Vec::new();
    for _ in 0..5 {
        visitors.push(TcpStream::connect(port).await.unwrap());
    }
    while one.count() + two.count() < 5 {
        tokio::task::yield_now().await;
    }
    let sticks_to_one = one.count() == 5;
    assert!(sticks_to_one || two.count() == 5, "visitors of one address are not spread");
    let (gone, other) = if sticks_to_one { (first, &two) } else { (second, &one) };
    gone.kill();
    other.speak.send_replace(true);
    for mut visitor in visitors {
        let mut said = vec![0; other.name.len()];
        tokio::time::timeout(PATIENCE, visitor.read_exact(&mut said)).await.expect("no word").unwrap();
        assert_eq!(said, other.name.as_bytes());
    }
}

#[tokio::test]
async fn an_agent_that_leaves_finishes_what_it_has_while_others_get_what_is_new() {
    let world = World::start().await;
    let slow = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut leaving = world.agent_on(http_tunnel(slow.local_addr().unwrap(), "my-app"), shared());
    leaving.serving().await;
    let (host, mut visitor) = (world.host("my-app"), world.http().await);
    visitor.write_all(&get(&host)).await.unwrap();
    let (mut served, _) = slow.accept().await.unwrap();
    let _ = served.read(&mut [0; 4096]).await.unwrap();
    let _staying = sharing(&world, "staying").await;
    leaving.stop.cancel();
    // The gateway has heard of it once nobody gets the leaving one any more.
    let mut in_a_row = 0;
    while in_a_row < 20 {
        let mut io = world.http().await;
        io.write_all(&get(&host)).await.unwrap();
        let mut reply = String::new();
        // One that is brought to the leaving agent waits for an answer that comes later.
        let read = tokio::time::timeout(Duration::from_millis(300), io.read_to_string(&mut reply)).await;
        let is_staying = read.is_ok() && name(&reply) == "staying";
        in_a_row = if is_staying { in_a_row + 1 } else { 0 };
    }
    served.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate").await.unwrap();
    let mut reply = String::new();
    tokio::time::timeout(PATIENCE, visitor.read_to_string(&mut reply)).await.expect("no end").unwrap();
    assert!(reply.ends_with("late"), "{reply}");
    assert!(leaving.task.await.unwrap());
}

/// An agent that shares `my-app` and whose upstream says `name`.
async fn sharing(world: &World, name: &'static str) -> Agent {
    let upstream = Greeter::start(name).await;
    let mut agent = world.agent_on(http_tunnel(upstream.address, "my-app"), shared());
    agent.serving().await;
    agent
}

fn shared() -> Terms {
    Terms { share_load: true, ..Terms::default() }
}

/// The body of an answer.
fn name(reply: &str) -> String {
    reply.split_once("\r\n\r\n").unwrap().1.to_owned()
}

fn cookie(reply: &str) -> Option<String> {
    let (_, set) = reply.split_once("set-cookie: ")?;
    set.split(';').next().map(str::to_owned)
}

/// An agent that can be killed as a process is: all of its sockets are gone at once, without a word.
struct Killable {
    runtime: Option<Runtime>,
    addresses: Vec<String>,
}

impl Killable {
    async fn start(world: &World, tunnel: Tunnel) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut agent = {
            let _entered = runtime.enter();
            world.agent_on(tunnel, shared())
        };
        let addresses = agent.serving().await;
        Self { runtime: Some(runtime), addresses }
    }

    fn kill(self) {
        drop(self);
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// An upstream that reads requests and never answers.
struct Silent {
    address: SocketAddr,
    requests: Arc<[AtomicUsize; 2]>,
}

impl Silent {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests: Arc<[AtomicUsize; 2]> = Arc::default();
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    let head = support::read_head(&mut socket).await;
                    seen[usize::from(head.starts_with("POST"))].fetch_add(1, Ordering::SeqCst);
                    pending::<()>().await;
                });
            }
        });
        Self { address, requests }
    }

    fn puts(&self) -> usize {
        self.requests[0].load(Ordering::SeqCst)
    }

    fn posts(&self) -> usize {
        self.requests[1].load(Ordering::SeqCst)
    }

    fn count(&self) -> usize {
        self.puts() + self.posts()
    }
}

/// An upstream that speaks first, once it may.
struct Host {
    address: SocketAddr,
    name: &'static str,
    guests: Arc<AtomicUsize>,
    speak: watch::Sender<bool>,
}

impl Host {
    async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, speak) = (listener.local_addr().unwrap(), watch::Sender::new(false));
        let (guests, may): (Arc<AtomicUsize>, _) = (Arc::default(), speak.clone());
        let seen = Arc::clone(&guests);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                seen.fetch_add(1, Ordering::SeqCst);
                let mut may = may.subscribe();
                tokio::spawn(async move {
                    let _ = may.wait_for(|may| *may).await;
                    let _ = socket.write_all(name.as_bytes()).await;
                });
            }
        });
        Self { address, name, guests, speak }
    }

    fn count(&self) -> usize {
        self.guests.load(Ordering::SeqCst)
    }
}
