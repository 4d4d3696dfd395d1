//! Two real sessions under schedules that shuttle chooses: at every lock and every wake another task may run next.
//!
//! Shuttle fails a run when nobody can go on and somebody still waits: a lost wakeup or a deadlock. It prints the
//! schedule then, for `shuttle::replay`. `ADIT_MUX_SEED` and `ADIT_MUX_RUNS` choose other schedules, and more of them.

use crate::{Builder, Config, Incoming, OpenError, Role, Session, SessionEnd, StreamError};
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use shuttle::future::{JoinHandle, block_on, spawn, yield_now};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::sync::Mutex;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

#[test]
fn m30_credit_wakes_a_writer_under_every_schedule() {
    explore(150, || {
        block_on(async {
            let mut ends = Ends::new(6_000);
            let (mut send, mut receive) = ends.streams().await;
            // More than the window, so that credit has to come, in writes past the queues and through them.
            let writer = spawn(async move {
                send.write_all(&[1; 9_000]).await.unwrap();
                for _ in 0..5 {
                    send.write_all(&[1; 5_000]).await.unwrap();
                }
                send.shutdown().await.unwrap();
                send
            });
            let mut got = Vec::new();
            receive.read_to_end(&mut got).await.unwrap();
            assert_eq!(got.len(), 9_000 + 5 * 5_000);
            drop((writer.await.unwrap(), receive));
            ends.close().await;
        });
    });
}

#[test]
fn m30_a_close_returns_every_waiter_under_every_schedule() {
    explore(300, || {
        block_on(async {
            let mut ends = Ends::new(3_001);
            let (mut send, mut receive) = ends.streams().await;
            let session = ends.dialler.clone();
            let writer = spawn(async move {
                // Not without end: a scheduler may be unfair.
                for _ in 0..3 {
                    let _ = send.write_all(&[1; 9_000]).await;
                }
                session.closed().await;
                assert!(send.write(&[1]).await.is_err());
            });
            let reader =
                spawn(async move { while receive.read(&mut [0; 4_000]).await.is_ok_and(|read| read > 0) {} });
            let session = ends.dialler.clone();
            let opener = spawn(async move {
                // More than are granted at once, so that some wait. None is left open.
                for _ in 0..6 {
                    if let Err(error) = session.open(Bytes::new()).await {
                        return error;
                    }
                }
                session.closed().await;
                session.open(Bytes::new()).await.unwrap_err()
            });
            let session = ends.dialler.clone();
            let closer = spawn(async move {
                yield_now().await;
                session.close(CloseCode::TERMINATED, "enough");
            });
            for task in [writer, reader, closer] {
                task.await.unwrap();
            }
            assert!(matches!(opener.await.unwrap(), OpenError::Session(SessionEnd::Local { .. })));
            while ends.from_dialler.accept().await.is_some() {}
            ends.close().await;
        });
    });
}

#[test]
fn m30_a_stop_while_the_connection_is_full_leaves_nobody_waiting() {
    explore(300, || {
        block_on(async {
            let mut ends = Ends::new(2_001);
            let (mut one, mut one_there) = ends.streams().await;
            let (mut two, mut two_there) = ends.streams().await;
            // Both write past the queues, so that one often finds the connection full because of the other.
            let stopped = spawn(async move {
                loop {
                    if let Err(error) = one.write_all(&[1; 8_200]).await {
                        return StreamError::of(&error).cloned();
                    }
                }
            });
            let whole = spawn(async move {
                two.write_all(&[2; 9_000]).await.unwrap();
                two.shutdown().await.unwrap();
            });
            let stop = spawn(async move {
                let _ = one_there.read(&mut [0; 100]).await;
                one_there.stop(CloseCode::UPSTREAM_RESET);
            });
            let mut got = Vec::new();
            two_there.read_to_end(&mut got).await.unwrap();
            assert_eq!(got.len(), 9_000);
            stop.await.unwrap();
            whole.await.unwrap();
            let code = CloseCode::UPSTREAM_RESET;
            assert_eq!(stopped.await.unwrap(), Some(StreamError::Stopped { code }));
            ends.close().await;
        });
    });
}

