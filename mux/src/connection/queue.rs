//! Octets of one half of a stream, waiting; buffers are borrowed from a pool while there are any.

use super::Batch;
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;

/// Chunks in order, the last of which may still grow.
///
/// Small pieces are copied into the growing tail, so memory is proportional to octets, not to pieces. An empty queue
/// owns no heap memory: what it used goes back to the pool.
#[derive(Debug, Default)]
pub(crate) struct ChunkQueue {
    chunks: VecDeque<Bytes>,
    tail: BytesMut,
    bytes: usize,
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
        self.seal_tail(pool);
        self.bytes += chunk.len();
        self.push_sealed(chunk, pool);
    }

    /// Appends a copy.
    pub(crate) fn push_copy(&mut self, mut octets: &[u8], pool: &mut Pool) {
        self.bytes += octets.len();
        while !octets.is_empty() {
            let room = self.tail.capacity() - self.tail.len();
            if room == 0 {
                self.seal_tail(pool);
                self.tail = pool.take_tail();
                continue;
            }
            let (now, later) = octets.split_at(room.min(octets.len()));
            self.tail.extend_from_slice(now);
            octets = later;
        }
    }

    /// Takes the first chunk, or the first `most` octets of it.
    pub(crate) fn pop(&mut self, most: usize, pool: &mut Pool) -> Option<Bytes> {
        let chunk = match self.chunks.front_mut() {
            Some(front) if front.len() > most => front.split_to(most),
            Some(_) => self.chunks.pop_front()?,
            None if self.tail.is_empty() => return None,
            None => self.tail.split_to(most.min(self.tail.len())).freeze(),
        };
        self.took(chunk.len(), pool);
        Some(chunk)
    }

    /// Copies as much as fits into `out`; says how much that was.
    pub(crate) fn read(&mut self, out: &mut [u8], pool: &mut Pool) -> usize {
        let mut done = 0;
        while let Some(room) = out.get_mut(done..).filter(|room| !room.is_empty()) {
            let taken = match self.chunks.front_mut() {
                Some(front) => {
                    let taken = copy_front(front, room);
                    if front.is_empty() {
                        self.chunks.pop_front();
                    }
                    taken
                }
                None => copy_front(&mut self.tail, room),
            };
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
            let small_tail = self.chunks.is_empty() && left.min(self.tail.len()) <= Batch::COPIED_BYTES;
            if small_tail {
                let taken = left.min(self.tail.len());
                batch.copy(self.tail.get(..taken).unwrap_or_default());
                self.tail.advance(taken);
                self.took(taken, pool);
                left -= taken;
                continue;
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
        self.chunks.clear();
        self.tail.clear();
        self.took(dropped, pool);
        pool.release(&mut self.chunks, &mut self.tail);
        dropped
    }

    fn took(&mut self, bytes: usize, pool: &mut Pool) {
        self.bytes -= bytes;
        if self.bytes == 0 {
            pool.release(&mut self.chunks, &mut self.tail);
        }
    }

    fn seal_tail(&mut self, pool: &mut Pool) {
        if !self.tail.is_empty() {
            let sealed = self.tail.split().freeze();
            self.push_sealed(sealed, pool);
        }
        if self.tail.capacity() > 0 {
            pool.give_tail(std::mem::take(&mut self.tail));
        }
    }

    fn push_sealed(&mut self, chunk: Bytes, pool: &mut Pool) {
        if self.chunks.capacity() == 0 {
            self.chunks = pool.queues.pop().unwrap_or_default();
        }
        self.chunks.push_back(chunk);
    }
}

/// Buffers that queues borrow: in steady state nothing is allocated.
#[derive(Debug)]
pub(crate) struct Pool {
    tail_bytes: usize,
    /// At most [`Pool::KEPT`].
    tails: VecDeque<BytesMut>,
    /// At most [`Pool::KEPT`].
    queues: Vec<VecDeque<Bytes>>,
}

impl Pool {
    const KEPT: usize = 32;

    /// A pool of tails of `tail_bytes` each.
    pub(crate) const fn new(tail_bytes: usize) -> Self {
        Self { tail_bytes, tails: VecDeque::new(), queues: Vec::new() }
    }

    fn take_tail(&mut self) -> BytesMut {
        // The oldest is the likeliest to have lost its readers. One that still has some would need a fresh buffer
        // anyway, so it is let go.
        if let Some(mut tail) = self.tails.pop_front()
            && tail.try_reclaim(self.tail_bytes)
        {
            return tail;
        }
        BytesMut::with_capacity(self.tail_bytes)
    }

    fn give_tail(&mut self, tail: BytesMut) {
        if self.tails.len() < Self::KEPT {
            self.tails.push_back(tail);
        }
    }

    fn release(&mut self, chunks: &mut VecDeque<Bytes>, tail: &mut BytesMut) {
        if tail.capacity() > 0 {
            self.give_tail(std::mem::take(tail));
        }
        if chunks.capacity() > 0 {
            let chunks = std::mem::take(chunks);
            if self.queues.len() < Self::KEPT && chunks.capacity() <= 256 {
                self.queues.push(chunks);
            }
        }
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
        assert_eq!((queue.chunks.capacity(), queue.tail.capacity()), (0, 0));
        queue.push_copy(&[1; 100], &mut pool);
        assert_eq!(queue.clear(&mut pool), 100);
        assert_eq!((queue.chunks.capacity(), queue.tail.capacity()), (0, 0));
    }
}
