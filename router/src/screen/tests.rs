use std::fmt::Write;

use adit_errors::Refusal;
use proptest::prelude::*;

use super::*;

#[test]
fn r18_what_two_servers_could_read_differently_is_refused() {
    for (request, error) in [
        (
            "POST / HTTP/1.1\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n",
            ScreenError::LengthAndCoding {},
        ),
        (
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n",
            ScreenError::LengthAndCoding {},
        ),
        ("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", ScreenError::TransferEncoding {}),
        ("GET / HTTP/1.1\nhost: a\n\n", ScreenError::Version {}),
        ("GET / HTTP/1.1\r\nhost: a\n\r\n", ScreenError::LineEnd {}),
        ("GET / HTTP/1.1\r\nhost: a\rb\r\n\r\n", ScreenError::LineEnd {}),
        ("GET / HTTP/1.1\r\nhost: a\r\n\n", ScreenError::LineEnd {}),
        ("GET / HTTP/1.1\r\nhost: a\r\n b\r\n\r\n", ScreenError::Folding {}),
        ("GET / HTTP/1.1\r\n host: a\r\n\r\n", ScreenError::Folding {}),
        ("GET / HTTP/1.1\r\nhost : a\r\n\r\n", ScreenError::FieldName {}),
        ("GET / HTTP/1.1\r\nhost\t: a\r\n\r\n", ScreenError::FieldName {}),
        ("GET / HTTP/1.1\r\n: a\r\n\r\n", ScreenError::FieldName {}),
        ("GET / HTTP/1.1\r\nhost\r\n\r\n", ScreenError::FieldName {}),
        ("GET / HTTP/1.1\r\nho\0st: a\r\n\r\n", ScreenError::FieldName {}),
        ("GET / HTTP/1.1\r\nhost: a\0b\r\n\r\n", ScreenError::FieldValue {}),
        ("GET / HTTP/1.1\r\nhost: a\x7f\r\n\r\n", ScreenError::FieldValue {}),
        ("GET / HTTP/1.1\r\ntransfer-encoding: \x0bchunked\r\n\r\n", ScreenError::FieldValue {}),
        ("GET / HTTP/1.1\r\nTransfer_Encoding: chunked\r\n\r\n", ScreenError::Alias {}),
        ("GET / HTTP/1.1\r\ncontent_length: 4\r\n\r\n", ScreenError::Alias {}),
        ("GET  / HTTP/1.1\r\n\r\n", ScreenError::RequestLine {}),
        ("GET /  HTTP/1.1\r\n\r\n", ScreenError::Version {}),
        ("GET /\tHTTP/1.1\r\n\r\n", ScreenError::RequestLine {}),
        ("GET\t/ HTTP/1.1\r\n\r\n", ScreenError::RequestLine {}),
        ("GET /a#b HTTP/1.1\r\n\r\n", ScreenError::RequestLine {}),
        ("GET /a b HTTP/1.1\r\n\r\n", ScreenError::Version {}),
        (" GET / HTTP/1.1\r\n\r\n", ScreenError::RequestLine {}),
        ("\nGET / HTTP/1.1\r\n\r\n", ScreenError::RequestLine {}),
        ("GET / HTTP/1.1 \r\n\r\n", ScreenError::Version {}),
        ("GET / HTTP/0.9\r\n\r\n", ScreenError::Version {}),
        ("GET / HTTP/1.2\r\n\r\n", ScreenError::Version {}),
        ("GET / HTTP/2.0\r\n\r\n", ScreenError::Version {}),
        ("GET / http/1.1\r\n\r\n", ScreenError::Version {}),
        ("GET /\r\n\r\n", ScreenError::RequestLine {}),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r!", ScreenError::Version {}),
    ] {
        let (seen, refusal) = whole(request.as_bytes());
        assert_eq!((seen.clear, refusal.as_ref()), (0, Some(&error)), "{request:?}");
        assert_eq!(Refusal::from(&error).status(), 400);
    }
}

