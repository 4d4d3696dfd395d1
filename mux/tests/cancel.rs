//! Every future of the driver, dropped at each of its await points (M-31): the session stays whole, and nothing that a
//! future did not report has happened.
#![cfg(feature = "tokio")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail, and owns its tasks and clock"
)]

use adit_mux::{
    Builder, Config, Incoming, ReceiveStream, RelayOptions, Role, SendStream, Session, SessionEnd, Stream,
    relay,
};
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

/// At how many await points each future is dropped.
const POINTS: usize = 12;

struct Ends {
    dialler: Session,
    from_listener: Incoming,
    listener: Session,
    from_dialler: Incoming,
}

impl Ends {
    /// A narrow connection, so that everything has to wait often.
    fn new(config: Config) -> Self {
        let (near, far) = duplex(700);
        let (dialler, from_listener, near) = Builder::new(Role::Dialler).config(config.clone()).build(near);
        let (listener, from_dialler, far) = Builder::new(Role::Listener).config(config).build(far);
        tokio::spawn(near);
        tokio::spawn(far);
        Self { dialler, from_listener, listener, from_dialler }
    }

    async fn streams(&mut self) -> (Stream, Stream) {
        let ours = self.dialler.open(Bytes::new()).await.unwrap();
        let theirs = self.from_dialler.accept().await.unwrap().accept();
        (ours, theirs)
    }

    /// The session is as new: no stream, no window and no right to open one is lost.
    async fn check(&mut self) {
        for session in [&self.dialler, &self.listener] {
            while session.stats().open_streams > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let stats = session.stats();
            assert_eq!((stats.window_pool_left, stats.unread_bytes), (32 * 1024 * 1024, 0));
            assert_eq!(session.end(), None);
        }
        let (mut ours, mut theirs) = self.streams().await;
        ours.write_all(b"still here").await.unwrap();
        ours.shutdown().await.unwrap();
        let mut text = Vec::new();
        theirs.read_to_end(&mut text).await.unwrap();
        assert_eq!(text, b"still here");
    }
}

/// Polls a future up to `points` times, each time after something happened to it, and drops it if it is not ready then,
/// or if nothing happens any more.
async fn up_to<F: Future>(points: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = points;
    let polled = poll_fn(|task| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(task) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            // Whatever the future waits for wakes this task; the last time, nothing is waited for.
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    });
    // The clock is paused: it moves only when nobody else can.
    tokio::time::timeout(Duration::from_millis(1), polled).await.ok().flatten()
}

