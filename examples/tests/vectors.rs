//! The specification without our crate: vectors and an agent in Python, and the multiplexer's core on the vectors of the
//! order of frames.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test"
)]

mod support;

use adit_mux::{Batch, Config, Connection, Role};
use bytes::Bytes;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use support::{Folder, PATIENCE, World};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Whether there is a Python; without one these tests say so and prove nothing.
fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").stdout(Stdio::null()).status();
    let is_there = found.is_ok_and(|status| status.success());
    if !is_there {
        eprintln!("skipped: there is no python3");
    }
    is_there
}

/// What the checker says of the vectors in `folder`, and whether it found nothing wrong.
fn check(folder: &Path) -> (bool, String) {
    let checker = root().join("wire-proto/python/check.py");
    let output = Command::new("python3").arg("-B").arg(checker).arg(folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said.into_owned())
}

#[test]
fn every_vector_holds_in_another_language() {
    if has_python() {
        let (is_right, said) = check(&root().join("wire-proto/vectors"));
        assert!(is_right && said.contains(" 0 failed"), "{said}");
    }
}

#[test]
fn the_checker_in_another_language_finds_wrong_vectors() {
    if !has_python() {
        return;
    }
    let folder = Folder::new();
    std::fs::create_dir_all(&folder.0).unwrap();
    for file in std::fs::read_dir(root().join("wire-proto/vectors")).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.replacen("\"MALFORMED\"", "\"PROTOCOL\"", 1).replacen(
            "\"verifier\": \"3f",
            "\"verifier\": \"40",
            1,
        );
        std::fs::write(folder.0.join(path.file_name().unwrap()), text).unwrap();
    }
    let (is_right, said) = check(&folder.0);
    // Frames, agent's messages, heads, traces, credentials, QUIC and HTTP/2 have one such place each.
    assert!(!is_right && said.contains(" 7 failed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_in_another_language_serves_visitors() {
    if !has_python() {
        return;
    }
    let world = World::plain().await;
    let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = echo.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = echo.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = socket.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            });
        }
    });
    let mut agent = tokio::process::Command::new("python3")
        .arg("-B")
        .arg(root().join("examples/python/agent.py"))
        .args(["--gateway", &world.gateway.agent_address().to_string(), "--upstream", &upstream])
        .env("ADIT_SECRET", &world.secret)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(agent.stdout.take().unwrap()).lines();
    let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().expect("the agent ended");
    let address = line.strip_prefix("serving tcp://").unwrap_or_else(|| panic!("{line}")).to_owned();
    // More than the windows of both sides, twice, each way at once, and the end behind it.
    for _ in 0..2 {
        let sent: Vec<u8> = (0..1_500_000_u32).flat_map(u32::to_be_bytes).collect();
        let (mut from, mut to) = TcpStream::connect(&address).await.unwrap().into_split();
        let expected = sent.clone();
        let writing = tokio::spawn(async move {
            to.write_all(&sent).await.unwrap();
            to.shutdown().await.unwrap();
        });
        let mut came = Vec::new();
        timeout(PATIENCE, from.read_to_end(&mut came)).await.expect("all of it in time").unwrap();
        writing.await.unwrap();
        assert!(came == expected, "{} of {} octets came back", came.len(), expected.len());
    }
}

#[test]
fn the_multiplexer_keeps_the_order_of_frames_that_the_vectors_demand() {
    let text = std::fs::read_to_string(root().join("wire-proto/vectors/orders.json")).unwrap();
    let vectors: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(vectors.len() >= 16);
    for vector in vectors {
        let role = if vector["dialled_by_peer"] == true { Role::Listener } else { Role::Dialler };
        let (now, mut batch) = (Instant::now(), Batch::new());
        let mut core = Connection::new(role, Config::default(), now);
        let mut outcome = Ok(());
        for step in vector["steps"].as_array().unwrap() {
            if step["from"] == "us" {
                core.ping();
                core.poll_transmit(now, &mut batch);
            } else {
                let octets =
                    data_encoding::HEXLOWER.decode(step["hex"].as_str().unwrap().as_bytes()).unwrap();
                outcome = core.receive(now, Bytes::from(octets));
            }
        }
        let code = outcome.err().map(|error| error.close_code().to_string());
        assert_eq!(code.as_deref(), vector.get("error").map(|it| it.as_str().unwrap()), "{vector}");
    }
}