#[test]
fn r18_a_coding_is_chunked_alone() {
    for (value, expected) in [
        ("chunked", None),
        ("Chunked", None),
        (" \tchunked \t", None),
        ("gzip, chunked", Some(ScreenError::UnsupportedCoding {})),
        ("gzip,chunked", Some(ScreenError::UnsupportedCoding {})),
        ("gzip;q=1, chunked", Some(ScreenError::UnsupportedCoding {})),
        ("gzip", Some(ScreenError::TransferEncoding {})),
        ("identity", Some(ScreenError::TransferEncoding {})),
        ("chunked, identity", Some(ScreenError::TransferEncoding {})),
        ("chunked, chunked", Some(ScreenError::TransferEncoding {})),
        ("chunked chunked", Some(ScreenError::TransferEncoding {})),
        ("chunked,", Some(ScreenError::TransferEncoding {})),
        ("xchunked", Some(ScreenError::TransferEncoding {})),
        ("chunkedx", Some(ScreenError::TransferEncoding {})),
        ("\"chunked\"", Some(ScreenError::TransferEncoding {})),
        ("chunked;q=1", Some(ScreenError::TransferEncoding {})),
        ("chunked-and-much-longer-than-any-word", Some(ScreenError::TransferEncoding {})),
        ("", Some(ScreenError::TransferEncoding {})),
    ] {
        let request = format!("POST / HTTP/1.1\r\ntransfer-encoding:{value}\r\n\r\n");
        assert_eq!(whole(request.as_bytes()).1, expected, "{value:?}");
    }
    let twice = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(whole(twice).1, Some(ScreenError::TransferEncoding {}));
    assert_eq!(Refusal::from(&ScreenError::UnsupportedCoding {}).status(), 501);
}

#[test]
fn r19_a_length_on_the_wire_is_one_plain_number() {
    for good in ["0", " 5 ", "5\t", "007", "18446744073709551615"] {
        let request = format!("POST / HTTP/1.1\r\ncontent-length:{good}\r\n\r\n");
        assert_eq!(whole(request.as_bytes()).1, None, "{good:?}");
    }
    for bad in [
        "",
        " ",
        "+5",
        "-5",
        "0x5",
        "5a",
        "5 5",
        "5,5",
        "5, 5",
        "5.0",
        "1_0",
        "\"5\"",
        "18446744073709551616",
    ] {
        let request = format!("POST / HTTP/1.1\r\ncontent-length:{bad}\r\n\r\n");
        assert_eq!(whole(request.as_bytes()).1, Some(ScreenError::ContentLength {}), "{bad:?}");
    }
    let twice = b"POST / HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\n";
    assert_eq!(whole(twice).1, Some(ScreenError::ContentLength {}));
}

#[test]
fn r18_chunks_are_followed_and_their_tricks_refused() {
    for good in [
        "0\r\n\r\n",
        "1\r\na\r\n0\r\n\r\n",
        "A\r\n0123456789\r\n00\r\n\r\n",
        "a;name=value;other\r\n0123456789\r\n0;x\r\nx-checksum: 1\r\n\r\n",
        "1;a=\"b;c\\\"\t\u{e9}\";d=e\r\na\r\n0\r\n\r\n",
        "000000000000001\r\na\r\n0\r\n\r\n",
    ] {
        let (seen, refusal, next) = behind_chunked(good);
        assert_eq!((seen.clear, refusal), (next, None), "{good:?}");
    }
    for (bad, error) in [
        ("\r\n", ScreenError::Chunk {}),
        (";x\r\n", ScreenError::Chunk {}),
        ("-1\r\n", ScreenError::Chunk {}),
        ("+1\r\na\r\n", ScreenError::Chunk {}),
        ("0x1\r\na\r\n", ScreenError::Chunk {}),
        ("1 \r\na\r\n", ScreenError::Chunk {}),
        (" 1\r\na\r\n", ScreenError::Chunk {}),
        ("1\na\r\n", ScreenError::Chunk {}),
        ("1\r\rna\r\n", ScreenError::Chunk {}),
        ("1;x\na\r\n", ScreenError::Chunk {}),
        ("1;\0\r\na\r\n", ScreenError::Chunk {}),
        ("1;\r\na\r\n", ScreenError::Chunk {}),
        ("1; a\r\na\r\n", ScreenError::Chunk {}),
        ("1;a=\r\na\r\n", ScreenError::Chunk {}),
        ("1;=a\r\na\r\n", ScreenError::Chunk {}),
        ("1;a=b c\r\na\r\n", ScreenError::Chunk {}),
        ("1;a=\"b\r\na\r\n", ScreenError::Chunk {}),
        ("1;a=\"b\"c\r\na\r\n", ScreenError::Chunk {}),
        ("1;a=\"\\\r\na\r\n", ScreenError::Chunk {}),
        ("1\r\nab\r\n", ScreenError::Chunk {}),
        ("1\r\na\n0\r\n\r\n", ScreenError::Chunk {}),
        ("2\r\na\r\n0\r\n\r\n", ScreenError::Chunk {}),
        ("1_0\r\n", ScreenError::Chunk {}),
        ("0000000000000001\r\na\r\n", ScreenError::Chunk {}),
        ("fffffffffffffffff\r\n", ScreenError::Chunk {}),
        ("0\r\ncontent-length: 4\r\n\r\n", ScreenError::Trailer {}),
        ("0\r\nTransfer-Encoding: chunked\r\n\r\n", ScreenError::Trailer {}),
        ("0\r\nhost: other\r\n\r\n", ScreenError::Trailer {}),
        ("0\r\n folded: 1\r\n\r\n", ScreenError::Folding {}),
        ("0\r\nx : 1\r\n\r\n", ScreenError::FieldName {}),
        ("0\r\nx: 1\n\r\n", ScreenError::LineEnd {}),
        ("0\r\n\n", ScreenError::LineEnd {}),
    ] {
        assert_eq!(behind_chunked(bad).1, Some(error), "{bad:?}");
    }
}

