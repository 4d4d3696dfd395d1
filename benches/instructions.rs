//! Instructions per operation, counted by callgrind: where time is noise, these repeat.
//!
//! `cargo bench -p adit-benches --bench instructions` (needs `valgrind`)
//!
//! Each operation runs in a process of its own, once a thousand and once three thousand times; the difference leaves
//! out everything that happens once.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use adit_benches::hello;
use adit_errors::{Code, Refusal, Reply, RequestId};
use adit_naming::TunnelId;
use adit_naming::keys::{KeyRing, RingKey};
use adit_naming::{Host, HostSource, TunnelNameRef, Zone, Zones};
use adit_tls_modes::{SniffLimits, Sniffer};
use adit_wire_proto::frame::{Decoder, Frame, FrameHeader, FrameKind};
use bytes::{Bytes, BytesMut};
use std::hint::black_box;
use std::process::Command;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// An operation by name, and what runs it so many times.
type Operation = (&'static str, fn(u32));

const OPERATIONS: &[Operation] = &[
    ("name: parse 6 octets", |times| repeat(times, || TunnelNameRef::parse(black_box("my-app")))),
    ("name: parse 18 octets", |times| {
        repeat(times, || TunnelNameRef::parse(black_box("quiet-heron-7kx2mp")))
    }),
    ("host: to destination, plain name", |times| destination(times, b"my-app.tunnel.example")),
    ("host: to destination, capitals and port", |times| destination(times, b"My-App.Tunnel.Example:443")),
    ("host: to destination, custom domain", |times| destination(times, b"shop.customer.test")),
    ("key: seal", |times| {
        let ring = ring();
        repeat(times, || ring.seal(TunnelId::from_u128(black_box(42))));
    }),
    ("key: open", |times| {
        let ring = ring();
        let key = ring.seal(TunnelId::from_u128(42));
        repeat(times, || ring.open(black_box(key.label())));
    }),
    ("envelope: write", |times| {
        let envelope = Refusal::from(Code::RATE_LIMITED).with_request_id(RequestId::from_random(7));
        repeat(times, || envelope.to_json());
    }),
    ("envelope: read", |times| {
        let body = Refusal::from(Code::RATE_LIMITED).with_request_id(RequestId::from_random(7)).to_json();
        repeat(times, || Reply::parse(429, black_box(&body)));
    }),
    ("hello: sniff 512 bytes", |times| sniff(times, &hello::classic(), usize::MAX)),
    ("hello: sniff 1,800 bytes, post-quantum", |times| sniff(times, &hello::post_quantum(), usize::MAX)),
    ("hello: the same, a byte at a time", |times| sniff(times, &hello::post_quantum(), 1)),
    ("hello: 3,600 bytes, a byte at a time", |times| sniff(times, &hello::padded(3_600), 1)),
    ("frame: decode a header", |times| {
        let octets = FrameHeader::new(FrameKind::DATA, 0, 16_376, 7).encode();
        repeat(times, || FrameHeader::decode(black_box(octets)));
    }),
    ("frame: nothing but the load of a header", |times| {
        let octets = FrameHeader::new(FrameKind::DATA, 0, 16_376, 7).encode();
        repeat(times, || black_box(octets));
    }),
    ("frame: encode a header", |times| {
        repeat(times, || {
            FrameHeader::new(FrameKind::DATA, black_box(1), black_box(16_376), black_box(7)).encode()
        });
    }),
    ("frame: h2 parses a head", |times| {
        repeat(times, || h2::frame::Head::parse(black_box(&[0, 0x3f, 0xf8, 0, 0, 0, 0, 0, 7])));
    }),
    ("frame: DATA of 16 KiB, decoded", |times| {
        let mut one = BytesMut::new();
        Frame::Data { id: 1, payload: Bytes::from_static(&[7; 16_376]), fin: false }.encode(&mut one);
        // As many as any run takes, so that writing them is left out of the difference.
        let mut wire = BytesMut::from(one.repeat(3000).as_slice());
        let mut decoder = Decoder::new();
        repeat(times, || decoder.decode(&mut wire).unwrap().unwrap());
    }),
    ("frame: 4 KiB octet by octet", |times| octet_by_octet(times, 4096)),
    ("frame: 8 KiB octet by octet", |times| octet_by_octet(times, 8192)),
    ("mux: 64 octets there and back, over a pipe", |times| mux(times, Traffic::RoundTrips)),
    ("mux: write 64 octets, until they are read", |times| mux(times, Traffic::Writes)),
];

fn main() {
    match std::env::var("ADIT_INSTRUCTIONS") {
        Ok(wanted) => {
            let (name, times) = wanted.rsplit_once('@').unwrap();
            let (_, run) = OPERATIONS.iter().find(|(operation, _)| *operation == name).unwrap();
            run(times.parse().unwrap());
        }
        Err(_) if Command::new("valgrind").arg("--version").output().is_err() => {
            println!("skipped: valgrind is not installed");
        }
        Err(_) => {
            println!("{:<42} {:>12}", "operation", "instructions");
            for (name, _) in OPERATIONS {
                let each = (counted(name, 3000) - counted(name, 1000)) / 2000;
                println!("{name:<42} {each:>12}");
            }
        }
    }
}

fn counted(name: &str, times: u32) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .env("ADIT_INSTRUCTIONS", format!("{name}@{times}"))
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let (_, count) = log.rsplit_once("Collected : ").unwrap_or_else(|| panic!("valgrind said: {log}"));
    count.lines().next().unwrap().trim().parse().unwrap()
}

