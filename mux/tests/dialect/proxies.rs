//! Reverse proxies that end HTTP/2 on one side and begin it on the other: which way round they let us through.
//!
//! An agent that is HTTP/2's client passes; one that is its server on the connection that it dialled, as in ours, can't.
//! Where a proxy isn't installed its tests pass over themselves.

use crate::{head, run};
use adit_mux::carrier::h2::dialect::{Connection, Limits, Opener};
use adit_mux::carrier::h2::start;
use adit_mux::{Config, Role};
use bytes::Bytes;
use http::{HeaderMap, Response};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A proxy in front of a gateway, until it is dropped.
struct Proxy {
    child: Child,
    folder: PathBuf,
    address: SocketAddr,
}

impl Proxy {
    /// nginx with `grpc_pass`, the only way in which it speaks HTTP/2 to a server; None if there is no nginx.
    async fn nginx(gateway: SocketAddr) -> Option<Self> {
        Self::start("nginx", gateway, |address, folder| {
            let at = folder.display();
            let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .iter()
                .map(|name| format!("{name}_temp_path {at}/{name};"))
                .collect();
            format!(
                "daemon off; master_process off; pid {at}/pid; error_log {at}/log; events {{}} http {{ access_log off; {temporary} \
                 server {{ listen {address} http2; location / {{ grpc_pass grpc://{gateway}; \
                 client_max_body_size 0; }} }} }}"
            )
        })
        .await
    }

    /// HAProxy with HTTP/2 on both sides; None if there is no HAProxy.
    async fn haproxy(gateway: SocketAddr) -> Option<Self> {
        Self::start("haproxy", gateway, |address, _| {
            format!(
                "defaults\n mode http\n timeout connect 60s\n timeout client 60s\n timeout server 60s\n timeout tunnel 60s\n\
                 frontend agents\n bind {address} proto h2\n default_backend gateway\n\
                 backend gateway\n server gateway {gateway} proto h2\n"
            )
        })
        .await
    }

    async fn start(
        program: &str,
        gateway: SocketAddr,
        config: impl FnOnce(SocketAddr, &PathBuf) -> String,
    ) -> Option<Self> {
        let probe = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = probe.local_addr().unwrap();
        let folder = std::env::temp_dir().join(format!("adit-mux-{program}-{}", gateway.port()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("config");
        fs::write(&file, config(address, &folder)).unwrap();
        drop(probe);
        let flag = if program == "nginx" { "-c" } else { "-f" };
        let command =
            Command::new(program).arg(flag).arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let Ok(child) = command else {
            println!("there is no {program}: passed over");
            fs::remove_dir_all(&folder).unwrap();
            return None;
        };
        let proxy = Self { child, folder, address };
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Some(proxy)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have gone by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A gateway that echoes: requests and extended CONNECTs, each with trailers or without.
async fn gateway() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut connection) = Connection::server(socket, &Limits::default()).await else { return };
                while let Some(Ok(asked)) = connection.accept().await {
                    let is_bridge = asked.protocol().is_some();
                    let answer = Response::builder().header("content-type", "application/grpc").body(());
                    let mut answered = asked.answer(answer.unwrap()).unwrap();
                    tokio::spawn(async move {
                        while let Ok(Some(octets)) = answered.receive.data().await {
                            answered.receive.release(octets.len()).unwrap();
                            answered.send.send(octets).await.unwrap();
                        }
                        let mut trailers = HeaderMap::new();
                        trailers.insert("x-end", "34".parse().unwrap());
                        match is_bridge {
                            true => answered.send.finish().unwrap(),
                            false => answered.send.finish_with(trailers).unwrap(),
                        }
                    });
                }
            });
        }
    });
    address
}

async fn agent(proxy: &Proxy) -> Opener {
    let socket = TcpStream::connect(proxy.address).await.unwrap();
    let connection = Connection::client(socket, &Limits::default()).await.unwrap();
    let opener = connection.opener().unwrap();
    tokio::spawn(run(connection, mpsc::unbounded_channel().0));
    opener
}

#[tokio::test]
async fn requests_of_an_agent_that_is_the_client_pass_nginx_both_ways_in_lock_step() {
    let Some(proxy) = Proxy::nginx(gateway().await).await else { return };
    let mut opener = agent(&proxy).await;
    for _ in 0..3 {
        let mut request = head("/next");
        *request.method_mut() = http::Method::POST;
        request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        let mut asking = opener.open(request).await.unwrap();
        asking.send.send(Bytes::from_static(b"first")).await.unwrap();
        let (answer, mut receive) = asking.answer.await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(receive.data().await.unwrap().unwrap().as_ref(), b"first");
        receive.release(5).unwrap();
        for round in 0..20_u8 {
            // Each comes back before the next leaves: nothing is kept until there is more.
            asking.send.send(Bytes::from(vec![round; 100])).await.unwrap();
            let mut came = 0;
            while came < 100 {
                let octets = receive.data().await.unwrap().unwrap();
                assert!(octets.iter().all(|octet| *octet == round));
                came += octets.len();
                receive.release(octets.len()).unwrap();
            }
        }
        asking.send.finish().unwrap();
        assert_eq!(receive.data().await.unwrap(), None);
        assert_eq!(receive.trailers().await.unwrap().unwrap()["x-end"], "34");
    }
}

#[tokio::test]
async fn extended_connect_of_an_agent_that_is_the_client_passes_haproxy() {
    let Some(proxy) = Proxy::haproxy(gateway().await).await else { return };
    let mut opener = agent(&proxy).await;
    let asking = opener.connect("websocket", head("/bridge")).await.unwrap();
    let mut bridge = asking.into_bridge().await.unwrap().unwrap();
    for round in 0..20_u8 {
        bridge.write_all(&[round; 100]).await.unwrap();
        let mut block = [0; 100];
        bridge.read_exact(&mut block).await.unwrap();
        assert_eq!(block, [round; 100]);
    }
}

#[tokio::test]
async fn a_session_whose_dialler_is_the_server_passes_no_proxy_that_ends_http2() {
    let gateway = gateway().await;
    for proxy in [Proxy::nginx(gateway).await, Proxy::haproxy(gateway).await].into_iter().flatten() {
        let socket = TcpStream::connect(proxy.address).await.unwrap();
        let config = Config::default().handshake_timeout(Duration::from_secs(10));
        let (session, _incoming, driver) = start(Role::Dialler, socket, &config);
        tokio::spawn(driver);
        // It ends before the peer has said that streams may be opened.
        let opened = session.open("head").await;
        assert!(opened.is_err());
    }
}
