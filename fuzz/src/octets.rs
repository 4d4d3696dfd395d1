//! Bodies for what `adit-router` reads octet by octet: the screen before HTTP/1, and the detector.

use adit_router::{Detection, Detector, Screen, ScreenError};

/// The octets of a connection. Every cut gives the same answer, and what goes on is read by another parser to the same ends.
pub fn router_screen(data: &[u8]) {
    let whole = screened(data, data.len().max(1));
    for piece in [1, 2, 7] {
        assert_eq!(screened(data, piece), whole, "cut into pieces of {piece}");
    }
    let mut screen = Screen::new();
    screen.receive(data);
    if !screen.is_through() {
        let clear = data.get(..whole.0).expect("no more goes on than came");
        assert_eq!(heads_as_others_read_them(clear), screen.heads(), "{clear:?}");
    }
}

/// The first octets of a visitor. An answer never changes with more of them, and octets that are no text are no HTTP.
pub fn router_detect(data: &[u8]) {
    let detector = Detector::new();
    let mut answer = Detection::NotYet;
    for length in 0..=data.len().min(1100) {
        let seen = data.get(..length).unwrap_or_default();
        let now = detector.look(seen);
        assert!(answer == Detection::NotYet || answer == now, "{answer:?} became {now:?}");
        assert!(now == Detection::NotYet || detector.look(data) == now);
        answer = now;
    }
}

/// How much went on, how much was looked at, and why no more.
fn screened(data: &[u8], piece: usize) -> (usize, usize, Option<ScreenError>) {
    let mut screen = Screen::new();
    let (mut clear, mut taken) = (0, 0);
    for piece in data.chunks(piece) {
        let seen = screen.receive(piece);
        if seen.clear > 0 {
            clear = taken + seen.clear;
        }
        taken += seen.taken;
        if seen.taken < piece.len() {
            break;
        }
    }
    (clear, taken, screen.refusal().cloned())
}

/// Reads requests with `httparse` and the simplest rules for bodies, and counts their heads. All but the last body are whole.
fn heads_as_others_read_them(mut octets: &[u8]) -> u64 {
    let mut heads = 0;
    while !octets.is_empty() {
        let mut fields = [httparse::EMPTY_HEADER; 100];
        let mut request = httparse::Request::new(&mut fields);
        let length = match request.parse(octets) {
            Ok(httparse::Status::Complete(length)) => length,
            // Empty lines behind the last request, before one that did not go on.
            Ok(httparse::Status::Partial) if octets.iter().all(|octet| b"\r\n".contains(octet)) => break,
            other => panic!("what went on is no head to others: {other:?}"),
        };
        heads += 1;
        let all = |name: &str| -> Vec<&[u8]> {
            let named = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
            named.map(|field| field.value).collect()
        };
        let body = octets.get(length..).expect("a head ends in the octets");
        let rest = match (all("content-length").as_slice(), all("transfer-encoding").as_slice()) {
            ([], []) => Some(body),
            ([length], []) => {
                let length = std::str::from_utf8(length).expect("digits").parse::<u64>().expect("digits");
                usize::try_from(length).ok().and_then(|length| body.get(length..))
            }
            ([], [coding]) => {
                assert!(coding.eq_ignore_ascii_case(b"chunked"), "{coding:?}");
                behind_chunks(body)
            }
            other => panic!("a body with two ends: {other:?}"),
        };
        let Some(rest) = rest else { break };
        octets = rest;
    }
    heads
}

/// What follows a chunked body; `None` if it isn't whole.
fn behind_chunks(mut octets: &[u8]) -> Option<&[u8]> {
    loop {
        let Ok(httparse::Status::Complete((length, size))) = httparse::parse_chunk_size(octets) else {
            return None;
        };
        octets = octets.get(length..)?;
        if size == 0 {
            return behind_trailer(octets);
        }
        octets = octets.get(usize::try_from(size).ok()?..)?;
        if octets.len() < 2 {
            return None;
        }
        octets = octets.strip_prefix(b"\r\n")?;
    }
}

fn behind_trailer(octets: &[u8]) -> Option<&[u8]> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    match httparse::parse_headers(octets, &mut fields) {
        Ok(httparse::Status::Complete((length, _))) => octets.get(length..),
        Ok(httparse::Status::Partial) => None,
        // The screen refused it there, and what is before went on.
        Err(_) => None,
    }
}
