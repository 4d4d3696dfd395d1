use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::io::{SniffSeat, Sniffed};
use crate::{AlertDescription, ClientHello, HelloError, Sniff, SniffLimits, Sniffer};

/// Reads from `io` until the ClientHello is complete, and gives it back with a stream that replays every byte.
///
/// `deadline` is absolute: take it from the moment of accepting the connection, so that neither a slow start nor a
/// drip of single bytes moves it. Of `limits` only the cap on bytes is used here.
///
/// Cancel safe only in the sense that nothing hangs: dropping the future drops the stream.
///
/// # Errors
/// [`SniffError::Refused`] with the stream inside, so that the caller may send the alert ([`refuse`]) or speak another
/// protocol on it; [`SniffError::Io`] if reading fails.
pub async fn sniff<IO>(
    mut io: IO,
    limits: SniffLimits,
    deadline: Instant,
) -> Result<(ClientHello, Sniffed<IO>), SniffError<IO>>
where
    IO: AsyncRead + Unpin,
{
    let mut sniffer = Sniffer::new(limits);
    match timeout_at(deadline, read_hello(&mut sniffer, &mut io, |_| {})).await {
        Ok(Ok(())) => {}
        Ok(Err(source)) => return Err(SniffError::Io { source }),
        Err(_elapsed) => {
            let _ = sniffer.handle_timeout();
        }
    }
    finish(sniffer, io)
}

/// The same, counted in a room, and given up when the room needs the memory.
pub(super) async fn sniff_seated<IO>(
    seat: &SniffSeat,
    mut io: IO,
    limits: SniffLimits,
    deadline: Instant,
) -> Result<(ClientHello, Sniffed<IO>), SniffError<IO>>
where
    IO: AsyncRead + Unpin,
{
    let mut sniffer = Sniffer::new(limits);
    let reading = read_hello(&mut sniffer, &mut io, |bytes| seat.receive(bytes));
    match timeout_at(deadline, unless(seat.shed(), reading)).await {
        Ok(Some(Ok(()))) => {}
        Ok(Some(Err(source))) => return Err(SniffError::Io { source }),
        Ok(None) => {
            let _ = sniffer.give_way();
        }
        Err(_elapsed) => {
            let _ = sniffer.handle_timeout();
        }
    }
    finish(sniffer, io)
}

/// Sends the alert, if one is due, and closes our direction of the stream. What the peer still sends is not read.
///
/// Call it under a deadline: a peer that does not read can make it wait.
///
/// # Errors
/// Those of writing to `io`.
pub async fn refuse<IO>(io: &mut IO, alert: Option<AlertDescription>) -> io::Result<()>
where
    IO: AsyncWrite + Unpin,
{
    if let Some(alert) = alert {
        io.write_all(&alert.fatal_record()).await?;
    }
    io.shutdown().await
}

/// Why [`sniff`] has no hello.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SniffError<IO> {
    /// The bytes, the end of the stream or the deadline rule it out.
    #[error("{error}")]
    #[non_exhaustive]
    Refused {
        /// The reason, and the alert that goes with it.
        error: HelloError,
        /// The stream, with everything that was read in front.
        io: Sniffed<IO>,
    },
    /// Reading failed; there is nobody left to answer.
    #[error("reading the ClientHello failed: {source}")]
    #[non_exhaustive]
    Io {
        /// What the stream said.
        source: io::Error,
    },
}

fn finish<IO>(sniffer: Sniffer, io: IO) -> Result<(ClientHello, Sniffed<IO>), SniffError<IO>> {
    match sniffer.into_parts() {
        (Some(Ok(hello)), received) => Ok((hello, Sniffed::new(received, io))),
        (Some(Err(error)), received) => Err(SniffError::Refused { error, io: Sniffed::new(received, io) }),
        (None, received) => {
            // Not reached: `read_hello` ends with a verdict, and giving up is one.
            Err(SniffError::Refused { error: HelloError::DeadlinePassed, io: Sniffed::new(received, io) })
        }
    }
}

async fn read_hello<IO: AsyncRead + Unpin>(
    sniffer: &mut Sniffer,
    io: &mut IO,
    count_received: impl Fn(usize),
) -> io::Result<()> {
    let mut buffer = [0; READ_BYTES];
    loop {
        let count = io.read(&mut buffer).await?;
        count_received(count);
        let received = buffer.get(..count).unwrap_or_default();
        let verdict = if received.is_empty() { sniffer.receive_end() } else { sniffer.receive(received) };
        if verdict != Sniff::NeedMore {
            return Ok(());
        }
    }
}

/// What `work` comes to, or `None` if `stop` comes first.
async fn unless<T>(stop: impl Future<Output = ()>, work: impl Future<Output = T>) -> Option<T> {
    let (mut stop, mut work) = (pin!(stop), pin!(work));
    poll_fn(|cx| match stop.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => work.as_mut().poll(cx).map(Some),
    })
    .await
}

/// Enough for a post-quantum hello of a browser in one read, and small enough to live in a future.
const READ_BYTES: usize = 2_048;