#[test]
fn extensions_and_trailers_are_bounded() {
    let mut body = String::new();
    for _ in 0..2_000 {
        body.push_str("1;xx\r\na\r\n");
    }
    assert_eq!(behind_chunked(&body).1, Some(ScreenError::Chunk {}));
    let long = format!("0\r\nx: {}\r\n\r\n", "v".repeat(9_000));
    assert_eq!(behind_chunked(&long).1, Some(ScreenError::HeadTooLarge { max_bytes: 8 * 1024 }));
}

#[test]
fn r23_the_octets_of_a_head_are_bounded() {
    let target = |length: usize| format!("GET {} HTTP/1.1\r\n\r\n", "/".repeat(length));
    assert_eq!(whole(target(16 * 1024).as_bytes()).1, None);
    let refused = whole(target(16 * 1024 + 1).as_bytes()).1.unwrap();
    assert_eq!(
        (Refusal::from(&refused).status(), &refused),
        (414, &ScreenError::TargetTooLong { max_bytes: 16 * 1024 })
    );

    let many = |count: usize| {
        let mut request = "GET / HTTP/1.1\r\n".to_owned();
        (0..count).for_each(|number| write!(request, "x-{number}: 1\r\n").unwrap());
        request + "\r\n"
    };
    assert_eq!(whole(many(100).as_bytes()).1, None);
    let refused = whole(many(101).as_bytes()).1.unwrap();
    assert_eq!(
        (Refusal::from(&refused).status(), &refused),
        (431, &ScreenError::TooManyFields { max_fields: 100 })
    );

    let large = |length: usize| format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "v".repeat(length - 23));
    assert_eq!(whole(large(64 * 1024).as_bytes()).1, None);
    let refused = whole(large(64 * 1024 + 1).as_bytes()).1.unwrap();
    assert_eq!(
        (Refusal::from(&refused).status(), &refused),
        (431, &ScreenError::HeadTooLarge { max_bytes: 64 * 1024 })
    );
    let empty_lines = "\r\n".repeat(40_000);
    assert_eq!(whole(empty_lines.as_bytes()).1, Some(ScreenError::HeadTooLarge { max_bytes: 64 * 1024 }));
}

#[test]
fn each_request_of_a_connection_is_checked() {
    let good = "GET / HTTP/1.1\r\nhost: a\r\n\r\nPOST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nGET /\
                PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\r\nGET / HTTP/1.0\r\n\r\n";
    let mut screen = Screen::new();
    let seen = screen.receive(good.as_bytes());
    assert_eq!((seen.clear, screen.heads(), screen.refusal()), (good.len(), 4, None));
    let bad = screen.receive(b"GET / HTTP/1.1\r\nx : 1\r\n\r\n");
    assert_eq!((bad.clear, screen.refusal()), (0, Some(&ScreenError::FieldName {})));
    assert!(!screen.is_refused_in_body());
    assert_eq!(screen.receive(b"GET / HTTP/1.1\r\n\r\n"), Seen::default(), "nothing comes behind a refusal");
}

