//! Streams with tasks at both ends.

use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::peers::contestant::{BoxStream, Session};

/// Both ends of one stream.
pub(crate) struct Pair {
    pub(crate) near: BoxStream,
    pub(crate) far: BoxStream,
}

/// Streams in use, with what was received on each.
#[derive(Default)]
pub(crate) struct Flows {
    received: Vec<Arc<AtomicU64>>,
    failure: Arc<Failure>,
}

/// Where a reader counts its bytes.
pub(crate) struct Received(Arc<AtomicU64>);

/// The first error of any task.
#[derive(Default)]
pub(crate) struct Failure(Mutex<Option<String>>);

impl Flows {
    /// Streams on which the opener writes as fast as it can, `write_size` bytes a call, and the acceptor reads.
    pub(crate) async fn bulk(session: &mut Session, streams: usize, write_size: usize) -> io::Result<Self> {
        let mut flows = Self::default();
        for pair in pairs(session, streams).await? {
            flows.spawn_sink(pair.far);
            flows.spawn_source(pair.near, write_size);
        }
        Ok(flows)
    }

    /// Reads all that arrives, and counts it.
    pub(crate) fn spawn_sink(&mut self, mut stream: BoxStream) {
        self.spawn_counted(move |received| async move {
            let mut scratch = vec![0; 64 * 1024];
            loop {
                match poll_fn(|cx| stream.poll_read_chunk(cx, &mut scratch)).await? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    length => received.add(length),
                }
            }
        });
    }

    /// A reader whose bytes count.
    pub(crate) fn spawn_counted<F>(&mut self, reader: impl FnOnce(Received) -> F)
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let received = Arc::new(AtomicU64::new(0));
        self.received.push(Arc::clone(&received));
        self.spawn(reader(Received(received)));
    }

    /// Writes without end.
    pub(crate) fn spawn_source(&self, mut stream: BoxStream, write_size: usize) {
        let chunk = Bytes::from(vec![0x5a; write_size]);
        self.spawn(async move {
            loop {
                let mut rest = chunk.clone();
                while !rest.is_empty() {
                    poll_fn(|cx| stream.poll_write_chunk(cx, &mut rest)).await?;
                }
            }
        });
    }

    /// Sends back whatever arrives, until the other end goes; a failure shows there.
    pub(crate) fn spawn_echo(&self, mut stream: BoxStream) {
        self.spawn(async move {
            let mut message = [0; MESSAGE];
            while stream.read_exact(&mut message).await.is_ok() {
                stream.write_all(&message).await?;
                stream.flush().await?;
            }
            Ok(())
        });
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = io::Result<()>> + Send + 'static) {
        let failure = Arc::clone(&self.failure);
        tokio::spawn(async move {
            if let Err(error) = task.await {
                failure.report(&error);
            }
        });
    }

    pub(crate) fn received(&self) -> &[Arc<AtomicU64>] {
        &self.received
    }

    /// Fails if a task did.
    pub(crate) fn check(&self) -> io::Result<()> {
        match self.failure.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(failure) => Err(io::Error::other(failure)),
            None => Ok(()),
        }
    }
}

impl Received {
    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Failure {
    fn report(&self, error: &io::Error) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| error.to_string());
    }
}

/// Streams that have carried a byte each way, so that both ends know them whatever a contestant puts off.
pub(crate) async fn pairs(session: &mut Session, streams: usize) -> io::Result<Vec<Pair>> {
    let mut pairs = Vec::with_capacity(streams);
    for _ in 0..streams {
        pairs.push(pair(session).await?);
    }
    Ok(pairs)
}

async fn pair(session: &mut Session) -> io::Result<Pair> {
    let opening = async {
        let mut near = session.opener.open().await?;
        near.write_all(&[1]).await?;
        near.flush().await?;
        near.read_exact(&mut [0]).await?;
        io::Result::Ok(near)
    };
    let accepting = async {
        let mut far = session.acceptor.accept().await?;
        far.read_exact(&mut [0]).await?;
        far.write_all(&[2]).await?;
        far.flush().await?;
        io::Result::Ok(far)
    };
    let (near, far) = tokio::try_join!(opening, accepting)?;
    Ok(Pair { near, far })
}

/// Bytes of a request, and of its reply.
pub(crate) const MESSAGE: usize = 64;
