//! What stands ahead of a connection on ports that proxies connect to.

use std::net::{IpAddr, Ipv4Addr};

use adit_tls_modes::{ProxyError, ProxyLimits, ProxyRead, ProxyReader, ProxyVersion, TrustedSources};

/// A stream of bytes; the first one says how long the pieces are that it is cut into.
///
/// Properties: at once, in such pieces and byte by byte there is the same answer, and the same is left behind the header;
/// what is read can be written in both versions, and reads as the same again; a stream that is longer than every header
/// has an answer.
///
/// # Panics
/// If a property is broken.
pub fn proxy_protocol(data: &[u8]) {
    let Some((piece_bytes, stream)) = data.split_first() else { return };
    let at_once = run(stream.chunks(stream.len().max(1)));
    assert_eq!(run(stream.chunks(usize::from(*piece_bytes).max(1))), at_once);
    assert_eq!(run(stream.chunks(1)), at_once);
    let (verdict, rest) = at_once;
    let ProxyRead::Header(header) = verdict else {
        assert!(rest.is_empty());
        assert!(verdict != ProxyRead::NeedMore || stream.len() < MAX_HEADER_BYTES);
        assert_ne!(verdict, ProxyRead::Refused(ProxyError::UntrustedSource));
        return;
    };
    assert!(stream.ends_with(&rest) && rest.len() + 15 <= stream.len());
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let again = [&header.encode(version)[..], b"rest"].concat();
        assert_eq!(run(again.chunks(7)), (ProxyRead::Header(header), b"rest".to_vec()));
    }
}

fn run<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (ProxyRead, Vec<u8>) {
    let proxy = IpAddr::from(Ipv4Addr::LOCALHOST);
    let limits = ProxyLimits::new().max_header_bytes(MAX_HEADER_BYTES);
    let mut reader = ProxyReader::new(proxy, &TrustedSources::new([proxy.into()]), limits)
        .expect("the only source is trusted");
    for piece in pieces {
        let _verdict = reader.receive(piece);
    }
    (reader.verdict(), reader.into_remaining())
}

const MAX_HEADER_BYTES: usize = 300;