#[test]
fn r21_what_follows_a_wish_to_switch_waits_for_the_answer() {
    for wish in [
        "GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\n\r\n",
    ] {
        let octets = format!("{wish}\0\x01not http");
        let mut screen = Screen::new();
        let seen = screen.receive(octets.as_bytes());
        assert!(screen.is_awaiting());
        assert_eq!(seen, Seen { taken: wish.len(), clear: wish.len() });
        let rest = &octets.as_bytes()[seen.taken..];
        assert_eq!(screen.receive(rest), Seen::default());

        let mut refused = screen.clone();
        refused.resume(false);
        refused.receive(rest);
        assert_eq!(refused.refusal(), Some(&ScreenError::RequestLine {}));
        screen.resume(true);
        assert_eq!(screen.receive(rest).clear, rest.len());
        assert!(screen.is_through());
    }
    let old = b"GET / HTTP/1.0\r\nupgrade: websocket\r\n\r\nGET / HTTP/1.0\r\n\r\n";
    assert_eq!(whole(old).0.clear, old.len(), "HTTP/1.0 has no upgrades");
}

#[test]
fn the_preface_of_http2_ends_the_inspection() {
    let octets = [PREFACE, b"\0\0\0\x04\0\0\0\0\0"].concat();
    for cut in 0..octets.len() {
        let (first, second) = octets.split_at(cut);
        let mut screen = Screen::new();
        screen.receive(first);
        assert_eq!(screen.is_through(), cut >= PREFACE.len());
        screen.receive(second);
        assert!(screen.is_through());
    }
    assert_eq!(whole(b"PRIVATE / HTTP/1.1\r\n\r\n").1, None, "a method may begin like it");
}

#[test]
fn looking_allocates_nothing() {
    let octets =
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let counted = allocation_counter::measure(|| {
        assert_eq!(Screen::new().receive(octets).clear, octets.len());
    });
    assert_eq!(counted.count_total, 0);
}

proptest! {
    #[test]
    fn every_cut_gives_the_same_answer(
        parts in prop::collection::vec(prop::sample::select(PARTS.to_vec()), 0..12),
        cuts in prop::collection::vec(0usize..400, 0..8),
    ) {
        let octets = parts.concat();
        let (expected, refusal) = whole(octets.as_bytes());
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(octets.len())).chain([octets.len()]).collect();
        cuts.sort_unstable();
        prop_assert_eq!(in_pieces(octets.as_bytes(), cuts), (expected, refusal.clone()));
        prop_assert_eq!(in_pieces(octets.as_bytes(), 0..=octets.len()), (expected, refusal));
    }
}

fn whole(octets: &[u8]) -> (Seen, Option<ScreenError>) {
    let mut screen = Screen::new();
    (screen.receive(octets), screen.refusal().cloned())
}

/// What all pieces together came to.
fn in_pieces(octets: &[u8], ends: impl IntoIterator<Item = usize>) -> (Seen, Option<ScreenError>) {
    let mut screen = Screen::new();
    let mut total = Seen::default();
    let mut start = 0;
    for end in ends {
        let piece = &octets[start..end];
        let seen = screen.receive(piece);
        if seen.clear > 0 {
            total.clear = total.taken + seen.clear;
        }
        total.taken += seen.taken;
        if seen.taken < piece.len() {
            break;
        }
        start = end;
    }
    (total, screen.refusal().cloned())
}

/// A request with this chunked body and another behind it; also where the other ends.
fn behind_chunked(body: &str) -> (Seen, Option<ScreenError>, usize) {
    let octets = format!("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{body}GET / HTTP/1.1\r\n\r\n");
    let (seen, refusal) = whole(octets.as_bytes());
    (seen, refusal, octets.len())
}

const PARTS: [&str; 22] = [
    "GET / HTTP/1.1\r\n",
    "POST /a HTTP/1.1\r\n",
    "GET / HTTP/1.0\r\n",
    "host: a\r\n",
    "content-length: 5\r\n",
    "content-length: 0\r\n",
    "transfer-encoding: chunked\r\n",
    "transfer-encoding: gzip, chunked\r\n",
    "upgrade: x\r\n",
    " folded\r\n",
    "x : y\r\n",
    "\r\n",
    "\n",
    "\0",
    "hello",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\nx-trailer: 1\r\n\r\n",
    "5;ext\r\n",
    "PRI * HTTP/2.0\r\n\r\n",
    "SM\r\n\r\n",
    "zz",
];
