use proptest::prelude::*;

use super::*;

#[test]
fn a_patience_that_outlasts_the_clock_has_an_end_all_the_same() {
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    let now = Instant::now();
    assert!(Detector::new().patience(Duration::MAX).deadline(now) > now);
}

#[test]
fn each_protocol_is_known_by_what_its_clients_send_first() {
    for (spoken, octets) in samples() {
        assert_eq!(Detector::new().look(&octets), Detection::Found(spoken), "{octets:?}");
    }
}

#[test]
fn what_looks_like_a_protocol_and_is_not_is_other() {
    for octets in [
        &b"\x16\x03\x05\x02\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff"[..],
        b"\x16\x03\x01\x40\x01\x01",
        b"\x16\x03\x01\x02\x00\x02\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x17\x03\x03\x00\x10\xff\xff\xff\xff\xff\xff\xff\xff",
        b"SSH 2.0\r\n",
        b"SSH-3.0-x\r\n",
        b"\0\0\0\x07\0\x03\0\0",
        b"\0\0\0\x09\x04\xd2\x16\x2f",
        b"\0\0\x27\x11\0\x03\0\0",
        b"\0\0\0\x08\0\x02\0\0",
        b"*0\r\n",
        b"*-1\r\n",
        b"*1\r\nPING",
        b"*12345678\r\n$",
        b"\x0f\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0",
        b"\x30\0\0\0\x01\0\0\0\x01\0\0\0\xdd\x07\0\0",
        b"\x30\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0",
        b"PRI * HTTP/2.0\r\n\r\nXX",
        b"BREW coffee\r\n",
        b"BREW /pot HTTP/3.0\r\n",
        b" GET / HTTP/1.1",
        b"EHLO mail.example\r\n",
        b"\x03\0\0\x13\x0e\xe0",
        b"\xff\xff\xff\xff",
    ] {
        assert_eq!(Detector::new().look(octets), Detection::Found(Spoken::Other), "{octets:?}");
    }
}

#[test]
fn every_cut_gives_the_same_answer_as_early_as_it_can() {
    for (spoken, octets) in samples() {
        let mut answer = None;
        for length in 0..=octets.len() {
            match (Detector::new().look(&octets[..length]), answer) {
                (Detection::NotYet, None) => {}
                (Detection::Found(found), None) => answer = Some(found),
                (later, Some(found)) => assert_eq!(later, Detection::Found(found)),
            }
        }
        assert_eq!(answer, Some(spoken));
    }
}

#[test]
fn silence_is_that_of_a_visitor_whose_server_speaks_first() {
    let detector = Detector::new().patience(Duration::from_millis(100));
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    let now = Instant::now();
    assert_eq!(detector.deadline(now), now + Duration::from_millis(100));
    assert_eq!(detector.look(b""), Detection::NotYet);
    assert_eq!(detector.late(b""), Spoken::ServerFirst);
    assert_eq!(detector.late(b"GE"), Spoken::Other);
    assert_eq!(detector.late(b"GET /"), Spoken::Http1);
}

#[test]
fn no_more_than_the_bound_is_looked_at() {
    let long = [b"BREW /".as_slice(), &[b'x'; 2_000], b" HTTP/1.1\r\n"].concat();
    assert_eq!(Detector::new().look(&long[..1_023]), Detection::NotYet);
    assert_eq!(Detector::new().look(&long[..1_024]), Detection::Found(Spoken::Other));
    assert_eq!(Detector::new().look(&long), Detection::Found(Spoken::Other));
    assert_eq!(Detector::new().max_octets(4_096).look(&long), Detection::Found(Spoken::Http1));
    let least = Detector::new().max_octets(0);
    assert_eq!(least.look(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Detection::Found(Spoken::Http2));
}

proptest! {
    /// Of any octets: an answer stays the same with more of them.
    #[test]
    fn an_answer_never_changes(start in prop::sample::select(STARTS.to_vec()), rest in prop::collection::vec(any::<u8>(), 0..40)) {
        let octets = [start, &rest].concat();
        let mut answer = Detection::NotYet;
        for length in 0..=octets.len() {
            let now = Detector::new().look(&octets[..length]);
            if answer != Detection::NotYet {
                prop_assert_eq!(now, answer);
            }
            answer = now;
        }
    }
}

fn samples() -> Vec<(Spoken, Vec<u8>)> {
    [
        (Spoken::Tls, &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..]),
        (Spoken::Tls, b"\x16\x03\x03\x00\x01\x01"),
        (Spoken::Http1, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
        (Spoken::Http1, b"CONNECT a:443 HTTP/1.1\r\n"),
        (Spoken::Http1, b"OPTIONS * HTTP/1.0\r\n"),
        (Spoken::Http1, b"GET http://a/ HTTP/1.1\r\n"),
        (Spoken::Http1, b"M-SEARCH /x HTTP/1.1\r\n"),
        (Spoken::Http2, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0"),
        (Spoken::Ssh, b"SSH-2.0-OpenSSH_9.6\r\n"),
        (Spoken::Ssh, b"SSH-1.99-old\n"),
        (Spoken::PostgreSql, b"\0\0\0\x08\x04\xd2\x16\x2f"),
        (Spoken::PostgreSql, b"\0\0\0\x08\x04\xd2\x16\x30"),
        (Spoken::PostgreSql, b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02"),
        (Spoken::PostgreSql, b"\0\0\0\x13\0\x03\0\0user\0me\0\0"),
        (Spoken::PostgreSql, b"\0\0\x01\0\0\x03\0\x02user\0me\0\0"),
        (Spoken::Redis, b"*1\r\n$4\r\nPING\r\n"),
        (Spoken::Redis, b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"),
        (Spoken::MongoDb, b"\x3a\0\0\0\x01\0\0\0\0\0\0\0\xd4\x07\0\0\0\0\0\0admin.$cmd\0"),
        (Spoken::MongoDb, b"\x30\x01\0\0\x07\0\0\0\0\0\0\0\xdd\x07\0\0"),
        (Spoken::Other, b"\x10\x10\0\x04MQTT\x04"),
        (Spoken::Other, b"EHLO a\r\n"),
    ]
    .map(|(spoken, octets)| (spoken, octets.to_vec()))
    .into()
}

const STARTS: [&[u8]; 14] = [
    b"",
    b"\x16",
    b"\x16\x03\x01\0",
    b"SSH-",
    b"\0\0",
    b"\0\0\0\x08\x04",
    b"\0\0\x01\0\0\x03",
    b"\0\0\x01\0\0\x03\0\0\0\0\0\0\xdd\x07\0",
    b"*",
    b"*1\r",
    b"PRI * ",
    b"GET ",
    b"X Y ",
    b"\x30\0\0\0\0\0\0\0\0\0\0",
];
