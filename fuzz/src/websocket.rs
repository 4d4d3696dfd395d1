//! Frames of WebSocket, whose octets are those of a session.

use adit_mux::carrier::websocket::WebSocketIo;
use bytes::Bytes;
use std::io::{self, Cursor, Read, Write};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

/// What a peer sends. The first octet says which side this is and how long the pieces are that come at once.
///
/// Properties: in any pieces the same octets come out, and the same end; they are no more than came in; what is sent in
/// answer is no more either, and is frames; and another implementation reads the same, as far as it goes.
///
/// # Panics
/// If a property is broken.
pub fn websocket_frames(data: &[u8]) {
    let Some((first, octets)) = data.split_first() else { return };
    let is_client = first & 1 == 1;
    let piece = usize::from(first >> 1) + 1;
    let at_once = run(is_client, octets, octets.len().max(1));
    for most in [piece, 1] {
        let again = run(is_client, octets, most);
        assert_eq!((&again.read, &again.end), (&at_once.read, &at_once.end));
        check_answers(is_client, &again.sent, octets.len());
    }
    assert!(at_once.read.len() <= octets.len());
    check_answers(is_client, &at_once.sent, octets.len());
    let (theirs, is_allowed) = another(is_client, octets);
    // It takes lengths in more octets than they need, which we don't.
    let goes_on = at_once.end.is_err() && theirs.starts_with(&at_once.read);
    assert!(at_once.read.starts_with(&theirs) || goes_on);
    assert!(is_allowed || at_once.end.is_err(), "{:?}", at_once.end);
}

#[derive(Debug)]
struct Run {
    read: Vec<u8>,
    end: Result<(), String>,
    sent: Vec<u8>,
}

fn run(is_client: bool, octets: &[u8], most: usize) -> Run {
    let peer = Peer { octets: octets.to_vec(), at: 0, most, sent: Vec::new() };
    let mut socket = match is_client {
        true => WebSocketIo::upgraded_client(peer, Bytes::new()).randomness(|octets| {
            octets.fill(0x5a);
            Ok(())
        }),
        false => WebSocketIo::upgraded_server(peer, Bytes::new()),
    };
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    let mut task = Context::from_waker(Waker::noop());
    loop {
        let mut out = ReadBuf::new(&mut buffer);
        let end = match pin!(&mut socket).poll_read(&mut task, &mut out) {
            Poll::Ready(Ok(())) if !out.filled().is_empty() => {
                read.extend_from_slice(out.filled());
                continue;
            }
            // Its turn is over; the peer never waits.
            Poll::Pending => continue,
            Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(error)) => Err(error.to_string()),
        };
        return Run { read, end, sent: socket.get_ref().sent.clone() };
    }
}

/// Answers are whole pongs and at most one Close, which is the last; together no longer than what they answer and the Close.
fn check_answers(is_client: bool, mut sent: &[u8], came: usize) {
    const LONGEST_CLOSE: usize = 8;
    let mask = if is_client { 4 } else { 0 };
    assert!(sent.len() <= 3 * came + LONGEST_CLOSE);
    while let [first, second, ..] = sent {
        let length = usize::from(second & 0x7f);
        assert!(length <= 125 && (second & 0x80 != 0) == is_client);
        let whole = 2 + mask + length;
        match first {
            0x8a => assert!(sent.len() >= whole),
            0x88 => assert!(sent.len() == whole && (length == 0 || length == 2)),
            other => panic!("{other:#x}"),
        }
        sent = &sent[whole..];
    }
    assert!(sent.is_empty());
}

/// The messages that another implementation reads before its first error, and whether that is none of the protocol.
fn another(is_client: bool, octets: &[u8]) -> (Vec<u8>, bool) {
    let role = if is_client { Role::Client } else { Role::Server };
    let io = Script(Cursor::new(octets.to_vec()));
    let config = WebSocketConfig::default().max_frame_size(Some(1 << 20)).max_message_size(Some(1 << 20));
    let mut socket = WebSocket::from_raw_socket(io, role, Some(config));
    let mut all = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Binary(octets)) => all.extend_from_slice(&octets),
            // What stands behind a Close is nothing to us.
            Ok(Message::Text(_) | Message::Close(_)) => return (all, true),
            Ok(_) => {}
            Err(Error::Protocol(error)) => {
                use tokio_tungstenite::tungstenite::error::ProtocolError;
                // The script is over, which is no rule broken.
                return (all, matches!(error, ProtocolError::ResetWithoutClosingHandshake));
            }
            Err(_) => return (all, true),
        }
    }
}

/// Gives a script in pieces and takes everything.
#[derive(Debug)]
struct Peer {
    octets: Vec<u8>,
    at: usize,
    most: usize,
    sent: Vec<u8>,
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let taken = (self.octets.len() - self.at).min(self.most).min(out.remaining());
        out.put_slice(&self.octets[self.at..self.at + taken]);
        self.at += taken;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.sent.extend_from_slice(octets);
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The same for the other implementation, which waits for nothing.
struct Script(Cursor<Vec<u8>>);

impl Read for Script {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

impl Write for Script {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
