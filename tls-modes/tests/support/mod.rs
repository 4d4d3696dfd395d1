//! A ClientHello to order, and ways to cut a stream.
#![allow(dead_code, reason = "each test file uses a part of it")]

use adit_tls_modes::{ClientHello, HelloError, Sniff, SniffLimits, Sniffer};

/// Builds ClientHello messages field by field, broken ones included.
#[derive(Clone)]
pub(crate) struct HelloBuilder {
    pub(crate) legacy_version: u16,
    pub(crate) session_id: Vec<u8>,
    pub(crate) cipher_suites: Vec<u8>,
    pub(crate) compression: Vec<u8>,
    pub(crate) extensions: Option<Vec<(u16, Vec<u8>)>>,
}

impl HelloBuilder {
    /// A TLS 1.3 hello without extensions that matter.
    pub(crate) fn new() -> Self {
        Self {
            legacy_version: 0x0303,
            session_id: vec![7; 32],
            cipher_suites: vec![0x13, 0x01, 0x13, 0x02],
            compression: vec![0],
            extensions: Some(vec![
                (10, vec![0, 2, 0, 0x1d]),
                (13, vec![0, 4, 4, 3, 8, 4]),
                (43, vec![4, 3, 4, 3, 3]),
                (51, key_share(&[(0x1d, 32)])),
            ]),
        }
    }

    pub(crate) fn host(name: &str) -> Self {
        Self::new().extension(0, server_name(name.as_bytes()))
    }

    pub(crate) fn extension(mut self, kind: u16, content: Vec<u8>) -> Self {
        self.extensions.get_or_insert_default().push((kind, content));
        self
    }

    pub(crate) fn without(mut self, kind: u16) -> Self {
        self.extensions.get_or_insert_default().retain(|(existing, _)| *existing != kind);
        self
    }

    pub(crate) fn alpn(self, protocols: &[&[u8]]) -> Self {
        self.extension(16, alpn(protocols))
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        let mut body = self.legacy_version.to_be_bytes().to_vec();
        body.extend([0x42; 32]);
        body.extend(vector8(&self.session_id));
        body.extend(vector16(&self.cipher_suites));
        body.extend(vector8(&self.compression));
        if let Some(extensions) = &self.extensions {
            let mut block = Vec::new();
            for (kind, content) in extensions {
                block.extend(kind.to_be_bytes());
                block.extend(vector16(content));
            }
            body.extend(vector16(&block));
        }
        body
    }

    /// The handshake message.
    pub(crate) fn message(&self) -> Vec<u8> {
        handshake(1, &self.body())
    }

    /// The message in records of at most 16,384 bytes.
    pub(crate) fn stream(&self) -> Vec<u8> {
        records(&self.message(), 16_384)
    }
}

pub(crate) fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let mut message = vec![kind];
    message.extend(&length[1..]);
    message.extend(body);
    message
}

pub(crate) fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, 3, 1];
    record.extend(vector16(content));
    record
}

pub(crate) fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|content| record(22, content)).collect()
}

pub(crate) fn vector8(content: &[u8]) -> Vec<u8> {
    let mut vector = vec![u8::try_from(content.len()).unwrap()];
    vector.extend(content);
    vector
}

pub(crate) fn vector16(content: &[u8]) -> Vec<u8> {
    let mut vector = u16::try_from(content.len()).unwrap().to_be_bytes().to_vec();
    vector.extend(content);
    vector
}

pub(crate) fn server_name(name: &[u8]) -> Vec<u8> {
    let mut entry = vec![0];
    entry.extend(vector16(name));
    vector16(&entry)
}

pub(crate) fn alpn(protocols: &[&[u8]]) -> Vec<u8> {
    vector16(&protocols.iter().flat_map(|protocol| vector8(protocol)).collect::<Vec<_>>())
}

pub(crate) fn key_share(shares: &[(u16, usize)]) -> Vec<u8> {
    let mut list = Vec::new();
    for (group, bytes) in shares {
        list.extend(group.to_be_bytes());
        list.extend(vector16(&vec![0x5a; *bytes]));
    }
    vector16(&list)
}

/// What a stream of bytes leads to. `NeedMore` at the end is an answer of its own here.
pub(crate) type Verdict = Option<Result<ClientHello, HelloError>>;

/// Feeds the pieces in order, and checks on the way that a verdict once given stays, and that nothing is lost.
pub(crate) fn feed<'a>(limits: SniffLimits, pieces: impl IntoIterator<Item = &'a [u8]>) -> Verdict {
    let mut sniffer = Sniffer::new(limits);
    let mut sent = Vec::new();
    let mut settled: Option<Verdict> = None;
    for piece in pieces {
        let verdict = own(sniffer.receive(piece));
        sent.extend_from_slice(piece);
        if let Some(settled) = &settled {
            assert_eq!(*settled, verdict, "the verdict changed");
        }
        if verdict.is_some() {
            settled = Some(verdict);
        }
    }
    assert_eq!(sniffer.received(), sent, "replay differs");
    let (answer, received) = sniffer.into_parts();
    assert_eq!(received, sent);
    answer
}

/// The verdict of `stream`, after seeing that all ways to cut it agree: whole, in two at every place, byte by byte, and
/// at random places drawn from fixed seeds.
pub(crate) fn sniff_every_way_with(limits: SniffLimits, stream: &[u8]) -> Verdict {
    let whole = feed(limits, [stream]);
    assert_eq!(whole, feed(limits, stream.chunks(1)), "byte by byte");
    // Every place for what a browser sends; a sample, with all edges, where that would take minutes.
    let step = (stream.len() / 500).max(1);
    for cut in (0..=stream.len()).step_by(step) {
        let (head, tail) = stream.split_at(cut);
        assert_eq!(whole, feed(limits, [head, tail]), "cut at {cut}");
    }
    for seed in 1..=16 {
        assert_eq!(whole, feed(limits, random_cuts(seed, stream)), "seed {seed}");
    }
    whole
}

pub(crate) fn sniff_every_way(stream: &[u8]) -> Verdict {
    sniff_every_way_with(SniffLimits::new(), stream)
}

pub(crate) fn hello_of(stream: &[u8]) -> ClientHello {
    sniff_every_way(stream).expect("needs more").expect("refused")
}

pub(crate) fn refusal_of(stream: &[u8]) -> HelloError {
    sniff_every_way(stream).expect("needs more").expect_err("accepted")
}

/// How many bytes it takes until the verdict is known.
pub(crate) fn settled_at(stream: &[u8]) -> usize {
    let mut sniffer = Sniffer::new(SniffLimits::new());
    let unsettled = stream.iter().take_while(|byte| sniffer.receive(&[**byte]) == Sniff::NeedMore).count();
    unsettled + 1
}

pub(crate) fn random_cuts(seed: u64, stream: &[u8]) -> Vec<&[u8]> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut pieces = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bytes = usize::try_from(state >> 60).unwrap() * usize::try_from(state >> 58 & 3).unwrap() + 1;
        let (piece, next) = rest.split_at(bytes.min(rest.len()));
        pieces.push(piece);
        rest = next;
    }
    pieces
}

pub(crate) fn own(sniff: Sniff<'_>) -> Verdict {
    match sniff {
        Sniff::Hello(hello) => Some(Ok(hello.clone())),
        Sniff::Refused(error) => Some(Err(error)),
        Sniff::NeedMore => None,
    }
}
