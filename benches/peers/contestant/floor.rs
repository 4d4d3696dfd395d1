//! The least that a multiplexer with tasks can do: what is left of a loss when everything that ours does more is gone.
//!
//! One task for each end reads, hands on and writes. Each stream has a cell of its own with a lock of its own; what is to be
//! sent goes into one buffer. There is no credit, no turn, no check, no limit on what a reader leaves, no orderly end. Nobody
//! could use it; it shows what waking tasks on two workers and moving octets between their cores costs by itself.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::mpsc;

use super::{Acceptor, BoxStream, Contestant, Later, MANY, Opener, Session, Stream, boxed, ended};
use crate::peers::carrier::{Carrier, Network, Security};

pub(crate) const FLOOR: Contestant = Contestant {
    name: "floor",
    about: "not a multiplexer: one task an end and a cell a stream, without credit, turns or checks; the least that one costs",
    max_streams: MANY,
    on_any_carrier: false,
    quick: false,
    connect: |network| Box::pin(connect(network)),
};

/// What the task of one end and its streams share.
#[derive(Default)]
struct End {
    outbox: Mutex<Outbox>,
    cells: Mutex<HashMap<u32, Arc<Cell>>>,
}

#[derive(Default)]
struct Outbox {
    octets: Vec<u8>,
    driver: Option<Waker>,
    writers: Vec<Waker>,
}

type Cell = Mutex<Inbox>;

#[derive(Default)]
struct Inbox {
    octets: BytesMut,
    is_over: bool,
    reader: Option<Waker>,
}

struct Dialler {
    end: Arc<End>,
    next_id: Mutex<u32>,
}

struct Listener(mpsc::UnboundedReceiver<Handle>);

struct Handle {
    end: Arc<End>,
    cell: Arc<Cell>,
    id: u32,
}

async fn connect(network: Arc<Network>) -> io::Result<Session> {
    let (near, far) = network.pair(Security::Plain).await?;
    let (near_end, far_end) = (Arc::<End>::default(), Arc::<End>::default());
    let (opened, accepted) = mpsc::unbounded_channel();
    tokio::spawn(drive(near, Arc::clone(&near_end), None));
    tokio::spawn(drive(far, far_end, Some(opened)));
    let opener = Arc::new(Dialler { end: near_end, next_id: Mutex::new(1) });
    Ok(Session { opener, acceptor: Box::new(Listener(accepted)) })
}

/// Reads, hands on, lets those who were woken have their say, and writes.
async fn drive(
    carrier: Carrier,
    end: Arc<End>,
    opened: Option<mpsc::UnboundedSender<Handle>>,
) -> io::Result<()> {
    let Carrier::Tcp(socket) = carrier else { return Err(io::ErrorKind::Unsupported.into()) };
    let (mut reader, mut writer) = socket.into_split();
    let (mut input, mut output, mut wakes) = (BytesMut::with_capacity(READ_BYTES), Vec::new(), Vec::new());
    loop {
        poll_fn(|task| {
            lock(&end.outbox).driver = Some(task.waker().clone());
            input.reserve(READ_BYTES);
            let read = pin!(reader.read_buf(&mut input)).poll(task);
            match read {
                Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Poll::Ready(read) => Poll::Ready(read.map(|_| ())),
                Poll::Pending if lock(&end.outbox).octets.is_empty() => Poll::Pending,
                Poll::Pending => Poll::Ready(Ok(())),
            }
        })
        .await?;
        deliver(&end, &mut input, opened.as_ref(), &mut wakes);
        let are_many = wakes.len() > 4;
        wakes.drain(..).for_each(Waker::wake);
        if are_many {
            tokio::task::yield_now().await;
        }
        lock(&end.outbox).empty_into(&mut output, &mut wakes);
        wakes.drain(..).for_each(Waker::wake);
        writer.write_all(&output).await?;
        output.clear();
    }
}