#[test]
fn m30_what_a_writer_leaves_to_a_full_connection_is_sent_under_every_schedule() {
    explore(3_000, || {
        block_on(async {
            let mut ends = Ends::new(2_001);
            let (mut send, mut receive) = ends.streams().await;
            // Nothing else is said until all is there, so that nothing but the connection itself wakes the driver.
            let writer = spawn(async move {
                send.write_all(&[1; 8_200]).await.unwrap();
                send
            });
            receive.read_exact(&mut [0; 8_200]).await.unwrap();
            drop((writer.await.unwrap(), receive));
            ends.close().await;
        });
    });
}

#[test]
fn m30_an_answer_that_a_connection_buffers_is_flushed_under_every_schedule() {
    explore(3_000, || {
        block_on(async {
            let mut ends = Ends::new(1_000);
            let mut ours = ends.dialler.open(Bytes::new()).await.unwrap();
            let mut theirs = ends.from_dialler.accept().await.unwrap().accept();
            let answer = spawn(async move {
                ours.read_exact(&mut [0; 10]).await.unwrap();
                ours.write_all(&[1; 3_000]).await.unwrap();
                ours
            });
            theirs.write_all(&[1; 10]).await.unwrap();
            theirs.read_exact(&mut [0; 3_000]).await.unwrap();
            drop((answer.await.unwrap(), theirs));
            ends.close().await;
        });
    });
}

#[test]
fn m30_whoever_waits_for_a_stream_gets_the_one_that_comes_free() {
    explore(300, || {
        block_on(async {
            let mut ends = Ends::new(64_000);
            let mut openers = Vec::new();
            // One stream at a time is granted, and three want one.
            for _ in 0..3 {
                let session = ends.dialler.clone();
                openers.push(spawn(async move {
                    let mut stream = session.open(Bytes::new()).await.unwrap();
                    let _ = stream.read(&mut [0; 1]).await;
                }));
            }
            for _ in 0..3 {
                drop(ends.from_dialler.accept().await.unwrap());
            }
            for opener in openers {
                opener.await.unwrap();
            }
            ends.close().await;
        });
    });
}

#[test]
fn m30_small_messages_of_a_crowd_reach_their_readers_under_every_schedule() {
    explore(600, || {
        block_on(async {
            let mut ends = Ends::in_a_crowd(3_001);
            let mut tasks = Vec::new();
            // Long enough for the crowd to be forgotten on the way: who waited as one of many is found as one of few.
            for rounds in [7, 8] {
                let mut ours = ends.dialler.open(Bytes::new()).await.unwrap();
                ours.write_all(&[0]).await.unwrap();
                let mut theirs = ends.from_dialler.accept().await.unwrap().accept();
                tasks.push(spawn(async move {
                    let mut message = [0; 10];
                    theirs.read_exact(&mut [0]).await.unwrap();
                    while theirs.read_exact(&mut message).await.is_ok() {
                        theirs.write_all(&message).await.unwrap();
                    }
                    theirs.shutdown().await.unwrap();
                }));
                tasks.push(spawn(async move {
                    for round in 0..rounds {
                        ours.write_all(&[round; 10]).await.unwrap();
                        let mut answer = [0; 10];
                        ours.read_exact(&mut answer).await.unwrap();
                        assert_eq!(answer, [round; 10]);
                    }
                    ours.shutdown().await.unwrap();
                    assert_eq!(ours.read(&mut [0]).await.unwrap(), 0);
                }));
            }
            for task in tasks {
                task.await.unwrap();
            }
            ends.close().await;
        });
    });
}