fn repeat<R>(times: u32, mut operation: impl FnMut() -> R) {
    for _ in 0..times {
        black_box(operation());
    }
}

fn destination(times: u32, host: &'static [u8]) {
    let zones = Zones::new([Zone::parse("tunnel.example").unwrap()]).unwrap();
    repeat(times, || {
        let host = Host::parse(black_box(host), HostSource::Header).unwrap();
        black_box(zones.classify(&host));
    });
}

fn octet_by_octet(times: u32, length: usize) {
    let mut wire = BytesMut::new();
    Frame::Data { id: 1, payload: Bytes::from(vec![7; length - 8]), fin: false }.encode(&mut wire);
    // A thousandth as often: 3 and 1 times, so the figure is for a thousandth.
    repeat(times / 1000, || {
        let (mut decoder, mut input) = (Decoder::new(), BytesMut::with_capacity(length));
        for octet in &wire {
            input.extend_from_slice(&[*octet]);
            black_box(decoder.decode(&mut input).unwrap());
        }
    });
}

/// What goes through a session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Traffic {
    RoundTrips,
    Writes,
}

/// Both ends of a session on one thread; nothing but the multiplexer, tokio's scheduler and its pipe.
fn mux(times: u32, traffic: Traffic) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (near, far) = tokio::io::duplex(256 * 1024);
        let (session, _incoming, driver) = adit_mux::Builder::new(adit_mux::Role::Dialler).build(near);
        tokio::spawn(driver);
        let (_session, mut incoming, driver) = adit_mux::Builder::new(adit_mux::Role::Listener).build(far);
        tokio::spawn(driver);
        tokio::spawn(async move {
            let mut stream = incoming.accept().await.unwrap().accept();
            let mut message = vec![0; 64 * 1024];
            loop {
                let length = stream.read(&mut message).await.unwrap();
                if traffic == Traffic::RoundTrips {
                    stream.write_all(&message[..length]).await.unwrap();
                }
            }
        });
        let mut stream = session.open(Bytes::new()).await.unwrap();
        let mut message = [7; 64];
        for _ in 0..times {
            stream.write_all(black_box(&message)).await.unwrap();
            if traffic == Traffic::RoundTrips {
                stream.read_exact(&mut message).await.unwrap();
            }
        }
    });
}

fn sniff(times: u32, hello: &[u8], read_bytes: usize) {
    repeat(times, || {
        let mut sniffer = Sniffer::new(SniffLimits::new());
        for read in hello.chunks(read_bytes) {
            let _ = sniffer.receive(black_box(read));
        }
        sniffer
    });
}

fn ring() -> KeyRing {
    KeyRing::new(RingKey::new(0, [7; 32]).unwrap())
}
