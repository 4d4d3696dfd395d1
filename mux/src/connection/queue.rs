//! Octets of one half of a stream, waiting; buffers are borrowed from a pool while there are any.

use super::Batch;
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;

/// Chunks in order, the last of which may still grow.
///
/// Small pieces are copied into the growing tail, so memory is proportional to octets, not to pieces. An empty queue
/// is two words: what it used goes back to the pool.
#[derive(Debug, Default)]
pub(crate) struct ChunkQueue {
    /// Borrowed while anything waits.
    buffers: Option<Box<Buffers>>,
    bytes: usize,
}

/// What a queue borrows.
#[derive(Debug, Default)]
struct Buffers {
    chunks: VecDeque<Bytes>,
    /// Grows behind `chunks`.
    tail: Option<BytesMut>,
}

impl ChunkQueue {
    /// How many octets wait.
    pub(crate) const fn len(&self) -> usize {
        self.bytes
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Appends a chunk as it is.
    pub(crate) fn push(&mut self, chunk: Bytes, pool: &mut Pool) {
        if chunk.is_empty() {
            return;
        }
        self.bytes += chunk.len();
        pool.held += chunk.len();
        let buffers = self.buffers.get_or_insert_with(|| pool.lend());
        buffers.seal_tail();
        buffers.chunks.push_back(chunk);
    }

    /// Appends a copy.
    pub(crate) fn push_copy(&mut self, mut octets: &[u8], pool: &mut Pool) {
        if octets.is_empty() {
            return;
        }
        let is_first = self.bytes == 0;
        self.bytes += octets.len();
        pool.held += octets.len();
        let buffers = self.buffers.get_or_insert_with(|| pool.lend());
        if is_first && pool.shares(octets.len()) {
            return buffers.chunks.push_back(pool.piece(octets));
        }
        loop {
            octets = buffers.fill_tail(octets);
            if octets.is_empty() {
                return;
            }
            buffers.seal_tail();
            buffers.tail = Some(pool.next_tail(buffers.tail.take()));
        }
    }

    /// Takes the first chunk, or the first `most` octets of it.
    pub(crate) fn pop(&mut self, most: usize, pool: &mut Pool) -> Option<Bytes> {
        let buffers = self.buffers.as_mut()?;
        let chunk = match buffers.chunks.front_mut() {
            Some(front) if front.len() > most => front.split_to(most),
            Some(_) => buffers.chunks.pop_front()?,
            None => {
                let tail = buffers.tail.as_mut()?;
                tail.split_to(most.min(tail.len())).freeze()
            }
        };
        self.took(chunk.len(), pool);
        Some(chunk)
    }

    /// Copies as much as fits into `out`; says how much that was.
    pub(crate) fn read(&mut self, out: &mut [u8], pool: &mut Pool) -> usize {
        let Some(buffers) = &mut self.buffers else { return 0 };
        let mut done = 0;
        while let Some(room) = out.get_mut(done..).filter(|room| !room.is_empty()) {
            let taken = buffers.copy_to(room);
            if taken == 0 {
                break;
            }
            done += taken;
        }
        self.took(done, pool);
        done
    }

    /// Moves the first `bytes` octets into a batch.
    pub(crate) fn send(&mut self, bytes: usize, batch: &mut Batch, pool: &mut Pool) {
        let mut left = bytes.min(self.bytes);
        while left > 0 {
            if let Some(tail) = self.only_tail() {
                let taken = left.min(tail.len());
                if taken <= Batch::COPIED_BYTES {
                    batch.copy(tail.get(..taken).unwrap_or_default());
                    tail.advance(taken);
                    self.took(taken, pool);
                    left -= taken;
                    continue;
                }
            }
            // Invariant: `left` is at most what the queue holds.
            let Some(chunk) = self.pop(left, pool) else { break };
            left -= chunk.len();
            batch.push(chunk);
        }
    }

    /// Drops everything; says how many octets that were.
    pub(crate) fn clear(&mut self, pool: &mut Pool) -> usize {
        let dropped = self.bytes;
        if let Some(buffers) = &mut self.buffers {
            buffers.chunks.clear();
        }
        self.took(dropped, pool);
        dropped
    }

    /// The growing tail, if nothing waits before it.
    fn only_tail(&mut self) -> Option<&mut BytesMut> {
        self.buffers.as_mut().filter(|buffers| buffers.chunks.is_empty())?.tail.as_mut()
    }

    fn took(&mut self, bytes: usize, pool: &mut Pool) {
        self.bytes -= bytes;
        pool.held -= bytes;
        if self.bytes == 0
            && let Some(buffers) = self.buffers.take()
        {
            pool.take_back(buffers);
        }
    }
}

impl Buffers {
    /// Copies as much as the tail has room for; gives back the rest.
    fn fill_tail<'octets>(&mut self, octets: &'octets [u8]) -> &'octets [u8] {
        let Some(tail) = &mut self.tail else { return octets };
        let room = tail.capacity() - tail.len();
        let (now, later) = octets.split_at(room.min(octets.len()));
        tail.extend_from_slice(now);
        later
    }

    /// Makes a chunk of what the tail holds. It may go on growing behind that.
    fn seal_tail(&mut self) {
        if let Some(tail) = self.tail.as_mut().filter(|tail| !tail.is_empty()) {
            self.chunks.push_back(tail.split().freeze());
        }
    }

    /// Moves octets from the first chunk; says how many.
    fn copy_to(&mut self, room: &mut [u8]) -> usize {
        let Some(front) = self.chunks.front_mut() else {
            return self.tail.as_mut().map_or(0, |tail| copy_front(tail, room));
        };
        let taken = copy_front(front, room);
        if front.is_empty() {
            self.chunks.pop_front();
        }
        taken
    }
}