#[test]
fn m30_the_last_letter_is_taken_along_under_every_schedule() {
    explore(2_000, || {
        block_on(async {
            let mut ends = Ends::in_a_crowd(64_001);
            let mut ours = ends.dialler.open(Bytes::new()).await.unwrap();
            ours.write_all(&[0; 10]).await.unwrap();
            let theirs = ends.from_dialler.accept().await.unwrap().accept();
            // Both talk at once, and say no more in the end that would wake a driver.
            let sides = [(ours, 30), (theirs, 40)].map(|(stream, expected)| {
                let (mut send, mut receive) = stream.split();
                let writer = spawn(async move {
                    for _ in 0..3 {
                        send.write_all(&[1; 10]).await.unwrap();
                        yield_now().await;
                    }
                    send
                });
                let reader = spawn(async move {
                    receive.read_exact(&mut vec![0; expected]).await.unwrap();
                    receive
                });
                (writer, reader)
            });
            // No half goes before all is read: that would be said too.
            let mut halves = Vec::new();
            for (writer, reader) in sides {
                halves.push((reader.await.unwrap(), writer.await.unwrap()));
            }
            drop(halves);
            ends.close().await;
        });
    });
}

#[test]
fn m30_letters_keep_their_place_among_longer_writes_under_every_schedule() {
    explore(600, || {
        block_on(async {
            let mut ends = Ends::in_a_crowd(6_001);
            let (mut send, mut receive) = ends.streams().await;
            let lengths = [10, 20, 9_000, 1, 1_200, 900, 300, 8_200, 5];
            let writer = spawn(async move {
                for (piece, length) in (0..).zip(lengths) {
                    send.write_all(&vec![piece; length]).await.unwrap();
                }
                send.shutdown().await.unwrap();
                send
            });
            let mut got = Vec::new();
            receive.read_to_end(&mut got).await.unwrap();
            let sent: Vec<u8> = (0..).zip(lengths).flat_map(|(piece, length)| vec![piece; length]).collect();
            assert!(got == sent);
            drop((writer.await.unwrap(), receive));
            ends.close().await;
        });
    });
}

#[test]
fn m30_the_end_of_a_session_reaches_readers_and_writers_of_letters_under_every_schedule() {
    explore(600, || {
        block_on(async {
            let mut ends = Ends::in_a_crowd(3_001);
            let (mut send, mut receive) = ends.streams().await;
            let writer = spawn(async move {
                while send.write_all(&[1; 10]).await.is_ok() {
                    yield_now().await;
                }
            });
            let reader =
                spawn(async move { while receive.read(&mut [0; 7]).await.is_ok_and(|read| read > 0) {} });
            let session = ends.dialler.clone();
            let closer = spawn(async move {
                yield_now().await;
                session.close(CloseCode::TERMINATED, "enough");
            });
            for task in [writer, reader, closer] {
                task.await.unwrap();
            }
            ends.close().await;
        });
    });
}

/// Runs `test` under so many random schedules, and a third as many that change tasks seldom (PCT, which finds what
/// needs few but ill-timed changes).
fn explore(runs: usize, test: impl Fn() + Send + Sync + Clone + 'static) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed: u64 = number("ADIT_MUX_SEED").unwrap_or(1);
    let runs = number("ADIT_MUX_RUNS").and_then(|runs| usize::try_from(runs).ok()).unwrap_or(runs);
    println!("{runs} random and {} PCT schedules from seed {seed}", runs / 3);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    // Sessions set timers. In these models none goes off: time stands still.
    let _entered = runtime.enter();
    run(RandomScheduler::new_from_seed(seed, runs), test.clone());
    run(PctScheduler::new_from_seed(seed, 3, runs / 3), test);
}

fn run(scheduler: impl Scheduler + 'static, test: impl Fn() + Send + Sync + 'static) {
    let mut config = shuttle::Config::new();
    config.stack_size = 512 * 1024;
    shuttle::Runner::new(scheduler, config).run(test);
}

/// Two sessions, each with its driver, over two pipes.
struct Ends {
    dialler: Session,
    listener: Session,
    from_dialler: Incoming,
    _from_listener: Incoming,
    drivers: Vec<JoinHandle<SessionEnd>>,
}

impl Ends {
    fn new(pipe: usize) -> Self {
        Self::begun(pipe, false)
    }

    /// Two sessions that take themselves for busy.
    fn in_a_crowd(pipe: usize) -> Self {
        Self::begun(pipe, true)
    }

