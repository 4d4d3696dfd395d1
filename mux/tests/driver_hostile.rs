//! The driver against connections and callers that misbehave.
#![cfg(feature = "tokio")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail, and owns its tasks and clock"
)]

use adit_mux::{
    Builder, Config, Incoming, OpenError, Role, Session, SessionEnd, Stream, StreamError, Timeout,
};
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};

struct Ends {
    dialler: Session,
    from_listener: Incoming,
    listener: Session,
    from_dialler: Incoming,
}

impl Ends {
    fn new(pipe: usize) -> Self {
        Self::with(pipe, Config::default())
    }

    fn with(pipe: usize, config: Config) -> Self {
        let (near, far) = duplex(pipe);
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

    /// Waits until neither side holds a stream any more.
    async fn wait_until_idle(&self) {
        loop {
            let open = self.dialler.stats().open_streams + self.listener.stats().open_streams;
            if open == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn mx18_floods_both_ways_over_any_pipe_make_progress() {
    for pipe in [1, 3, 64, 8192] {
        let mut ends = Ends::new(pipe);
        let (ours, theirs) = ends.streams().await;
        let flood = |stream: Stream| async move {
            let (mut send, mut receive) = stream.split();
            let length = 30_000;
            let write = async {
                send.write_all(&vec![1; length]).await.unwrap();
                send.finish().unwrap();
            };
            let mut got = Vec::new();
            let read = async { receive.read_to_end(&mut got).await.unwrap() };
            assert_eq!(tokio::join!(write, read).1, length);
        };
        tokio::join!(flood(ours), flood(theirs));
    }
}

#[tokio::test]
async fn mx21_a_writer_that_waits_wakes_with_the_code_of_a_stop() {
    let mut ends = Ends::new(4096);
    let (mut ours, mut theirs) = ends.streams().await;
    let writer = tokio::spawn(async move {
        loop {
            if let Err(error) = ours.write(&[0; 10_000]).await {
                return StreamError::of(&error).cloned();
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    theirs.stop(CloseCode::UPSTREAM_TIMEOUT);
    let code = CloseCode::UPSTREAM_TIMEOUT;
    assert_eq!(writer.await.unwrap(), Some(StreamError::Stopped { code }));
}

#[tokio::test]
async fn mx22_m31_handles_dropped_at_any_await_free_their_stream_and_tell_the_peer() {
    let mut ends = Ends::new(4096);
    for case in 0..5 {
        let (mut ours, theirs) = ends.streams().await;
        let mut theirs = Some(theirs);
        let expect = match case {
            0 => {
                let task = tokio::spawn(async move { ours.read(&mut [0; 8]).await.map(|_| ()) });
                tokio::task::yield_now().await;
                task.abort();
                CloseCode::CANCELLED
            }
            1 => {
                let task = tokio::spawn(async move { while ours.write(&[0; 9_000]).await.is_ok() {} });
                tokio::time::sleep(Duration::from_millis(5)).await;
                task.abort();
                CloseCode::CANCELLED
            }
            2 => {
                drop(ours);
                CloseCode::CANCELLED
            }
            3 => {
                // A read that is given up loses nothing.
                let mut buffer = [0; 8];
                let read = tokio::time::timeout(Duration::from_millis(1), ours.read(&mut buffer)).await;
                assert!(read.is_err());
                theirs.as_mut().unwrap().write_all(b"kept").await.unwrap();
                ours.read_exact(&mut buffer[..4]).await.unwrap();
                assert_eq!(&buffer[..4], b"kept");
                drop(ours);
                CloseCode::CANCELLED
            }
            _ => {
                ours.reset(CloseCode::SUPERSEDED);
                drop(ours);
                CloseCode::SUPERSEDED
            }
        };
        let error = theirs.as_mut().unwrap().read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(StreamError::of(&error).unwrap().close_code(), expect, "case {case}");
        drop(theirs);
        ends.wait_until_idle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn mx22_m31_an_open_that_is_given_up_opens_nothing() {
    let mut ends = Ends::with(4096, Config::default().max_peer_streams(1));
    let (first, first_there) = ends.streams().await;
    for _ in 0..10 {
        let open = tokio::time::timeout(Duration::from_millis(5), ends.dialler.open(Bytes::new())).await;
        assert!(open.is_err(), "there is no credit");
    }
    // One that waits all along gets the stream that comes free.
    let session = ends.dialler.clone();
    let waiting = tokio::spawn(async move { session.open(Bytes::new()).await });
    tokio::task::yield_now().await;
    drop((first, first_there));
    let _second = waiting.await.unwrap().unwrap();
    assert!(ends.from_dialler.accept().await.is_some());
    assert_eq!(ends.listener.stats().streams_accepted, 2);
}

#[tokio::test]
async fn mx23_m19_a_session_that_closes_returns_every_waiter() {
    let mut ends = Ends::new(4096);
    let (mut tasks, mut kept) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let (mut ours, theirs) = ends.streams().await;
        kept.push(theirs);
        tasks.push(tokio::spawn(async move {
            loop {
                if let Err(error) = ours.write_all(&[0; 100_000]).await {
                    return StreamError::of(&error).cloned();
                }
            }
        }));
    }
    let session = ends.dialler.clone();
    let acceptor = tokio::spawn(async move { ends.from_listener.accept().await.is_none() });
    let opener = ends.listener.clone();
    tokio::time::sleep(Duration::from_millis(10)).await;
    session.close(CloseCode::TERMINATED, "over");
    for task in tasks {
        assert!(matches!(task.await.unwrap(), Some(StreamError::Session(SessionEnd::Local { .. }))));
    }
    assert!(acceptor.await.unwrap());
    opener.closed().await;
    assert!(matches!(opener.open(Bytes::new()).await, Err(OpenError::Session(_))));
    assert!(ends.from_dialler.accept().await.is_none());
}

#[tokio::test]
async fn mx23_to_drop_the_driver_ends_all_that_wait() {
    let (near, _far) = duplex(64);
    let (session, mut incoming, driver) = Builder::new(Role::Dialler).build(near);
    let opener = session.clone();
    let opening = tokio::spawn(async move { opener.open(Bytes::new()).await.map(|_| ()) });
    tokio::task::yield_now().await;
    drop(driver);
    assert_eq!(opening.await.unwrap(), Err(OpenError::Session(SessionEnd::DriverDropped)));
    assert!(incoming.accept().await.is_none());
    assert_eq!(session.closed().await, SessionEnd::DriverDropped);
    assert!(session.ping().await.is_err());
}

/// A connection whose writes do what a script says.
struct Odd {
    inner: DuplexStream,
    write: Box<dyn FnMut() -> Odds + Send>,
}

enum Odds {
    /// Take so many octets at most.
    Take(usize),
    /// Claim to have taken so many.
    Claim(usize),
    Fail(io::ErrorKind),
}

impl AsyncRead for Odd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(task, out)
    }
}

impl AsyncWrite for Odd {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        match (self.write)() {
            Odds::Take(most) => Pin::new(&mut self.inner).poll_write(task, &octets[..most.min(octets.len())]),
            Odds::Claim(bytes) => Poll::Ready(Ok(bytes)),
            Odds::Fail(kind) => Poll::Ready(Err(kind.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(task)
    }
}

#[tokio::test]
async fn mx30_m29_writes_of_one_octet_and_interruptions_only_slow_things_down() {
    let (near, far) = duplex(4096);
    let mut turn = 0;
    let write = move || {
        turn += 1;
        match turn % 4 {
            0 => Odds::Fail(io::ErrorKind::Interrupted),
            2 => Odds::Fail(io::ErrorKind::WouldBlock),
            _ => Odds::Take(1),
        }
    };
    let near = Odd { inner: near, write: Box::new(write) };
    let (dialler, _keep, near) = Builder::new(Role::Dialler).build(near);
    let (_listener, mut incoming, far) = Builder::new(Role::Listener).build(far);
    tokio::spawn(near);
    tokio::spawn(far);
    let mut ours = dialler.open(Bytes::from_static(b"head")).await.unwrap();
    ours.write_all(&[9; 5_000]).await.unwrap();
    ours.shutdown().await.unwrap();
    let mut theirs = incoming.accept().await.unwrap().accept();
    let mut got = Vec::new();
    theirs.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, [9; 5_000]);
}

#[tokio::test]
async fn mx30_m29_a_connection_that_takes_nothing_or_too_much_ends_the_session() {
    for (odd, kind) in [(0, io::ErrorKind::WriteZero), (1 << 20, io::ErrorKind::InvalidData)] {
        let (near, _far) = duplex(4096);
        let near = Odd { inner: near, write: Box::new(move || Odds::Claim(odd)) };
        let (_session, _incoming, driver) = Builder::new(Role::Dialler).build(near);
        assert_eq!(driver.await, SessionEnd::Io { kind });
    }
}

#[tokio::test]
async fn mx29_a_connection_that_breaks_wakes_every_waiter() {
    let (near, far) = duplex(4096);
    let (dialler, _keep, near) = Builder::new(Role::Dialler).build(near);
    let (listener, mut incoming, far) = Builder::new(Role::Listener).build(far);
    tokio::spawn(near);
    let far = tokio::spawn(far);
    let mut ours = dialler.open(Bytes::new()).await.unwrap();
    ours.write_all(b"last words").await.unwrap();
    let mut theirs = incoming.accept().await.unwrap().accept();
    let mut words = [0; 10];
    theirs.read_exact(&mut words).await.unwrap();
    let reader = tokio::spawn(async move { ours.read(&mut [0; 8]).await.unwrap_err() });
    tokio::task::yield_now().await;
    far.abort();
    let error = reader.await.unwrap();
    assert_eq!(StreamError::of(&error), Some(&StreamError::Session(SessionEnd::Cut)));
    assert_eq!(listener.closed().await, SessionEnd::DriverDropped);
    assert_eq!(dialler.closed().await, SessionEnd::Cut);
}

#[tokio::test(start_paused = true)]
async fn m18_a_peer_that_falls_silent_is_dead_within_45_seconds() {
    let (near, mut far) = duplex(4096);
    let (session, _keep, near) = Builder::new(Role::Dialler).build(near);
    tokio::spawn(near);
    // A peer that says HELLO and then nothing, but reads.
    let mut hello = bytes::BytesMut::new();
    adit_wire_proto::frame::Frame::Hello(adit_wire_proto::frame::Hello::new()).encode(&mut hello);
    far.write_all(&hello).await.unwrap();
    let start = tokio::time::Instant::now();
    tokio::spawn(async move { while far.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {} });
    assert_eq!(session.closed().await, SessionEnd::TimedOut { which: Timeout::Silence });
    let elapsed = start.elapsed();
    assert!((Duration::from_secs(30)..Duration::from_secs(45)).contains(&elapsed), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn sessions_that_begin_together_do_not_ping_together() {
    use adit_wire_proto::frame::{Decoder, Frame, Hello};
    let mut peers = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let (near, mut far) = duplex(4096);
        let (_session, _keep, near) = Builder::new(Role::Dialler).build(near);
        peers.spawn(async move {
            let driver = tokio::spawn(near);
            let mut hello = bytes::BytesMut::new();
            Frame::Hello(Hello::new()).encode(&mut hello);
            far.write_all(&hello).await.unwrap();
            let (start, mut input, mut decoder) =
                (tokio::time::Instant::now(), bytes::BytesMut::new(), Decoder::new());
            loop {
                while let Some(frame) = decoder.decode(&mut input).unwrap() {
                    if matches!(frame, Frame::Ping { ack: false, .. }) {
                        driver.abort();
                        return (start.elapsed(), (_session, _keep));
                    }
                }
                far.read_buf(&mut input).await.unwrap();
            }
        });
    }
    let after: std::collections::BTreeSet<Duration> =
        peers.join_all().await.into_iter().map(|(after, _)| after).collect();
    assert!(after.len() > 4, "{after:?}");
    let within = Duration::from_millis(13_500)..=Duration::from_millis(16_501);
    assert!(after.iter().all(|after| within.contains(after)), "{after:?}");
}

/// A connection that takes so many octets, in whole calls, and then nothing ever more.
struct Wall {
    inner: DuplexStream,
    left: usize,
}

impl AsyncRead for Wall {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(task, out)
    }
}

impl AsyncWrite for Wall {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        if self.left == 0 {
            return Poll::Pending;
        }
        self.left = self.left.saturating_sub(octets.len());
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let octets: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.poll_write(task, &octets)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn mx17_a_peer_that_only_talks_does_not_keep_a_stalled_writer_forever() {
    use adit_wire_proto::frame::{Frame, Hello};
    let (near, mut far) = duplex(4096);
    // Whoever writes past the queues finds it full where a frame ends, so nothing is left in the batch.
    let near = Wall { inner: near, left: 200_000 };
    let config =
        Config::default().grease(false).keepalive(Duration::from_secs(1000), Duration::from_secs(20));
    // Not split behind a lock, so that calls stay whole.
    let (session, _keep, near) = Builder::new(Role::Dialler).config(config).build(near);
    tokio::spawn(near);
    let mut octets = bytes::BytesMut::new();
    let mut hello = Hello::new();
    (hello.max_streams, hello.stream_window) = (4, 1 << 30);
    Frame::Hello(hello).encode(&mut octets);
    far.write_all(&octets).await.unwrap();
    let mut stream = session.open(Bytes::new()).await.unwrap();
    let writer = tokio::spawn(async move {
        loop {
            if let Err(error) = stream.write_all(&[1; 16_376]).await {
                return StreamError::of(&error).cloned();
            }
        }
    });
    let start = tokio::time::Instant::now();
    let talker = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(10)).await;
            octets.clear();
            Frame::Pad { length: 8 }.encode(&mut octets);
            if far.write_all(&octets).await.is_err() {
                return;
            }
        }
    });
    let end = tokio::time::timeout(Duration::from_secs(200), session.closed()).await;
    assert_eq!(end, Ok(SessionEnd::TimedOut { which: Timeout::WriteStall }));
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    assert!(matches!(writer.await.unwrap(), Some(StreamError::Session(_))));
    talker.abort();
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn mx42_the_waker_that_was_registered_last_is_the_one_that_wakes() {
    let mut ends = Ends::new(4096);
    let (mut ours, mut theirs) = ends.streams().await;
    let counts: Vec<_> = (0..2).map(|_| Arc::new(Count(AtomicUsize::new(0)))).collect();
    let mut buffer = [0; 8];
    for turn in [0, 1, 0, 1] {
        let waker = Waker::from(Arc::clone(&counts[turn]));
        let poll = pin!(theirs.read(&mut buffer)).poll(&mut Context::from_waker(&waker));
        assert!(poll.is_pending());
    }
    ours.write_all(b"x").await.unwrap();
    while counts[1].0.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(counts[0].0.load(Ordering::SeqCst), 0);
    assert_eq!(theirs.read(&mut buffer).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m30_no_wake_is_lost_with_tasks_on_two_threads() {
    let mut ends = Ends::new(16 * 1024);
    let mut tasks = Vec::new();
    for at in 0..50_usize {
        let (ours, theirs) = ends.streams().await;
        let (mut send_back, mut receive_there) = theirs.split();
        tasks.push(tokio::spawn(async move {
            tokio::io::copy(&mut receive_there, &mut send_back).await.unwrap();
            send_back.finish().unwrap();
        }));
        tasks.push(tokio::spawn(async move {
            let (mut send, mut receive) = ours.split();
            let length = 1 + at * 7_919;
            let write = async {
                for piece in vec![5; length].chunks(1 + at * 1_311) {
                    send.write_all(piece).await.unwrap();
                }
                send.finish().unwrap();
            };
            let mut got = Vec::new();
            let read = async { receive.read_to_end(&mut got).await.unwrap() };
            assert_eq!(tokio::join!(write, read).1, length);
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    ends.wait_until_idle().await;
}

#[tokio::test]
async fn a_session_that_nobody_holds_closes_by_itself() {
    let (near, far) = duplex(4096);
    let (dialler, from_listener, near) = Builder::new(Role::Dialler).build(near);
    let (listener, _from_dialler, far) = Builder::new(Role::Listener).build(far);
    let near = tokio::spawn(near);
    tokio::spawn(far);
    listener.ping().await.unwrap();
    drop((dialler, from_listener));
    assert!(matches!(near.await.unwrap(), SessionEnd::Local { code: CloseCode::NONE, .. }));
    assert!(matches!(listener.closed().await, SessionEnd::Peer { code: CloseCode::NONE, .. }));
}

#[tokio::test]
async fn datagrams_go_there_and_back() {
    let ends = Ends::new(4096);
    ends.dialler.ping().await.unwrap();
    ends.dialler.send_datagram(7, Bytes::from_static(b"hi")).unwrap();
    assert_eq!(ends.listener.receive_datagram().await, Some((7, Bytes::from_static(b"hi"))));
    ends.dialler.close(CloseCode::NONE, "");
    assert_eq!(ends.listener.receive_datagram().await, None);
}