/// Buffers that queues borrow: in steady state nothing is allocated.
#[derive(Debug)]
pub(crate) struct Pool {
    tail_bytes: usize,
    /// Tails that were used up, oldest first; what was cut from them may still be held. At most [`Pool::TAILS`].
    tails: VecDeque<BytesMut>,
    /// Buffers without a tail; at most [`Pool::BUFFERS`].
    #[expect(clippy::vec_box, reason = "they move between queues as they are, without being allocated anew")]
    buffers: Vec<Box<Buffers>>,
    /// Buffers with a tail, lent first; at most [`Pool::CROWD`].
    #[expect(clippy::vec_box, reason = "they move between queues as they are, without being allocated anew")]
    tailed: Vec<Box<Buffers>>,
    /// How many buffers are lent.
    lent: usize,
    /// How many octets all queues hold that borrow here.
    held: usize,
    /// A tail of all: small pieces are cut from it while many queues hold something.
    shared: Option<BytesMut>,
}

impl Pool {
    /// Enough for what one busy stream has in its queue and its connection in a batch.
    const TAILS: usize = 48;
    const BUFFERS: usize = 256;
    /// How many queues may each have a tail of their own for a few octets.
    const CROWD: usize = 16;
    /// The longest list of chunks that is kept.
    const CHUNKS: usize = 256;

    /// A pool of tails of `tail_bytes` each.
    pub(crate) const fn new(tail_bytes: usize) -> Self {
        Self {
            tail_bytes,
            tails: VecDeque::new(),
            buffers: Vec::new(),
            tailed: Vec::new(),
            lent: 0,
            held: 0,
            shared: None,
        }
    }

    /// How many octets all queues hold that borrow here.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// Gives back to the system what nobody borrows.
    pub(crate) fn shrink(&mut self) {
        self.tails = VecDeque::new();
        self.buffers = Vec::new();
        self.tailed = Vec::new();
        self.shared = None;
    }

    fn lend(&mut self) -> Box<Buffers> {
        self.lent += 1;
        self.tailed.pop().or_else(|| self.buffers.pop()).unwrap_or_default()
    }

    fn take_back(&mut self, mut buffers: Box<Buffers>) {
        self.lent -= 1;
        if buffers.chunks.capacity() > Self::CHUNKS {
            return;
        }
        match &mut buffers.tail {
            Some(tail) if self.tailed.len() < Self::CROWD => {
                tail.clear();
                if tail.capacity() < self.tail_bytes / 2 {
                    // If what was cut from it is held, it goes on behind that.
                    let _ = tail.try_reclaim(self.tail_bytes);
                }
                self.tailed.push(buffers);
            }
            _ if self.buffers.len() < Self::BUFFERS => {
                buffers.tail = None;
                self.buffers.push(buffers);
            }
            _ => {}
        }
    }

    /// Whether so few octets, the first of a queue, should be a piece of the shared tail: a thousand streams with a
    /// message each would otherwise take a tail each.
    const fn shares(&self, bytes: usize) -> bool {
        self.lent > Self::CROWD && bytes <= self.tail_bytes / 4
    }

    fn piece(&mut self, octets: &[u8]) -> Bytes {
        let mut tail = match self.shared.take() {
            Some(tail) if tail.capacity() >= octets.len() => tail,
            used => self.next_tail(used),
        };
        tail.extend_from_slice(octets);
        let piece = tail.split().freeze();
        self.shared = Some(tail);
        piece
    }