    fn begun(pipe: usize, in_a_crowd: bool) -> Self {
        let config = Config::default().hello_window(16 * 1024).start_window(16 * 1024).grease(false).seed(1);
        let config = config.max_peer_streams(if pipe > 10_000 { 1 } else { 4 });
        let ((into_far, from_near), (into_near, from_far)) = (pipe_of(pipe), pipe_of(pipe));
        let builder = |role| Builder { in_a_crowd, ..Builder::new(role).config(config.clone()) };
        // With a pipe of even length one side writes as a TLS library does: into a buffer that is to be flushed.
        let most = if pipe.is_multiple_of(2) { 500 } else { 0 };
        let into_far = Buffered { inner: into_far, most, held: VecDeque::new() };
        let (dialler, from_listener, near) = builder(Role::Dialler).build_split(from_far, into_far);
        let (listener, from_dialler, far) = builder(Role::Listener).build_split(from_near, into_near);
        let drivers = vec![spawn(near), spawn(far)];
        Self { dialler, listener, from_dialler, _from_listener: from_listener, drivers }
    }

    async fn streams(&mut self) -> (crate::SendStream, crate::ReceiveStream) {
        let ours = self.dialler.open(Bytes::new()).await.unwrap();
        let theirs = self.from_dialler.accept().await.unwrap().accept();
        let ((send, _), (_, receive)) = (ours.split(), theirs.split());
        (send, receive)
    }

    async fn close(self) {
        self.dialler.close(CloseCode::NONE, "done");
        for driver in self.drivers {
            driver.await.unwrap();
        }
        self.listener.closed().await;
    }
}

/// The two ends of one direction of a connection. To drop either closes it.
struct Writer(Arc<Mutex<Held>>);
struct Reader(Arc<Mutex<Held>>);

struct Held {
    octets: VecDeque<u8>,
    most: usize,
    is_closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// A direction that holds up to `most` octets.
fn pipe_of(most: usize) -> (Writer, Reader) {
    let held = Held { octets: VecDeque::new(), most, is_closed: false, reader: None, writer: None };
    let held = Arc::new(Mutex::new(held));
    (Writer(Arc::clone(&held)), Reader(held))
}

fn close(held: &Mutex<Held>) {
    let mut held = held.lock().unwrap();
    held.is_closed = true;
    let waiting = [held.reader.take(), held.writer.take()];
    drop(held);
    waiting.into_iter().flatten().for_each(Waker::wake);
}

impl Drop for Writer {
    fn drop(&mut self) {
        close(&self.0);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        close(&self.0);
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut held = self.0.lock().unwrap();
        if held.octets.is_empty() && !held.is_closed {
            held.reader = Some(task.waker().clone());
            return Poll::Pending;
        }
        let read = held.octets.len().min(out.remaining());
        let octets: Vec<u8> = held.octets.drain(..read).collect();
        out.put_slice(&octets);
        let writer = held.writer.take();
        drop(held);
        writer.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let mut held = self.0.lock().unwrap();
        let room = held.most - held.octets.len();
        if held.is_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if room == 0 {
            held.writer = Some(task.waker().clone());
            return Poll::Pending;
        }
        let taken = octets.len().min(room);
        held.octets.extend(&octets[..taken]);
        let reader = held.reader.take();
        drop(held);
        reader.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(taken))
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
        close(&self.0);
        Poll::Ready(Ok(()))
    }
}

/// Takes a little more than the connection behind it.
struct Buffered {
    inner: Writer,
    /// 0 for no buffer at all.
    most: usize,
    held: VecDeque<u8>,
}

impl Buffered {
    fn poll_empty(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let octets: Vec<u8> = self.held.iter().copied().collect();
            let written = std::task::ready!(Pin::new(&mut self.inner).poll_write(task, &octets))?;
            self.held.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Buffered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.most == 0 {
            return Pin::new(&mut self.inner).poll_write(task, octets);
        }
        if self.held.len() >= self.most {
            std::task::ready!(self.poll_empty(task))?;
        }
        let taken = octets.len().min(self.most - self.held.len());
        self.held.extend(&octets[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(task, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.most == 0
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_empty(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_empty(task))?;
        Pin::new(&mut self.inner).poll_shutdown(task)
    }
}
