//! The PROXY protocol: case T-58, and agreement over every cut.
#![cfg(feature = "proxy-protocol")]
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, missing_docs, reason = "tests")]

use std::net::SocketAddr;

use adit_tls_modes::{
    HelloError, ProxyError, ProxyHeader, ProxyLimits, ProxyRead, ProxyReader, ProxyVersion, Sniff,
    SniffLimits, Sniffer, TrustedSources,
};
use proptest::prelude::*;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

#[test]
fn t58_good_headers_are_taken_and_what_follows_is_kept() {
    for (bytes, source, destination) in [
        (&b"PROXY TCP4 192.0.2.1 198.51.100.2 51000 443\r\n"[..], "192.0.2.1:51000", "198.51.100.2:443"),
        (b"PROXY TCP6 2001:db8::1 2001:DB8::2 0 65535\r\n", "[2001:db8::1]:0", "[2001:db8::2]:65535"),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:1.2.3.4 1 2\r\n", "192.0.2.1:1", "1.2.3.4:2"),
        (
            &v2(0x21, 0x11, b"\xc0\0\x02\x01\xc6\x33\x64\x02\xc7\x38\x01\xbb"),
            "192.0.2.1:51000",
            "198.51.100.2:443",
        ),
        // With an extension of each length.
        (
            &v2(0x21, 0x11, b"\xc0\0\x02\x01\xc6\x33\x64\x02\xc7\x38\x01\xbb\x04\0\0\x01\0\x02h2"),
            "192.0.2.1:51000",
            "198.51.100.2:443",
        ),
    ] {
        let header = assert_agrees_over_every_cut(bytes).unwrap();
        assert_eq!(header.source(), Some(source.parse().unwrap()));
        assert_eq!(header.destination(), Some(destination.parse().unwrap()));
    }
    for bytes in [
        &b"PROXY UNKNOWN\r\n"[..],
        b"PROXY UNKNOWN ffff::1 whatever 1 2\r\n",
        &v2(0x20, 0x00, b""),
        &v2(0x20, 0x11, &[9; 12]),
        &v2(0x21, 0x00, b""),
        &v2(0x21, 0x31, &[b'/'; 216]),
    ] {
        assert_eq!(assert_agrees_over_every_cut(bytes), Ok(ProxyHeader::local()));
    }
}

#[test]
fn t58_lying_lengths_and_other_nonsense_close_the_connection() {
    let long_line = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 92], b"\r\n".to_vec()].concat();
    for bytes in [
        // Shorter than the addresses, or longer than they and the extensions.
        &v2(0x21, 0x11, &[1; 11])[..],
        &v2(0x21, 0x21, &[1; 35]),
        &v2(0x21, 0x31, &[1; 215]),
        &v2(0x21, 0x11, &[1; 13]),
        &v2(0x21, 0x11, &[1; 16]),
        // Other versions, commands, families, transports.
        &v2(0x11, 0x11, &[1; 12]),
        &v2(0x22, 0x11, &[1; 12]),
        &v2(0x21, 0x41, &[1; 12]),
        &v2(0x21, 0x13, &[1; 12]),
        &v2(0x21, 0x12, &[1; 12]),
        b"PROXY TCP4 192.0.2.1 198.51.100.2 51000 443\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 51000 443\r \n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 51000\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 51000 443 \r\n",
        b"PROXY TCP4  192.0.2.1 198.51.100.2 51000 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 51000 65536\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 +51000 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 051000 443\r\n",
        b"PROXY TCP4 192.0.2.01 198.51.100.2 51000 443\r\n",
        b"PROXY TCP4 ::1 ::2 51000 443\r\n",
        b"PROXY TCP6 192.0.2.1 198.51.100.2 51000 443\r\n",
        b"PROXY UDP4 192.0.2.1 198.51.100.2 51000 443\r\n",
        b"PROXY UNKNOWN \x00\r\n",
        b"PROXY \r\n",
        &long_line,
        b"proxy UNKNOWN\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01",
        b"\r\n\r\n\0\r\nQUIT\r",
    ] {
        assert!(assert_agrees_over_every_cut(bytes).is_err(), "{}", bytes.escape_ascii());
    }
    // A length beyond the cap is refused before anything of it is waited for.
    let mut claims = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
    assert_eq!(reader().receive(&claims), ProxyRead::Refused(ProxyError::TooLong { limit_bytes: 4096 }));
    // One within the cap that nothing follows ends with the connection, or in time.
    claims[14..].copy_from_slice(&[0, 99]);
    let mut reader = reader();
    assert_eq!(reader.receive(&claims), ProxyRead::NeedMore);
    assert_eq!(reader.receive_end(), ProxyRead::Refused(ProxyError::Eof));
    assert_eq!(reader.handle_timeout(), ProxyRead::Refused(ProxyError::Eof));
    assert!(reader.into_remaining().is_empty());
}

#[test]
fn t58_untrusted_sources_are_not_read() {
    let nobody = TrustedSources::default();
    let some = TrustedSources::new(["10.0.0.0/8".parse().unwrap(), "fd00::1".parse().unwrap()]);
    for (source, trusted, is_trusted) in [
        ("10.255.0.1", &some, true),
        ("::ffff:10.255.0.1", &some, true),
        ("fd00::1", &some, true),
        ("fd00::2", &some, false),
        ("192.0.2.1", &some, false),
        ("127.0.0.1", &some, false),
        ("127.0.0.1", &nobody, false),
    ] {
        let reader = ProxyReader::new(source.parse().unwrap(), trusted, ProxyLimits::new());
        assert_eq!(reader.err(), (!is_trusted).then_some(ProxyError::UntrustedSource), "{source}");
    }
}

