//! Frames as octets: what a peer sends that no library would, and what really crossed the connection.

use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;

/// `:method GET`, `:scheme https`, `:path /`, from HPACK's static table.
pub(crate) const GET: &[u8] = &[0x82, 0x87, 0x84];

/// A client that writes what it likes.
pub(crate) struct RawClient {
    io: DuplexStream,
    input: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawFrame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl RawClient {
    /// Says the preface and empty settings.
    pub(crate) async fn new(mut io: DuplexStream) -> Self {
        io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut client = Self { io, input: Vec::new() };
        assert!(client.send(SETTINGS, 0, 0, &[]).await);
        client
    }

    /// Writes a frame; says whether the connection took it.
    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        let written = tokio::time::timeout(PATIENCE, self.io.write_all(&frame)).await;
        written.expect("the server reads").is_ok()
    }

    /// The next frame of that kind; `None` at the end.
    pub(crate) async fn next(&mut self, kind: u8) -> Option<RawFrame> {
        loop {
            let frame = self.frame().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// The code of the GOAWAY that ends the connection.
    pub(crate) async fn goaway(&mut self) -> Option<u32> {
        let frame = self.next(GOAWAY).await?;
        Some(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()))
    }

    async fn frame(&mut self) -> Option<RawFrame> {
        loop {
            if let Some((frame, length)) = split(&self.input) {
                self.input.drain(..length);
                return Some(frame);
            }
            let mut piece = [0; 4096];
            let read = tokio::time::timeout(PATIENCE, self.io.read(&mut piece)).await;
            match read.expect("the server answers") {
                Ok(read) if read > 0 => self.input.extend_from_slice(&piece[..read]),
                Ok(_) | Err(_) => return None,
            }
        }
    }
}

/// All frames in `octets`; nothing may be left over.
pub(crate) fn frames(mut octets: &[u8]) -> Vec<RawFrame> {
    let mut frames = Vec::new();
    while let Some((frame, length)) = split(octets) {
        frames.push(frame);
        octets = &octets[length..];
    }
    assert!(octets.is_empty(), "half a frame at the end");
    frames
}

fn split(octets: &[u8]) -> Option<(RawFrame, usize)> {
    let [a, b, c, kind, flags, s, t, u, v, rest @ ..] = octets else { return None };
    let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap();
    let payload = rest.get(..length)?.to_vec();
    let stream = u32::from_be_bytes([*s, *t, *u, *v]);
    Some((RawFrame { kind: *kind, flags: *flags, stream, payload }, 9 + length))
}

/// A literal field that is not added to HPACK's table.
pub(crate) fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    field(0, name, value)
}

/// A literal field that is added to HPACK's table.
pub(crate) fn indexed_literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    field(0x40, name, value)
}

fn field(first: u8, name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut field = vec![first];
    for text in [name, value] {
        integer(&mut field, text.len());
        field.extend_from_slice(text);
    }
    field
}

/// RFC 7541 section 5.1 with a prefix of 7 bits.
fn integer(out: &mut Vec<u8>, mut number: usize) {
    if number < 127 {
        out.push(u8::try_from(number).unwrap());
        return;
    }
    out.push(127);
    number -= 127;
    while number >= 128 {
        out.push(u8::try_from(number % 128).unwrap() | 128);
        number /= 128;
    }
    out.push(u8::try_from(number).unwrap());
}

const PATIENCE: Duration = Duration::from_secs(60);
