//! The driver: sniffing under a deadline, and a stream that replays what was read.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and is a driver")]

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use adit_tls_modes::{
    AlertDescription, HelloError, RoomLimits, SniffError, SniffLimits, SniffRoom, Sniffed, refuse, sniff,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, duplex};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use support::HelloBuilder;

mod support;

#[tokio::test]
async fn t01_t41_everything_comes_out_again_in_order() {
    let stream = [HelloBuilder::host("a.example").stream(), vec![23; 5_000]].concat();
    let (mut visitor, gateway) = duplex(1 << 16);
    visitor.write_all(&stream).await.unwrap();
    let (hello, mut io) = sniff(gateway, SniffLimits::new(), in_seconds(10)).await.unwrap();
    assert_eq!(hello.server_name().unwrap().as_str(), "a.example");
    visitor.write_all(b"later").await.unwrap();
    visitor.shutdown().await.unwrap();
    let mut replayed = Vec::new();
    io.read_to_end(&mut replayed).await.unwrap();
    assert_eq!(replayed, [&stream[..], b"later"].concat());
    assert!(io.prefix().is_empty());
}

#[tokio::test(start_paused = true)]
async fn t03_one_byte_a_read_within_the_deadline() {
    let stream = HelloBuilder::host("a.example").stream();
    let (mut visitor, gateway) = duplex(1);
    let write = async { visitor.write_all(&stream).await };
    let (written, sniffed) = tokio::join!(write, sniff(gateway, SniffLimits::new(), in_seconds(10)));
    written.unwrap();
    assert_eq!(sniffed.unwrap().1.prefix(), stream);
}

#[tokio::test(start_paused = true)]
async fn t04_a_drip_is_cut_off_ten_seconds_after_accept() {
    let stream = HelloBuilder::host("a.example").stream();
    let (mut visitor, gateway) = duplex(1 << 16);
    let accepted = Instant::now();
    let drip = async {
        for byte in &stream {
            sleep(Duration::from_secs(2)).await;
            if visitor.write_all(&[*byte]).await.is_err() {
                return;
            }
        }
    };
    let sniffing = sniff(gateway, SniffLimits::new(), accepted + Duration::from_secs(10));
    let error = tokio::select! {
        sniffed = sniffing => sniffed.unwrap_err(),
        () = drip => panic!("the drip came to its end"),
    };
    assert_eq!(accepted.elapsed().as_secs(), 10);
    assert!(matches!(error, SniffError::Refused { error: HelloError::DeadlinePassed, .. }));
}

#[tokio::test]
async fn t56_half_hellos_of_one_source_hold_up_nobody_else() {
    let room = SniffRoom::new(RoomLimits::new());
    let crowd = "192.0.2.1".parse().unwrap();
    let mut waiting = JoinSet::new();
    let mut ends = Vec::new();
    for _ in 0..10_000 {
        let Ok(seat) = room.enter(crowd) else { continue };
        let (mut visitor, gateway) = duplex(1 << 16);
        visitor.write_all(&[22, 3, 1]).await.unwrap();
        ends.push(visitor);
        waiting.spawn(seat.sniff(gateway, SniffLimits::new(), in_seconds(10)));
    }
    assert_eq!(room.len(), 256, "the others were refused at the door");
    let (mut visitor, gateway) = duplex(1 << 16);
    visitor.write_all(&HelloBuilder::host("a.example").stream()).await.unwrap();
    let seat = room.enter("192.0.2.2".parse().unwrap()).unwrap();
    let (hello, _) = seat.sniff(gateway, SniffLimits::new(), in_seconds(10)).await.unwrap();
    assert_eq!(hello.server_name().unwrap().as_str(), "a.example");
    assert_eq!(room.len(), 256, "whoever has said hello has left");
    waiting.shutdown().await;
    assert!(room.is_empty() && room.bytes() == 0, "so has who was dropped");
}

#[tokio::test]
async fn t57_unfinished_hellos_give_way_to_newer_ones() {
    let most = 1_000_000;
    let room = SniffRoom::new(RoomLimits::new().max_bytes(most));
    let unfinished = &HelloBuilder::host("a.example").extension(21, vec![0; 62_000]).stream()[..60_000];
    let mut sniffing = JoinSet::new();
    let mut ends = Vec::new();
    for host in 0..100 {
        let seat = room.enter(std::net::Ipv4Addr::from_bits(host).into()).unwrap();
        let (mut visitor, gateway) = duplex(1 << 16);
        visitor.write_all(unfinished).await.unwrap();
        ends.push(visitor);
        sniffing.spawn(seat.sniff(gateway, SniffLimits::new(), in_seconds(10)));
    }
    for _ in 0..100 - most / unfinished.len() {
        let error = sniffing.join_next().await.unwrap().unwrap().unwrap_err();
        assert!(matches!(error, SniffError::Refused { error: HelloError::GaveWay, .. }));
    }
    assert!(room.bytes() <= most);
    assert_eq!(room.len(), most / unfinished.len());
}