    /// An empty tail, for one that is used up.
    fn next_tail(&mut self, used: Option<BytesMut>) -> BytesMut {
        self.tails.extend(used);
        // The oldest is the likeliest to have lost its readers; if it hasn't, it comes up again last.
        if let Some(mut oldest) = self.tails.pop_front() {
            if oldest.try_reclaim(self.tail_bytes) {
                return oldest;
            }
            if self.tails.len() < Self::TAILS {
                self.tails.push_back(oldest);
            }
        }
        BytesMut::with_capacity(self.tail_bytes)
    }
}

fn copy_front(front: &mut impl Buf, room: &mut [u8]) -> usize {
    let taken = front.remaining().min(room.len());
    if let Some(room) = room.get_mut(..taken) {
        front.copy_to_slice(room);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_out_in_order_however_they_went_in() {
        let (mut queue, mut pool) = (ChunkQueue::default(), Pool::new(16));
        queue.push_copy(b"0123456789", &mut pool);
        queue.push(Bytes::from_static(b"abcdef"), &mut pool);
        queue.push_copy(&[b'x'; 40], &mut pool);
        assert_eq!(queue.len(), 56);
        let mut out = [0; 13];
        assert_eq!(queue.read(&mut out, &mut pool), 13);
        assert_eq!(&out, b"0123456789abc");
        assert_eq!(queue.pop(2, &mut pool).unwrap(), "de");
        assert_eq!(queue.pop(9, &mut pool).unwrap(), "f");
        let mut rest = vec![0; 100];
        assert_eq!(queue.read(&mut rest, &mut pool), 40);
        assert!(queue.is_empty() && queue.pop(1, &mut pool).is_none());
    }

    #[test]
    fn an_empty_queue_owns_no_memory() {
        let (mut queue, mut pool) = (ChunkQueue::default(), Pool::new(16));
        queue.push_copy(&[1; 100], &mut pool);
        queue.read(&mut [0; 100], &mut pool);
        assert!(queue.buffers.is_none());
        queue.push_copy(&[1; 100], &mut pool);
        assert_eq!(queue.clear(&mut pool), 100);
        assert!(queue.buffers.is_none());
    }

    #[test]
    fn many_queues_share_the_room_for_their_first_octets() {
        let mut pool = Pool::new(4096);
        let mut queues: Vec<ChunkQueue> = (0..100).map(|_| ChunkQueue::default()).collect();
        queues.iter_mut().for_each(|queue| queue.push_copy(b"first", &mut pool));
        queues.iter_mut().for_each(|queue| queue.push_copy(b" and more", &mut pool));
        for queue in &mut queues {
            let mut out = [0; 14];
            assert_eq!(queue.read(&mut out, &mut pool), 14);
            assert_eq!(&out, b"first and more");
        }
        assert_eq!((pool.lent, pool.held, pool.buffers.len() + pool.tailed.len()), (0, 0, 100));
    }

    #[test]
    fn a_pool_that_shrinks_keeps_what_is_borrowed() {
        let (mut one, mut two, mut pool) = (ChunkQueue::default(), ChunkQueue::default(), Pool::new(16));
        for queue in [&mut one, &mut two] {
            queue.push_copy(&[1; 100], &mut pool);
        }
        two.clear(&mut pool);
        assert!(!pool.tailed.is_empty());
        pool.shrink();
        assert!(pool.tailed.is_empty() && pool.tails.is_empty());
        assert_eq!((pool.lent, pool.held), (1, 100));
        one.push_copy(&[2; 20], &mut pool);
        let mut out = [0; 200];
        assert_eq!(one.read(&mut out, &mut pool), 120);
        assert_eq!(out[100..120], [2; 20]);
    }

    #[test]
    fn a_tail_that_nobody_holds_is_used_again() {
        let mut pool = Pool::new(16);
        let first = pool.next_tail(None);
        let start = first.as_ptr();
        assert_eq!(pool.next_tail(Some(first)).as_ptr(), start);
    }

    #[test]
    fn a_tail_that_is_held_is_passed_over_and_comes_up_again() {
        let mut pool = Pool::new(16);
        let mut tail = pool.next_tail(None);
        let start = tail.as_ptr();
        tail.extend_from_slice(&[1; 16]);
        let held = tail.split().freeze();
        let second = pool.next_tail(Some(tail));
        assert_ne!(second.as_ptr(), start);
        drop(held);
        assert_eq!(pool.next_tail(Some(second)).as_ptr(), start);
    }
}