#[test]
fn t58_where_it_is_off_a_header_is_no_tls() {
    let header = ProxyHeader::new(address("192.0.2.1:1"), address("192.0.2.2:2"));
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let mut sniffer = Sniffer::new(SniffLimits::new());
        assert_eq!(sniffer.receive(&header.encode(version)[..5]), Sniff::Refused(HelloError::NotTls));
    }
}

#[test]
fn headers_as_printed_in_the_specification() {
    let header = ProxyHeader::new(address("192.168.0.1:56324"), address("192.168.0.11:443"));
    assert_eq!(header.encode(ProxyVersion::V1), b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n");
    assert_eq!(
        header.encode(ProxyVersion::V2),
        v2(0x21, 0x11, &[192, 168, 0, 1, 192, 168, 0, 11, 0xdc, 0x04, 0x01, 0xbb])
    );
    assert_eq!(ProxyHeader::local().encode(ProxyVersion::V1), b"PROXY UNKNOWN\r\n");
    assert_eq!(ProxyHeader::local().encode(ProxyVersion::V2), v2(0x20, 0, b""));
}

#[test]
fn addresses_of_two_families_are_written_as_one() {
    let mixed = ProxyHeader::new(address("192.0.2.1:1"), address("[2001:db8::2]:2"));
    assert_eq!(mixed.encode(ProxyVersion::V1), b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n");
    assert_eq!(mixed.source(), Some(address("192.0.2.1:1")));
    let mapped = ProxyHeader::new(address("192.0.2.1:1"), address("[::ffff:192.0.2.2]:2"));
    assert_eq!(mapped.encode(ProxyVersion::V1), b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(source in any::<SocketAddr>(), destination in any::<SocketAddr>()) {
        let header = ProxyHeader::new(source, destination);
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            let bytes = header.encode(version);
            prop_assert!(bytes.len() <= 107);
            prop_assert_eq!(reader().receive(&bytes), ProxyRead::Header(header));
        }
    }
}

#[cfg(feature = "tokio")]
mod over_a_stream {
    use std::time::Duration;

    use adit_tls_modes::{ProxyError, ProxyLimits, ReadProxyError, TrustedSources, read_proxy_header};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    async fn read(stream: &[u8], then_wait: bool) -> Result<(String, Vec<u8>), ProxyError> {
        let (mut proxy, gateway) = duplex(1 << 16);
        proxy.write_all(stream).await.unwrap();
        let waiting = then_wait.then_some(proxy);
        let trusted = TrustedSources::new(["192.0.2.9".parse().unwrap()]);
        #[expect(clippy::disallowed_methods, reason = "a test is a driver")]
        let deadline = Instant::now() + Duration::from_secs(5);
        let source = "192.0.2.9".parse().unwrap();
        let read = read_proxy_header(gateway, source, &trusted, ProxyLimits::new(), deadline).await;
        drop(waiting);
        match read {
            Ok((header, mut io)) => {
                let mut rest = Vec::new();
                io.read_to_end(&mut rest).await.unwrap();
                Ok((header.source().unwrap().to_string(), rest))
            }
            Err(ReadProxyError::Refused { error, .. }) => Err(error),
            Err(error) => panic!("{error}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn t58_the_connection_is_given_back_as_the_visitors() {
        let stream = b"PROXY TCP4 198.51.100.7 192.0.2.1 51000 443\r\n\x16\x03\x01";
        let expected = ("198.51.100.7:51000".to_owned(), b"\x16\x03\x01".to_vec());
        assert_eq!(read(stream, false).await, Ok(expected));
        assert_eq!(read(b"\x16\x03\x01", true).await, Err(ProxyError::NotProxy));
        assert_eq!(read(b"PROXY TCP4 198.51", false).await, Err(ProxyError::Eof));
        assert_eq!(read(b"PROXY TCP4 198.51", true).await, Err(ProxyError::DeadlinePassed));
    }
}

/// Feeds the bytes whole, in every 2-cut and one by one, with more behind them, and checks that the answers agree.
fn assert_agrees_over_every_cut(bytes: &[u8]) -> Result<ProxyHeader, ProxyError> {
    let stream = [bytes, b"PROXY what follows"].concat();
    let whole = run([&stream[..]]);
    for cut in 1..stream.len() {
        assert_eq!(run([&stream[..cut], &stream[cut..]]), whole, "cut at {cut}");
    }
    assert_eq!(run(stream.chunks(1)), whole);
    let (verdict, remaining) = whole;
    match verdict {
        ProxyRead::Header(header) => {
            assert_eq!(remaining, b"PROXY what follows");
            Ok(header)
        }
        ProxyRead::Refused(error) => Err(error),
        other => panic!("{other:?} after {}", bytes.escape_ascii()),
    }
}

fn run<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (ProxyRead, Vec<u8>) {
    let mut reader = reader();
    for piece in pieces {
        let _verdict = reader.receive(piece);
    }
    (reader.verdict(), reader.into_remaining())
}

fn reader() -> ProxyReader {
    let trusted = TrustedSources::new(["192.0.2.0/24".parse().unwrap()]);
    ProxyReader::new("192.0.2.9".parse().unwrap(), &trusted, ProxyLimits::new()).unwrap()
}

fn v2(version_and_command: u8, family_and_transport: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[version_and_command, family_and_transport], &length, payload].concat()
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