#[tokio::test]
async fn t34_what_is_no_tls_can_be_had_back() {
    let (mut visitor, gateway) = duplex(1 << 16);
    visitor.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    drop(visitor);
    let error = sniff(gateway, SniffLimits::new(), in_seconds(10)).await.unwrap_err();
    assert_eq!(error.to_string(), HelloError::NotTls.to_string());
    let SniffError::Refused { error: HelloError::NotTls, mut io, .. } = error else {
        panic!("{error}");
    };
    let mut text = String::new();
    io.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "GET / HTTP/1.1\r\n\r\n");
}

#[tokio::test]
async fn t38_the_alert_is_sent_and_the_stream_closed() {
    let (mut visitor, gateway) = duplex(1 << 16);
    visitor.write_all(&[22, 3, 3, 0, 4, 2]).await.unwrap();
    let Err(SniffError::Refused { error, mut io, .. }) =
        sniff(gateway, SniffLimits::new(), in_seconds(10)).await
    else {
        panic!("accepted");
    };
    refuse(&mut io, error.alert()).await.unwrap();
    let mut answer = Vec::new();
    visitor.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, AlertDescription::UNEXPECTED_MESSAGE.fatal_record());
}

#[tokio::test]
async fn t52_the_end_or_an_error_inside_the_hello() {
    let (mut visitor, gateway) = duplex(1 << 16);
    visitor.write_all(&[22, 3, 3]).await.unwrap();
    drop(visitor);
    let error = sniff(gateway, SniffLimits::new(), in_seconds(10)).await.unwrap_err();
    assert!(matches!(error, SniffError::Refused { error: HelloError::Eof { received_bytes: 3 }, .. }));
    let error = sniff(Probe::default(), SniffLimits::new(), in_seconds(10)).await.unwrap_err();
    assert!(matches!(error, SniffError::Io { .. }), "{error}");
}

#[tokio::test]
async fn t53_half_close_passes_through() {
    let (mut visitor, gateway) = duplex(1 << 16);
    let stream = [HelloBuilder::host("a.example").stream(), b"request".to_vec()].concat();
    visitor.write_all(&stream).await.unwrap();
    visitor.shutdown().await.unwrap();
    let (_, mut io) = sniff(gateway, SniffLimits::new(), in_seconds(10)).await.unwrap();
    let mut request = Vec::new();
    io.read_to_end(&mut request).await.unwrap();
    assert_eq!(request, stream);
    io.write_all(b"reply").await.unwrap();
    io.shutdown().await.unwrap();
    let mut reply = Vec::new();
    visitor.read_to_end(&mut reply).await.unwrap();
    assert_eq!(reply, b"reply");
}

#[tokio::test]
async fn reading_in_small_pieces_gives_the_prefix_first_and_then_the_stream() {
    let (mut visitor, gateway) = duplex(64);
    visitor.write_all(b"world").await.unwrap();
    drop(visitor);
    let mut io = Sniffed::new(b"hello ".to_vec(), gateway);
    let mut text = Vec::new();
    let mut byte = [0];
    while io.read(&mut byte).await.unwrap() > 0 {
        text.push(byte[0]);
        if text.len() == 2 {
            assert_eq!(io.prefix(), b"llo ");
        }
    }
    assert_eq!(text, b"hello world");
    let (left, _) = Sniffed::new(b"prefix".to_vec(), duplex(1).0).into_parts();
    assert_eq!(left, b"prefix");
}

#[tokio::test]
async fn vectored_writes_go_straight_through() {
    let mut io = Sniffed::new(Vec::new(), Probe::default());
    assert!(io.is_write_vectored());
    let slices = [IoSlice::new(b"one"), IoSlice::new(b"two")];
    assert_eq!(io.write_vectored(&slices).await.unwrap(), 6);
    io.write_all(b"plain").await.unwrap();
    io.flush().await.unwrap();
    assert_eq!(io.get_ref().calls, ["write_vectored of 2", "write", "flush"]);
}

/// Notes how it is called, and fails all reads.
#[derive(Debug, Default)]
struct Probe {
    calls: Vec<String>,
}

impl AsyncRead for Probe {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }
}

impl AsyncWrite for Probe {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.calls.push("write".into());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.calls.push(format!("write_vectored of {}", slices.len()));
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.calls.push("flush".into());
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn in_seconds(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}