fn octets(from: usize, length: usize) -> Vec<u8> {
    (from..from + length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// Writes `total` octets with futures that are dropped at ever other points.
async fn write_with_drops(mut send: SendStream, total: usize, as_chunks: bool) {
    let (mut written, mut turn) = (0, 0);
    while written < total {
        turn += 1;
        let piece = octets(written, (1 + turn * 997 % 12_000).min(total - written));
        let points = 1 + turn % POINTS;
        written += if as_chunks {
            let length = piece.len();
            up_to(points, send.write_chunk(piece.into()))
                .await
                .map_or(0, |done| done.map(|()| length).unwrap())
        } else {
            up_to(points, send.write(&piece)).await.map_or(0, Result::unwrap)
        };
        if turn % 3 == 0 {
            tokio::task::yield_now().await;
        }
    }
    send.finish().unwrap();
}

/// Reads to the end with futures that are dropped at ever other points.
async fn read_with_drops(mut receive: ReceiveStream, as_chunks: bool) -> Vec<u8> {
    let (mut got, mut buffer) = (Vec::new(), vec![0; 3_000]);
    for turn in 0.. {
        let points = 1 + turn % POINTS;
        let before = got.len();
        let is_over = if as_chunks {
            match up_to(points, receive.read_chunk()).await {
                Some(chunk) => chunk.unwrap().map(|chunk| got.extend_from_slice(&chunk)).is_none(),
                None => false,
            }
        } else {
            match up_to(points, receive.read(&mut buffer)).await {
                Some(read) => {
                    got.extend_from_slice(&buffer[..read.unwrap()]);
                    got.len() == before
                }
                None => false,
            }
        };
        if is_over {
            return got;
        }
        tokio::task::yield_now().await;
    }
    got
}

#[tokio::test(start_paused = true)]
async fn m31_writes_and_reads_that_are_dropped_lose_and_double_nothing() {
    let config = Config::default().send_buffer(20_000);
    let mut ends = Ends::new(config);
    for (chunks_out, chunks_in) in [(false, false), (false, true), (true, false), (true, true)] {
        let (ours, theirs) = ends.streams().await;
        let ((send, _), (_, receive)) = (ours.split(), theirs.split());
        let total = 200_000;
        let writer = tokio::spawn(write_with_drops(send, total, chunks_out));
        let got = read_with_drops(receive, chunks_in).await;
        writer.await.unwrap();
        assert!(got == octets(0, total), "chunks out {chunks_out}, chunks in {chunks_in}: {}", got.len());
        ends.check().await;
    }
}

#[tokio::test(start_paused = true)]
async fn m31_opens_and_accepts_that_are_dropped_lose_no_stream() {
    let mut ends = Ends::new(Config::default().max_peer_streams(2));
    for points in 0..POINTS {
        let mut kept = Vec::new();
        for _ in 0..5 {
            if let Some(stream) = up_to(points, ends.dialler.open(Bytes::from_static(b"head"))).await {
                kept.push(stream.unwrap());
            }
            if let Some(stream) = up_to(points, ends.from_dialler.accept()).await {
                drop(stream.unwrap().accept());
            }
        }
        // Whatever was opened comes in, whoever waited for it before.
        let opened = ends.dialler.stats().streams_opened;
        while ends.listener.stats().streams_accepted < opened {
            tokio::task::yield_now().await;
        }
        while let Some(stream) = up_to(1, ends.from_dialler.accept()).await {
            drop(stream);
        }
        drop(kept);
        ends.check().await;
    }
}

#[tokio::test(start_paused = true)]
async fn m31_pings_datagrams_and_waits_for_the_end_that_are_dropped_cost_nothing() {
    let mut ends = Ends::new(Config::default());
    ends.dialler.ping().await.unwrap();
    for points in 0..POINTS {
        assert!(up_to(points, ends.dialler.closed()).await.is_none());
        let _ = up_to(points, ends.dialler.ping()).await;
        let _ = up_to(points.min(1), ends.from_listener.accept()).await;
        // A datagram that nobody was handed is there for the next who asks.
        assert!(up_to(points.min(1), ends.listener.receive_datagram()).await.is_none());
        ends.dialler.send_datagram(1, Bytes::from_static(b"one")).unwrap();
        let datagram = match up_to(points, ends.listener.receive_datagram()).await {
            Some(datagram) => datagram,
            None => ends.listener.receive_datagram().await,
        };
        assert_eq!(datagram, Some((1, Bytes::from_static(b"one"))));
        ends.dialler.ping().await.unwrap();
        ends.check().await;
    }
}

#[tokio::test(start_paused = true)]
async fn m31_a_relay_that_is_dropped_tells_both_sides() {
    let mut ends = Ends::new(Config::default());
    for points in 0..POINTS {
        let (mut ours, theirs) = ends.streams().await;
        let (socket, mut upstream) = duplex(300);
        let writer = tokio::spawn(async move {
            let _ = ours.write_all(&[1; 50_000]).await;
            ours.read_to_end(&mut Vec::new()).await
        });
        let relayed = up_to(points, relay(theirs, socket, RelayOptions::new())).await;
        assert_eq!(relayed, None);
        // The socket is closed, and the stream is reset: neither takes what it has for whole.
        upstream.read_to_end(&mut Vec::new()).await.unwrap();
        let error = writer.await.unwrap().unwrap_err();
        let code = adit_mux::StreamError::of(&error).unwrap().close_code();
        assert_eq!(code, CloseCode::CANCELLED);
        ends.check().await;
    }
}

#[tokio::test(start_paused = true)]
async fn m31_a_driver_that_is_dropped_returns_everybody() {
    for points in 0..POINTS {
        let (near, far) = duplex(700);
        let (session, mut incoming, driver) = Builder::new(Role::Dialler).build(near);
        let (peer, mut from_dialler, far) = Builder::new(Role::Listener).build(far);
        tokio::spawn(far);
        let opener = session.clone();
        let user = tokio::spawn(async move {
            let mut stream = opener.open(Bytes::new()).await?;
            let _ = stream.write_all(&[1; 100_000]).await;
            let _ = stream.read(&mut [0; 10]).await;
            Ok::<_, adit_mux::OpenError>(())
        });
        let reader = tokio::spawn(async move {
            while let Some(stream) = from_dialler.accept().await {
                let _ = stream.accept().read_to_end(&mut Vec::new()).await;
            }
        });
        assert_eq!(up_to(points, driver).await, None);
        let _ = user.await.unwrap();
        assert!(incoming.accept().await.is_none());
        assert_eq!(session.closed().await, SessionEnd::DriverDropped);
        assert!(session.ping().await.is_err() && session.receive_datagram().await.is_none());
        assert_eq!(peer.closed().await, SessionEnd::Cut);
        reader.await.unwrap();
    }
}
