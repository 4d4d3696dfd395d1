//! CONNECT and its answer, without a socket.

use super::{ConnectError, Proxy, Target};
use bytes::{Bytes, BytesMut};
use httparse::{EMPTY_HEADER, Response, Status};

/// What a proxy is asked, and what it answers.
///
/// Send [`request`](Self::request), then give [`receive`](Self::receive) what comes. The answer doesn't depend on how the
/// input is cut; nothing is looked at twice.
#[derive(Debug)]
pub struct Handshake {
    /// At most `max_head_bytes`, and the piece with which the head's end came.
    input: BytesMut,
    /// Where the head that is awaited begins: behind interim answers.
    begin: usize,
    /// Up to where no end of a head was found.
    scanned: usize,
    max_head_bytes: usize,
    had_credentials: bool,
}

/// How far the answer is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum Progress {
    /// The head of the answer isn't whole.
    NeedMore,
    /// The way is open. These octets came behind the answer: they are the target's.
    Open(Bytes),
}

impl Handshake {
    /// The request for `target`, to be sent to `proxy`: it holds the password.
    pub fn request(proxy: &Proxy, target: &Target) -> Bytes {
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some(credentials) = proxy.credentials() {
            request.push_str("Proxy-Authorization: Basic ");
            request.push_str(credentials);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        request.into()
    }

    /// Awaits the answer of `proxy`, whose heads may have `max_head_bytes` all together.
    pub fn new(proxy: &Proxy, max_head_bytes: usize) -> Self {
        let had_credentials = proxy.has_credentials();
        Self { input: BytesMut::new(), begin: 0, scanned: 0, max_head_bytes, had_credentials }
    }

    /// Takes octets of the proxy.
    ///
    /// # Errors
    /// [`ConnectError`] if the proxy refuses or is none: close the connection. After an error, or after the way is open,
    /// there is nothing more to receive.
    pub fn receive(&mut self, octets: &[u8]) -> Result<Progress, ConnectError> {
        self.input.extend_from_slice(octets);
        loop {
            // What is too large is that however much of it has come: nothing beyond the limit is looked at.
            let seen = self.input.len().min(self.max_head_bytes);
            let head = self.input.get(self.begin..seen).unwrap_or_default();
            if !head.iter().zip(STATUS_LINE).all(|(octet, expected)| octet == expected) {
                return Err(ConnectError::NotHttp);
            }
            let end = self.head_end();
            if end.unwrap_or(self.input.len()) > self.max_head_bytes {
                return Err(ConnectError::HeadTooLarge { limit: self.max_head_bytes });
            }
            let Some(end) = end else { return Ok(Progress::NeedMore) };
            match status(self.input.get(self.begin..end).unwrap_or_default())? {
                // Of whatever length it says that its body has: CONNECT's answer has none.
                200..=299 => return Ok(Progress::Open(self.input.split_off(end).freeze())),
                // There is nothing to switch to.
                100 | 102..=199 => (self.begin, self.scanned) = (end, end),
                407 => {
                    return Err(ConnectError::AuthenticationRequired {
                        had_credentials: self.had_credentials,
                    });
                }
                status => return Err(ConnectError::Refused { status }),
            }
        }
    }

    /// Behind the empty line, if it has come. Lines end with LF; a CR before it belongs to it (RFC 9112 §2.2).
    fn head_end(&mut self) -> Option<usize> {
        let mut at = self.scanned.max(self.begin);
        while let Some(octet) = self.input.get(at) {
            let line = self.input.get(self.begin..at).unwrap_or_default();
            if *octet == b'\n' && (line.ends_with(b"\n") || line.ends_with(b"\n\r")) {
                return Some(at + 1);
            }
            at += 1;
        }
        self.scanned = at;
        None
    }
}

fn status(head: &[u8]) -> Result<u16, ConnectError> {
    let mut fields = [EMPTY_HEADER; MAX_FIELDS];
    let mut response = Response::new(&mut fields);
    match response.parse(head) {
        Ok(Status::Complete(_)) => response.code.ok_or(ConnectError::NotHttp),
        Ok(Status::Partial) | Err(_) => Err(ConnectError::NotHttp),
    }
}

/// What every answer begins with.
const STATUS_LINE: &[u8] = b"HTTP/1.";

/// More fields than that are no proxy's.
const MAX_FIELDS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_exact() {
        let target: Target = "[2001:db8::1]:443".parse().unwrap();
        assert_eq!(
            Handshake::request(&proxy("http://me:pass@p:1"), &target),
            "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\nProxy-Authorization: Basic bWU6cGFzcw==\r\n\r\n"
        );
        assert_eq!(
            Handshake::request(&proxy("p"), &"a:1".parse().unwrap()),
            "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"
        );
    }

