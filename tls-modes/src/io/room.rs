use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::AsyncRead;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::sniff::sniff_seated;
use super::{SniffError, Sniffed};
use crate::{ClientHello, HelloRoom, RoomFull, RoomLimits, SeatId, SniffLimits};

/// A [`HelloRoom`] that tasks share: connections [`enter`](Self::enter) when they are accepted and are sniffed from
/// their seat, which they leave by themselves.
///
/// Cloning gives another handle to the same room. Its lock is held for as long as it takes to count.
///
/// ```no_run
/// # async fn example(listener: tokio::net::TcpListener) -> std::io::Result<()> {
/// use adit_tls_modes::{RoomLimits, SniffLimits, SniffRoom};
/// use tokio::time::{Duration, Instant};
///
/// let room = SniffRoom::new(RoomLimits::new());
/// loop {
///     let (socket, address) = listener.accept().await?;
///     let Ok(seat) = room.enter(address.ip()) else { continue };
///     let deadline = Instant::now() + Duration::from_secs(10);
///     tokio::spawn(async move {
///         if let Ok((hello, io)) = seat.sniff(socket, SniffLimits::new(), deadline).await {
///             println!("{:?}", hello.server_name());
///             drop(io);
///         }
///     });
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SniffRoom {
    shared: Arc<Mutex<Shared>>,
}

impl SniffRoom {
    /// An empty room.
    pub fn new(limits: RoomLimits) -> Self {
        let shared = Shared { room: HelloRoom::new(limits), guests: HashMap::new() };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// Lets a connection from `source` in that has just been accepted.
    ///
    /// # Errors
    /// [`RoomFull`]: drop the connection.
    pub fn enter(&self, source: IpAddr) -> Result<SniffSeat, RoomFull> {
        let mut shared = self.lock();
        let id = shared.room.enter(source)?;
        let shed = Arc::new(Notify::new());
        shared.guests.insert(id, Arc::clone(&shed));
        shared.tell_shed();
        drop(shared);
        Ok(SniffSeat { room: self.clone(), id, shed })
    }

    /// How many connections are in the room.
    pub fn len(&self) -> usize {
        self.lock().room.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes they hold together.
    pub fn bytes(&self) -> usize {
        self.lock().room.bytes()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Nothing between lock and unlock can panic half-way through a change.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's seat in a [`SniffRoom`]. Dropping it leaves the room.
#[derive(Debug)]
pub struct SniffSeat {
    room: SniffRoom,
    id: SeatId,
    shed: Arc<Notify>,
}

impl SniffSeat {
    /// Does what [`sniff`](crate::sniff) does, and gives way if the room needs the memory. The seat is left when the answer
    /// is known.
    ///
    /// # Errors
    /// Those of [`sniff`](crate::sniff), and [`SniffError::Refused`] with
    /// [`HelloError::GaveWay`](crate::HelloError::GaveWay).
    pub async fn sniff<IO>(
        self,
        io: IO,
        limits: SniffLimits,
        deadline: Instant,
    ) -> Result<(ClientHello, Sniffed<IO>), SniffError<IO>>
    where
        IO: AsyncRead + Unpin,
    {
        sniff_seated(&self, io, limits, deadline).await
    }

    /// Counts bytes that were received.
    pub(super) fn receive(&self, bytes: usize) {
        let mut shared = self.room.lock();
        shared.room.receive(self.id, bytes);
        shared.tell_shed();
    }

    /// Waits until the room is full and this connection is the one to be given up; forever, usually. For whoever keeps
    /// the seat longer than [`sniff`](Self::sniff) does, which waits for this by itself. Cancel-safe, by one task at a time.
    pub async fn shed(&self) {
        self.shed.notified().await;
    }
}

impl Drop for SniffSeat {
    fn drop(&mut self) {
        let mut shared = self.room.lock();
        shared.room.leave(self.id);
        shared.guests.remove(&self.id);
    }
}

#[derive(Debug)]
struct Shared {
    room: HelloRoom,
    /// One for each seat in `room`.
    guests: HashMap<SeatId, Arc<Notify>>,
}

impl Shared {
    fn tell_shed(&mut self) {
        while let Some(shed) = self.room.poll_shed() {
            if let Some(guest) = self.guests.remove(&shed) {
                guest.notify_one();
            }
        }
    }
}
