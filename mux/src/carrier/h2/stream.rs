//! The two halves of a stream.

use super::cell::{Cell, ReceiveEnd, SendEnd};
use super::shared::{Counters, Life};
use crate::StreamError;
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use tokio::io::ReadBuf;

pub(crate) struct SendStream {
    cell: Arc<Cell>,
    _life: Arc<Life>,
}

pub(crate) struct ReceiveStream {
    cell: Arc<Cell>,
    _life: Arc<Life>,
}

pub(super) fn halves(cell: Arc<Cell>, life: Arc<Life>) -> (SendStream, ReceiveStream) {
    (SendStream { cell: Arc::clone(&cell), _life: Arc::clone(&life) }, ReceiveStream { cell, _life: life })
}

impl SendStream {
    pub(crate) fn id(&self) -> u32 {
        self.cell.id.load(Ordering::Acquire)
    }

    pub(crate) fn poll_write_chunk(
        &mut self,
        task: &Context<'_>,
        chunk: &Bytes,
    ) -> Poll<Result<(), StreamError>> {
        self.write(task, |unsent, _| {
            unsent.push(chunk.clone());
            chunk.len()
        })
        .map_ok(|_| ())
    }

    pub(crate) fn poll_writable(&mut self, task: &Context<'_>) -> Poll<Result<usize, StreamError>> {
        let mut room = 0;
        self.write(task, |_, left| {
            room = left;
            0
        })
        .map_ok(|_| room)
    }

    pub(crate) fn poll_write(&self, task: &Context<'_>, octets: &[u8]) -> Poll<Result<usize, StreamError>> {
        self.write(task, |unsent, room| {
            let taken = octets.len().min(room);
            unsent.push_slice(octets.get(..taken).unwrap_or_default());
            taken
        })
    }

    pub(crate) fn poll_flush(&self) -> Poll<Result<(), StreamError>> {
        Poll::Ready(self.cell.shared.end().map_or(Ok(()), |end| Err(StreamError::Session(end))))
    }

    pub(crate) fn finish(&mut self) -> Result<(), StreamError> {
        let mut flow = self.cell.flow();
        match flow.send_end {
            Some(SendEnd::Finished) => return Ok(()),
            Some(SendEnd::Reset(_)) => return Err(StreamError::Ended),
            None => {}
        }
        if let Some(error) = &flow.send_failure {
            return Err(error.clone());
        }
        flow.send_end = Some(SendEnd::Finished);
        drop(flow);
        self.cell.nudge();
        Ok(())
    }

    pub(crate) fn reset(&mut self, code: CloseCode) {
        let mut flow = self.cell.flow();
        if flow.send_end.is_some() {
            return;
        }
        flow.unsent.clear();
        flow.send_end = Some(SendEnd::Reset(code));
        drop(flow);
        self.cell.nudge();
    }

    /// Adds to what is to be sent, or waits for room.
    fn write(
        &self,
        task: &Context<'_>,
        add: impl FnOnce(&mut super::chunks::Chunks, usize) -> usize,
    ) -> Poll<Result<usize, StreamError>> {
        let mut flow = self.cell.flow();
        if flow.send_end.is_some() {
            return Poll::Ready(Err(StreamError::Ended));
        }
        if let Some(error) = &flow.send_failure {
            return Poll::Ready(Err(error.clone()));
        }
        let room = self.cell.shared.config.send_buffer.saturating_sub(flow.unsent.len());
        if room == 0 {
            flow.writer = Some(task.waker().clone());
            return Poll::Pending;
        }
        let added = add(&mut flow.unsent, room);
        drop(flow);
        if added > 0 {
            Counters::add(&self.cell.shared.counters.payload_sent, added);
            self.cell.nudge();
        }
        Poll::Ready(Ok(added))
    }
}

impl ReceiveStream {
    pub(crate) fn poll_read_chunk(&mut self, task: &Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        let mut chunk = None;
        self.read(task, |unread| {
            chunk = unread.pop(usize::MAX);
            chunk.as_ref().map_or(0, Bytes::len)
        })
        .map_ok(|_| chunk)
    }

    pub(crate) fn poll_read(
        &mut self,
        task: &Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), StreamError>> {
        let read = self.read(task, |unread| {
            let read = unread.read(out.initialize_unfilled());
            out.advance(read);
            read
        });
        read.map_ok(|_| ())
    }

    pub(crate) fn stop(&mut self, code: CloseCode) {
        let mut flow = self.cell.flow();
        if flow.stop.is_some() {
            return;
        }
        flow.stop = Some(code);
        flow.consumed = flow.consumed.saturating_add(flow.unread.len());
        flow.unread.clear();
        drop(flow);
        self.cell.nudge();
    }

    /// Takes from what came, or waits for more; 0 at the end.
    fn read(
        &self,
        task: &Context<'_>,
        take: impl FnOnce(&mut super::chunks::Chunks) -> usize,
    ) -> Poll<Result<usize, StreamError>> {
        let mut flow = self.cell.flow();
        if flow.stop.is_some() {
            return Poll::Ready(Err(StreamError::Ended));
        }
        if flow.unread.is_empty() {
            return match &flow.receive_end {
                Some(ReceiveEnd::Finished) => Poll::Ready(Ok(0)),
                Some(ReceiveEnd::Failed(error)) => Poll::Ready(Err(error.clone())),
                None => {
                    flow.reader = Some(task.waker().clone());
                    Poll::Pending
                }
            };
        }
        let taken = take(&mut flow.unread);
        flow.consumed = flow.consumed.saturating_add(taken);
        let is_due = flow.owes_credit() && flow.receive_end.is_none();
        drop(flow);
        Counters::add(&self.cell.shared.counters.payload_received, taken);
        if is_due {
            self.cell.nudge();
        }
        Poll::Ready(Ok(taken))
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        self.reset(CloseCode::CANCELLED);
    }
}

impl Drop for ReceiveStream {
    fn drop(&mut self) {
        let is_over = matches!(self.cell.flow().receive_end, Some(ReceiveEnd::Finished));
        if !is_over {
            self.stop(CloseCode::CANCELLED);
        }
    }
}
