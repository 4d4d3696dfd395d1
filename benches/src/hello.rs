//! ClientHellos as browsers send them, to measure with.

/// The host that they ask for.
pub const HOST: &str = "app-7.tunnel.example";

/// A hello of 512 bytes with classic key shares.
#[must_use]
pub fn classic() -> Vec<u8> {
    hello(&[(0x1d, 32), (0x17, 65)], 512)
}

/// A hello of 1,800 bytes with a post-quantum key share, as current browsers send it.
#[must_use]
pub fn post_quantum() -> Vec<u8> {
    hello(&[(0x8a8a, 1), (0x11ec, 1_216), (0x1d, 32)], 1_800)
}

/// A hello padded to `bytes` of stream, in records of 16,384 bytes.
#[must_use]
pub fn padded(bytes: usize) -> Vec<u8> {
    hello(&[(0x1d, 32)], bytes)
}

fn hello(key_shares: &[(u16, usize)], bytes: usize) -> Vec<u8> {
    let shares: Vec<u8> = key_shares
        .iter()
        .flat_map(|(group, length)| [&group.to_be_bytes()[..], &vector16(&vec![7; *length])].concat())
        .collect();
    let mut extensions = [
        (0x2a2a, vec![]),
        (0, vector16(&[&[0][..], &vector16(HOST.as_bytes())].concat())),
        (23, vec![]),
        (0xff01, vec![0]),
        (10, vec![0, 8, 0x8a, 0x8a, 0x11, 0xec, 0, 0x1d, 0, 0x17]),
        (11, vec![1, 0]),
        (35, vec![]),
        (16, vector16(b"\x02h2\x08http/1.1")),
        (5, vec![1, 0, 0, 0, 0]),
        (13, vector16(&[4, 3, 8, 4, 4, 1, 5, 3, 8, 5, 5, 1, 8, 6, 6, 1])),
        (18, vec![]),
        (51, vector16(&shares)),
        (45, vec![1, 1]),
        (43, vec![6, 0xda, 0xda, 3, 4, 3, 3]),
        (27, vec![2, 0, 2]),
    ]
    .map(|(kind, content): (u16, Vec<u8>)| [&kind.to_be_bytes()[..], &vector16(&content)].concat())
    .concat();
    let body = |extensions: &[u8]| {
        let ciphers = [0x13, 0x01, 0x13, 0x02, 0x13, 0x03, 0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x2c, 0xc0, 0x30];
        [&[3, 3][..], &[9; 32], &[32], &[8; 32], &vector16(&ciphers), &[1, 0], &vector16(extensions)].concat()
    };
    let padding = bytes.saturating_sub(body(&extensions).len() + 9 + 4);
    extensions.extend([&[0, 21][..], &vector16(&vec![0; padding])].concat());
    let body = body(&extensions);
    let length = u32::try_from(body.len()).unwrap_or(0).to_be_bytes();
    let message = [&[1][..], &length[1..], &body].concat();
    message.chunks(16_384).flat_map(|part| [&[22, 3, 1][..], &vector16(part)].concat()).collect()
}

/// # Panics
/// Over 65,535 bytes.
fn vector16(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("what is measured is shorter");
    [&length.to_be_bytes()[..], content].concat()
}