    #[test]
    fn every_answer_means_the_same_in_every_cut() {
        let rows = [
            ("HTTP/1.1 200 Connection established\r\n\r\n", "open "),
            ("HTTP/1.0 200 OK\r\nVia: a\r\n\r\nrest", "open rest"),
            ("HTTP/1.1 204 \r\nContent-Length: 5\r\n\r\nrest", "open rest"),
            ("HTTP/1.1 200 OK\n\nrest", "open rest"),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nrest", "open rest"),
            ("HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n", "the proxy asks for credentials"),
            ("HTTP/1.1 403 Forbidden\r\n\r\n<html>", "the proxy refused with status 403"),
            ("HTTP/1.1 502 Bad Gateway\r\nA: b\r\n\r\n", "the proxy refused with status 502"),
            ("HTTP/1.1 101 Switching\r\n\r\n", "the proxy refused with status 101"),
            ("HTTP/1.1 304 Odd\r\n\r\n", "the proxy refused with status 304"),
            ("SSH-2.0-OpenSSH\r\n", "what answers there is no HTTP proxy"),
            ("\x15\x03\x01", "what answers there is no HTTP proxy"),
            ("HTTP/2 200\r\n\r\n", "what answers there is no HTTP proxy"),
            ("HTTP/1.1 2000 OK\r\n\r\n", "what answers there is no HTTP proxy"),
            ("HTTP/1.1 abc\r\n\r\n", "what answers there is no HTTP proxy"),
            ("HTTP/1.1 200 OK\r\n: empty\r\n\r\n", "what answers there is no HTTP proxy"),
            ("HTTP/1.1 200 OK\r\n", "more"),
            ("HTTP/1.1 100 Continue\r\n\r\n", "more"),
            ("", "more"),
        ];
        for (answer, expected) in rows {
            assert_eq!(run([answer.as_bytes()], 256), expected, "{answer:?}");
            assert_eq!(run(answer.as_bytes().chunks(1), 256), expected, "{answer:?}, octet by octet");
            for cut in 0..answer.len() {
                let (one, two) = answer.as_bytes().split_at(cut);
                assert_eq!(run([one, two], 256), expected, "{answer:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_head_without_an_end_is_given_up_at_the_limit() {
        let endless = "HTTP/1.1 200 OK\r\n".to_owned() + &"X: y\r\n".repeat(100);
        let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(100);
        for answer in [endless, interim] {
            let expected = "the proxy's answer has a head of over 256 octets";
            assert_eq!(run([answer.as_bytes()], 256), expected);
            assert_eq!(run(answer.as_bytes().chunks(1), 256), expected);
        }
    }

    #[test]
    fn regression_octets_beyond_the_limit_change_no_verdict() {
        let interim = format!("HTTP/1.1 100 {}\r\n\r\n", "x".repeat(236));
        assert_eq!(interim.len(), 253);
        let answer = interim + "HTTP/2 200 OK\r\n\r\n";
        let expected = "the proxy's answer has a head of over 256 octets";
        assert_eq!(run([answer.as_bytes()], 256), expected);
        assert_eq!(run(answer.as_bytes().chunks(1), 256), expected);
    }

    fn run<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limit: usize) -> String {
        let mut handshake = Handshake::new(&proxy("p"), limit);
        let mut open: Option<Vec<u8>> = None;
        for piece in pieces {
            match (&mut open, handshake.receive(piece)) {
                (Some(open), _) => open.extend_from_slice(piece),
                (None, Ok(Progress::Open(rest))) => open = Some(rest.to_vec()),
                (None, Ok(Progress::NeedMore)) => {}
                (None, Err(error)) => return error.to_string(),
            }
        }
        open.map_or_else(|| "more".to_owned(), |rest| format!("open {}", String::from_utf8(rest).unwrap()))
    }

    fn proxy(text: &str) -> Proxy {
        text.parse().unwrap()
    }
}