/// Hands every whole frame to its stream.
fn deliver(
    end: &Arc<End>,
    input: &mut BytesMut,
    opened: Option<&mpsc::UnboundedSender<Handle>>,
    wakes: &mut Vec<Waker>,
) {
    let mut cells = lock(&end.cells);
    while let Some((id, length)) = header(input) {
        let bytes = usize::try_from(length).unwrap_or_default();
        if input.len() < HEADER_BYTES + bytes {
            return;
        }
        input.advance(HEADER_BYTES);
        let payload = input.split_to(bytes);
        let cell = match (cells.get(&id), opened) {
            (Some(cell), _) => Arc::clone(cell),
            (None, Some(opened)) => {
                let cell = Arc::<Cell>::default();
                cells.insert(id, Arc::clone(&cell));
                let handle = Handle { end: Arc::clone(end), cell: Arc::clone(&cell), id };
                if opened.send(handle).is_err() {
                    return;
                }
                cell
            }
            (None, None) => continue,
        };
        let mut inbox = lock(&cell);
        inbox.is_over |= payload.is_empty();
        inbox.octets.extend_from_slice(&payload);
        wakes.extend(inbox.reader.take());
    }
}

/// The stream and the length of the next frame. A frame without octets is the end of its stream.
fn header(input: &[u8]) -> Option<(u32, u32)> {
    let (id, rest) = input.split_first_chunk()?;
    Some((u32::from_be_bytes(*id), u32::from_be_bytes(*rest.first_chunk()?)))
}

impl Outbox {
    fn empty_into(&mut self, output: &mut Vec<u8>, wakes: &mut Vec<Waker>) {
        std::mem::swap(&mut self.octets, output);
        wakes.append(&mut self.writers);
    }
}

impl Handle {
    fn send(&self, task: &Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        if octets.len() > MOST_BYTES {
            return Poll::Ready(Err(io::Error::other(
                "for small messages only: nothing bounds what a reader leaves",
            )));
        }
        let mut outbox = lock(&self.end.outbox);
        if outbox.octets.len() > OUTBOX_BYTES {
            outbox.writers.push(task.waker().clone());
            return Poll::Pending;
        }
        let is_first = outbox.octets.is_empty();
        outbox.octets.extend_from_slice(&self.id.to_be_bytes());
        outbox.octets.extend_from_slice(&u32::try_from(octets.len()).unwrap_or(u32::MAX).to_be_bytes());
        outbox.octets.extend_from_slice(octets);
        let driver = if is_first { outbox.driver.take() } else { None };
        drop(outbox);
        driver.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(octets.len()))
    }
}

impl Opener for Dialler {
    fn open(&self) -> Later<'_, io::Result<BoxStream>> {
        let mut next = lock(&self.next_id);
        let id = *next;
        *next = next.wrapping_add(1);
        let cell = Arc::<Cell>::default();
        lock(&self.end.cells).insert(id, Arc::clone(&cell));
        let handle = Handle { end: Arc::clone(&self.end), cell, id };
        Box::pin(async { Ok(boxed(handle)) })
    }
}

impl Acceptor for Listener {
    fn accept(&mut self) -> Later<'_, io::Result<BoxStream>> {
        Box::pin(async { Ok(boxed(self.0.recv().await.ok_or_else(ended)?)) })
    }
}

impl AsyncRead for Handle {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let coop = ready!(tokio::task::coop::poll_proceed(task));
        let mut inbox = lock(&self.cell);
        if inbox.octets.is_empty() && !inbox.is_over {
            inbox.reader = Some(task.waker().clone());
            return Poll::Pending;
        }
        let taken = inbox.octets.len().min(out.remaining());
        out.put_slice(&inbox.octets[..taken]);
        inbox.octets.advance(taken);
        coop.made_progress();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Handle {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let coop = ready!(tokio::task::coop::poll_proceed(task));
        let sent = self.send(task, octets);
        if sent.is_ready() {
            coop.made_progress();
        }
        sent
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.send(task, &[]).map_ok(|_| ())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        lock(&self.end.cells).remove(&self.id);
    }
}

impl Stream for Handle {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The longest message. Bulk would be kept for a reader that is slower than the connection, without end.
const MOST_BYTES: usize = 1024;
const HEADER_BYTES: usize = 8;
const READ_BYTES: usize = 256 * 1024;
const OUTBOX_BYTES: usize = 256 * 1024;
