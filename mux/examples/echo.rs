//! Echo over TCP: `cargo run -p adit-mux --example echo` starts a listener and a dialler in one process, opens ten
//! streams on one connection, and prints what came back and what the session counted.
#![allow(clippy::disallowed_methods, reason = "a program owns its sockets and tasks")]

use adit_mux::{Builder, Incoming, Role};
use adit_wire_proto::CloseCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let _ = socket.set_nodelay(true);
            let (reader, writer) = socket.into_split();
            let (session, incoming, driver) = Builder::new(Role::Listener).build_split(reader, writer);
            tokio::spawn(driver);
            tokio::spawn(async move {
                echo(incoming).await;
                drop(session);
            });
        }
    });

    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (reader, writer) = socket.into_split();
    let (session, _incoming, driver) = Builder::new(Role::Dialler).build_split(reader, writer);
    let driver = tokio::spawn(driver);
    for number in 1..=10 {
        let mut stream = session.open("echo").await?;
        stream.write_all(format!("message {number}").as_bytes()).await?;
        stream.shutdown().await?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await?;
        println!("stream {}: {reply}", stream.id());
    }
    println!("round trip: {:?}", session.ping().await?);
    println!("frames sent: {}", session.stats().frames_sent);
    session.close(CloseCode::NONE, "done");
    println!("end: {}", driver.await?);
    Ok(())
}

/// Sends back what each stream brings.
async fn echo(mut incoming: Incoming) {
    while let Some(stream) = incoming.accept().await {
        let (mut send, mut receive) = stream.accept().split();
        tokio::spawn(async move {
            if tokio::io::copy(&mut receive, &mut send).await.is_ok() {
                let _ = send.finish();
            }
        });
    }
}
