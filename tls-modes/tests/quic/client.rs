//! A client that writes whatever Initials a test asks for, with keys of rustls.

use rustls::Side;
use rustls::crypto::ring::default_provider;
use rustls::quic::{Keys, Version};

pub const V1: u32 = 1;
pub const V2: u32 = 0x6b33_43cf;

/// One connection, seen from the client.
pub struct Client {
    keys: Keys,
    pub version: u32,
    pub destination: Vec<u8>,
    pub source: Vec<u8>,
    pub token: Vec<u8>,
    pub number: u32,
    /// Bits to set in the first byte before it is protected.
    pub first_bits: u8,
}

impl Client {
    pub fn new(version: u32, destination: &[u8]) -> Self {
        Self {
            keys: keys(version, destination, Side::Client),
            version,
            destination: destination.to_vec(),
            source: b"me".to_vec(),
            token: Vec::new(),
            number: 0,
            first_bits: 0,
        }
    }

    /// A client whose keys are of another version than it says.
    pub fn with_keys_of(version: u32, keys_of: u32, destination: &[u8]) -> Self {
        Self { keys: keys(keys_of, destination, Side::Client), ..Self::new(version, destination) }
    }

    /// One protected Initial packet with these frames and nothing more.
    pub fn packet(&mut self, frames: &[u8]) -> Vec<u8> {
        let mut packet = vec![0xc3 | self.first_bits | if self.version == V2 { 0x10 } else { 0 }];
        packet.extend(self.version.to_be_bytes());
        for id in [&self.destination, &self.source] {
            packet.push(id.len() as u8);
            packet.extend(id);
        }
        packet.extend(varint(self.token.len()));
        packet.extend(&self.token);
        packet.extend(varint(4 + frames.len() + 16));
        let number_at = packet.len();
        packet.extend(self.number.to_be_bytes());
        let mut payload = frames.to_vec();
        let tag = self.keys.local.packet.encrypt_in_place(self.number.into(), &packet, &mut payload).unwrap();
        self.number += 1;
        packet.extend(payload);
        packet.extend(tag.as_ref());
        let (head, sampled) = packet.split_at_mut(number_at + 4);
        let (start, number) = head.split_at_mut(number_at);
        self.keys.local.header.encrypt_in_place(&sampled[..16], &mut start[0], number).unwrap();
        packet
    }

    /// A datagram of 1,200 bytes at least that holds one Initial with these frames and padding behind them.
    pub fn datagram(&mut self, frames: &[u8]) -> Vec<u8> {
        let header = 7
            + self.destination.len()
            + self.source.len()
            + varint(self.token.len()).len()
            + self.token.len();
        let mut frames = frames.to_vec();
        let wanted = 1200_usize.saturating_sub(header + 2 + 4 + 16);
        frames.resize(frames.len().max(wanted), 0);
        self.packet(&frames)
    }

    /// Datagrams that hold the message in pieces of `piece` bytes.
    pub fn flight(&mut self, message: &[u8], piece: usize) -> Vec<Vec<u8>> {
        let pieces = message.chunks(piece).enumerate();
        pieces.map(|(index, data)| self.datagram(&crypto(index * piece, data))).collect()
    }

    /// Opens a packet of the server and returns its frames.
    pub fn open(&self, packet: &[u8]) -> Vec<u8> {
        let mut packet = packet.to_vec();
        let source_at = 6 + usize::from(packet[5]);
        let number_at = source_at + 1 + usize::from(packet[source_at]) + 2;
        let (head, sampled) = packet.split_at_mut(number_at + 4);
        let (start, number) = head.split_at_mut(number_at);
        self.keys.remote.header.decrypt_in_place(&sampled[..16], &mut start[0], number).unwrap();
        let number_bytes = usize::from(packet[0] & 3) + 1;
        let (header, payload) = packet.split_at_mut(number_at + number_bytes);
        let number = header[number_at..].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        self.keys.remote.packet.decrypt_in_place(number, header, payload).unwrap().to_vec()
    }
}

/// A long header packet whose content nobody here can read.
pub fn opaque(first: u8, version: u32, destination: &[u8], source: &[u8], bytes: usize) -> Vec<u8> {
    let mut packet = vec![first];
    packet.extend(version.to_be_bytes());
    for id in [destination, source] {
        packet.push(id.len() as u8);
        packet.extend(id);
    }
    let is_initial = matches!((version, first & 0x30), (V1, 0x00) | (V2, 0x10));
    if is_initial {
        // It has a token first, here an empty one.
        packet.push(0);
    }
    packet.extend(varint(bytes));
    packet.extend(vec![0x5a; bytes]);
    packet
}

/// A short header packet.
pub fn short(destination: &[u8], bytes: usize) -> Vec<u8> {
    [&[0x41], destination, &vec![0xa5; bytes]].concat()
}

/// A CRYPTO frame.
pub fn crypto(offset: usize, data: &[u8]) -> Vec<u8> {
    [vec![6], varint(offset), varint(data.len()), data.to_vec()].concat()
}

pub fn varint(value: usize) -> Vec<u8> {
    match value {
        0..0x40 => vec![value as u8],
        0x40..0x4000 => (0x4000 | value as u16).to_be_bytes().to_vec(),
        0x4000..0x4000_0000 => (0x8000_0000 | value as u32).to_be_bytes().to_vec(),
        _ => (0xc000_0000_0000_0000 | value as u64).to_be_bytes().to_vec(),
    }
}

/// A handshake message with a ClientHello that asks for `name` and offers h3, and is filled up to `bytes`, if it is shorter.
pub fn hello(name: &str, bytes: usize) -> Vec<u8> {
    let list = [&[0], &be16(name.len())[..], name.as_bytes()].concat();
    let server_name = extension(0, &[&be16(list.len()), &list[..]].concat());
    let alpn = extension(16, b"\0\x03\x02h3");
    let mut extensions = [server_name, alpn].concat();
    let missing = bytes.saturating_sub(4 + 41 + 2 + extensions.len());
    if missing > 4 {
        extensions.extend(extension(21, &vec![0; missing - 4]));
    }
    hello_with(&extensions)
}

/// A handshake message with a ClientHello with these extensions.
pub fn hello_with(extensions: &[u8]) -> Vec<u8> {
    let mut body = b"\x03\x03".to_vec();
    body.extend([7; 32]);
    body.extend(b"\0\0\x02\x13\x01\x01\0");
    body.extend(be16(extensions.len()));
    body.extend(extensions);
    let mut message = (0x0100_0000 | body.len() as u32).to_be_bytes().to_vec();
    message.extend(body);
    message
}

pub fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes(), &be16(content.len()), content].concat()
}

fn be16(value: usize) -> [u8; 2] {
    (value as u16).to_be_bytes()
}

fn keys(version: u32, destination: &[u8], side: Side) -> Keys {
    let version = if version == V2 { Version::V2 } else { Version::V1 };
    let provider = default_provider();
    let suite = provider.cipher_suites.iter().find_map(|suite| {
        let is_aes_128 = suite.suite() == rustls::CipherSuite::TLS13_AES_128_GCM_SHA256;
        suite.tls13().filter(|_| is_aes_128)
    });
    suite.unwrap().quic_suite().unwrap().keys(destination, side, version)
}
