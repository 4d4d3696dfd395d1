//! The sniffer against the cases T-01 to T-53: every stream whole, cut in two at each place, byte by byte, and at random
//! places.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use adit_tls_modes::{
    AlertDescription, ClientHello, Ech, HelloError, KeyShare, Malformation, ProtocolVersion, ServerNameError,
    Sniff, SniffLimits, Sniffer,
};

use support::{
    HelloBuilder, alpn, feed, handshake, hello_of, key_share, record, records, refusal_of, server_name,
    settled_at, sniff_every_way, sniff_every_way_with, vector8, vector16,
};

mod support;

const HOST: &str = "app.tunnel.example";

#[test]
fn t01_a_whole_hello_in_one_read() {
    let stream = HelloBuilder::host(HOST).alpn(&[b"h2", b"http/1.1"]).stream();
    let hello = hello_of(&stream);
    assert_eq!(name(&hello), HOST);
    assert_eq!(hello.alpn().iter().collect::<Vec<_>>(), [&b"h2"[..], b"http/1.1"]);
    assert!(hello.alpn().contains(b"h2") && !hello.alpn().contains(b"h3"));
    assert_eq!(hello.versions(), [ProtocolVersion::TLS13, ProtocolVersion::TLS12]);
    assert_eq!(
        hello.key_shares().iter().map(|share| (share.group(), share.bytes())).collect::<Vec<_>>(),
        [(0x1d, 32)]
    );
    let mut sniffer = Sniffer::new(SniffLimits::new());
    let _ = sniffer.receive(&stream);
    assert_eq!(sniffer.into_parts().1, stream);
}

#[test]
fn t02_t03_every_cut_gives_the_same_and_no_prefix_an_answer() {
    let stream = HelloBuilder::host(HOST).stream();
    hello_of(&stream);
    for length in 0..stream.len() {
        assert_eq!(sniff_every_way(&stream[..length]), None, "{length}");
    }
    let twelve: Vec<&[u8]> = stream.chunks(stream.len().div_ceil(12)).collect();
    assert_eq!(name(&feed(SniffLimits::new(), twelve).unwrap().unwrap()), HOST);
}

#[test]
fn t04_the_deadline_is_counted_from_the_accepting_and_does_not_move() {
    let limits = SniffLimits::new();
    #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    let accepted = std::time::Instant::now();
    assert_eq!(limits.deadline(accepted), Some(accepted + Duration::from_secs(10)));
    let mut sniffer = Sniffer::new(limits);
    assert_eq!(sniffer.receive(&[22]), Sniff::NeedMore);
    assert_eq!(sniffer.handle_timeout(), Sniff::Refused(HelloError::DeadlinePassed));
    let rest = &HelloBuilder::host(HOST).stream()[1..];
    assert_eq!(sniffer.receive(rest), Sniff::Refused(HelloError::DeadlinePassed));
    assert_eq!(HelloError::DeadlinePassed.alert(), None);
}

#[test]
fn t05_a_hello_over_two_records_cut_anywhere() {
    let message = HelloBuilder::host(HOST).message();
    let whole = hello_of(&records(&message, 16_384));
    for cut in 1..message.len() {
        let (head, tail) = message.split_at(cut);
        let stream = [record(22, head), record(22, tail)].concat();
        assert_eq!(feed(SniffLimits::new(), [&stream[..]]).unwrap().unwrap(), whole, "{cut}");
        assert_eq!(feed(SniffLimits::new(), stream.chunks(1)).unwrap().unwrap(), whole, "{cut}");
    }
    let middle = message.split_at(message.len() / 2);
    assert_eq!(hello_of(&[record(22, middle.0), record(22, middle.1)].concat()), whole);
}

#[test]
fn t06_one_byte_a_record() {
    let message = HelloBuilder::host(HOST).message();
    assert_eq!(name(&hello_of(&records(&message, 1))), HOST);
    // The stream cap counts record headers: 6 bytes for each byte of hello.
    let large = HelloBuilder::host(HOST).extension(21, vec![0; 12_000]).message();
    let error = refusal_of(&records(&large, 1));
    assert_eq!(error, HelloError::TooLarge { limit_bytes: 65_535 });
}

#[test]
fn t07_an_empty_handshake_record_is_refused_at_its_header() {
    let empty = record(22, &[]);
    let (head, tail) = HelloBuilder::host(HOST).message().split_at(20).to_owned_pair();
    for stream in [empty.clone(), empty.repeat(1_000), [record(22, &head), empty, record(22, &tail)].concat()]
    {
        let error = refusal_of(&stream);
        assert_eq!(error, malformed(Malformation::EmptyRecord));
        assert_eq!(error.alert(), Some(AlertDescription::DECODE_ERROR));
    }
    assert_eq!(settled_at(&record(22, &[]).repeat(2)), 5);
}

#[test]
fn t08_a_record_over_16384_bytes_is_refused_at_byte_5() {
    let stream = [&[22, 3, 1, 0x40, 0x01][..], &[0; 100]].concat();
    let error = refusal_of(&stream);
    assert_eq!(error, HelloError::RecordOverflow { bytes: 16_385 });
    assert_eq!(error.alert(), Some(AlertDescription::RECORD_OVERFLOW));
    assert_eq!(settled_at(&stream), 5);
}

#[test]
fn t09_a_length_above_the_cap_is_refused_at_byte_9() {
    for length in [[0xff, 0xff, 0xff], [0, 0xff, 0xf7]] {
        let stream = [&[22, 3, 1, 0x40, 0x00, 1][..], &length, &[0; 100]].concat();
        let error = refusal_of(&stream);
        assert_eq!(error, HelloError::TooLarge { limit_bytes: 65_535 });
        assert_eq!(settled_at(&stream), 9);
    }
    let fits = [22, 3, 1, 0x40, 0x00, 1, 0, 0xff, 0xf6];
    assert_eq!(sniff_every_way(&fits), None);
}

#[test]
fn t10_a_hello_of_21582_bytes_in_two_records() {
    let hello = HelloBuilder::host(HOST);
    let padding = 21_582 - hello.message().len() - 4;
    let stream = hello.extension(21, vec![0; padding]).stream();
    assert_eq!(stream.len(), 21_582 + 10);
    assert_eq!(name(&hello_of(&stream)), HOST);
}

#[test]
fn t11_65535_bytes_of_stream_pass_and_65536_do_not() {
    for (bytes, is_taken) in [(65_535, true), (65_536, false)] {
        let stream = padded_stream(bytes);
        assert_eq!(stream.len(), bytes);
        match sniff_every_way(&stream).unwrap() {
            Ok(hello) => assert!(is_taken && name(&hello) == HOST),
            Err(error) => assert!(!is_taken && error == HelloError::TooLarge { limit_bytes: 65_535 }),
        }
    }
    let small = SniffLimits::new().max_stream_bytes(100);
    let stream = HelloBuilder::host(HOST).stream();
    let refused = sniff_every_way_with(small, &stream).unwrap().unwrap_err();
    assert_eq!(refused, HelloError::TooLarge { limit_bytes: 100 });
}

#[test]
fn t11_what_follows_the_hello_does_not_count() {
    let hello = HelloBuilder::host(HOST).stream();
    let stream = [hello, vec![0x17; 100_000]].concat();
    let verdict = feed(SniffLimits::new(), [&stream[..]]).unwrap().unwrap();
    assert_eq!(name(&verdict), HOST);
}

#[test]
fn t12_t13_post_quantum_key_shares() {
    let browser = HelloBuilder::new()
        .without(51)
        .extension(51, key_share(&[(0x8a8a, 1), (KeyShare::X25519MLKEM768, 1_216), (0x1d, 32)]))
        .extension(0, server_name(HOST.as_bytes()));
    assert_eq!(name(&hello_of(&browser.stream())), HOST);
    let huge = HelloBuilder::new()
        .without(51)
        .extension(51, key_share(&[(0x11eb, 20_000)]))
        .extension(0, server_name(HOST.as_bytes()));
    let hello = hello_of(&huge.stream());
    assert_eq!((name(&hello), hello.key_shares()[0].bytes()), (HOST, 20_000));
}

#[test]
fn t14_grease_everywhere() {
    let mut greased = HelloBuilder::host(HOST)
        .without(43)
        .extension(43, vec![6, 0xda, 0xda, 3, 4, 3, 3])
        .extension(0x2a2a, vec![])
        .extension(0xfafa, vec![0])
        .alpn(&[&[0x1a, 0x1a], b"h2"]);
    greased.cipher_suites.splice(0..0, [0x3a, 0x3a]);
    let hello = hello_of(&greased.stream());
    assert_eq!(name(&hello), HOST);
    assert!(hello.offers(ProtocolVersion::TLS13) && hello.alpn().contains(b"h2"));
}

#[test]
fn t15_t16_no_name_is_an_answer_of_the_parser() {
    let mut old = HelloBuilder::new();
    old.extensions = None;
    let hello = hello_of(&old.stream());
    assert_eq!(hello.server_name(), None);
    assert!(hello.versions().is_empty() && !hello.offers(ProtocolVersion::TLS13));
    let hello = hello_of(&HelloBuilder::new().stream());
    assert_eq!(hello.server_name(), None);
    assert!(hello.offers(ProtocolVersion::TLS13));
}

#[test]
fn t17_t18_t19_t20_t21_only_one_shape_of_server_name() {
    let entry = |kind: u8, name: &[u8]| [&[kind][..], &vector16(name)].concat();
    let one = entry(0, b"a.example");
    let two = [&one[..], &one].concat();
    let foreign_first = [&entry(1, b"x")[..], &one].concat();
    let shapes = [
        ("t17 no content", vec![]),
        ("t18 empty list", vector16(&[])),
        ("t18 list one short", lying_vector16(&one, -1)),
        ("t18 list one long", lying_vector16(&one, 1)),
        ("t18 list far too long", lying_vector16(&one, 1_000)),
        ("t18 byte behind the list", [vector16(&one), vec![0]].concat()),
        ("t19 empty name", vector16(&entry(0, b""))),
        ("t20 the same name twice", vector16(&two)),
        ("t20 two names", vector16(&[&one[..], &entry(0, b"b.example")].concat())),
        ("t21 unknown type", vector16(&entry(1, b"a.example"))),
        ("t21 unknown type first", vector16(&foreign_first)),
        ("t21 unknown type second", vector16(&[&one[..], &entry(255, b"x")].concat())),
    ];
    for (what, content) in shapes {
        let error = refusal_of(&HelloBuilder::new().extension(0, content).stream());
        assert_eq!(error, malformed(Malformation::ServerName), "{what}");
        assert_eq!(error.alert(), Some(AlertDescription::DECODE_ERROR), "{what}");
    }
}

#[test]
fn t22_t23_no_extension_twice() {
    for second in [HOST, "other.example"] {
        let error =
            refusal_of(&HelloBuilder::host(HOST).extension(0, server_name(second.as_bytes())).stream());
        assert_eq!(error, malformed(Malformation::DuplicateExtension { extension: 0 }));
        assert_eq!(error.alert(), Some(AlertDescription::ILLEGAL_PARAMETER));
    }
    for extension in [16, 43, 51, 0x2a2a, 65_281] {
        let content = match extension {
            16 => alpn(&[b"h2"]),
            43 => vec![2, 3, 4],
            51 => key_share(&[]),
            _ => vec![],
        };
        let hello = HelloBuilder::host(HOST).without(extension);
        let error =
            refusal_of(&hello.extension(extension, content.clone()).extension(extension, content).stream());
        assert_eq!(error, malformed(Malformation::DuplicateExtension { extension }));
    }
}

#[test]
fn t23_thousands_of_extensions_are_compared_without_quadratic_work() {
    let mut hello = HelloBuilder::host(HOST);
    for extension in 1_000..16_000 {
        hello = hello.extension(extension, vec![]);
    }
    assert_eq!(name(&feed(SniffLimits::new(), [&hello.stream()[..]]).unwrap().unwrap()), HOST);
    let twice = hello.extension(1_500, vec![]).stream();
    let error = feed(SniffLimits::new(), [&twice[..]]).unwrap().unwrap_err();
    assert_eq!(error, malformed(Malformation::DuplicateExtension { extension: 1_500 }));
}

#[test]
fn t24_ip_literals_count_as_no_name() {
    for literal in ["192.0.2.1", "2001:db8::1", "::1", "::ffff:192.0.2.1"] {
        let hello = hello_of(&HelloBuilder::host(literal).stream());
        assert_eq!(hello.server_name(), None, "{literal}");
        assert!(hello.has_ip_literal(), "{literal}");
    }
}

#[test]
fn t25_t26_t28_what_is_no_host_name() {
    let names: &[&[u8]] = &[
        b"[2001:db8::1]",
        b"[192.0.2.1]",
        b"127.1",
        b"0x7f000001",
        b"2130706433",
        b"0177.0.0.1",
        b"server4:443",
        b"app.example.",
        b".",
        b"..",
        b".app.example",
        b"app..example",
        b"app.example\0.evil.test",
        b"\0",
        b"app example",
        b" app.example",
        b"app.example\r\n",
        b"app/example",
        b"app%2eexample",
        b"*.example",
        "\u{e4}pp.example".as_bytes(),
        b"app\xff.example",
        b"\xc3.example",
        "\u{212a}ey.example".as_bytes(),
        "app\u{ff0e}example".as_bytes(),
    ];
    for host in names {
        let error = refusal_of(&HelloBuilder::new().extension(0, server_name(host)).stream());
        assert!(matches!(error, HelloError::InvalidName { .. }), "{}: {error:?}", host.escape_ascii());
        assert_eq!(error.alert(), Some(AlertDescription::UNRECOGNIZED_NAME));
    }
}

#[test]
fn t27_t29_capitals_and_underscores() {
    let hello = hello_of(&HelloBuilder::host("My_App.Tunnel.EXAMPLE").stream());
    let name = hello.server_name().unwrap();
    assert_eq!(name.as_str(), "my_app.tunnel.example");
    assert_eq!(name.raw(), b"My_App.Tunnel.EXAMPLE");
}

#[test]
fn t31_lengths_of_labels_and_names() {
    let label = |bytes: usize| "a".repeat(bytes);
    let name_of = |bytes: usize| {
        let mut name = [label(63), label(63), label(63)].join(".");
        name.push('.');
        name.push_str(&label(bytes - name.len()));
        name
    };
    for taken in [format!("{}.example", label(63)), name_of(253)] {
        assert_eq!(name(&hello_of(&HelloBuilder::host(&taken).stream())), taken);
    }
    for (refused, source) in [
        (format!("{}.example", label(64)), ServerNameError::LabelTooLong { bytes: 64 }),
        (name_of(254), ServerNameError::TooLong { bytes: 254 }),
        (name_of(256), ServerNameError::TooLong { bytes: 256 }),
        (label(16_000), ServerNameError::TooLong { bytes: 16_000 }),
    ] {
        let stream = HelloBuilder::host(&refused).stream();
        assert_eq!(refusal_of(&stream), HelloError::InvalidName { source });
    }
}

#[test]
fn t33_sslv2_hellos_are_known_by_byte_5() {
    for start in [[0x80, 0x2e, 1, 0, 2], [0x80, 0x7c, 1, 3, 1], [0x80, 0x67, 1, 3, 3], [0xff, 0xff, 1, 3, 0]]
    {
        let stream = [&start[..], &[0; 50]].concat();
        let error = refusal_of(&stream);
        assert_eq!((error, error.alert()), (HelloError::Sslv2, None));
        assert!(settled_at(&stream) <= 5);
    }
}

#[test]
fn t34_t39_other_protocols_are_known_by_byte_5() {
    let streams: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"\r\n\r\n\0\r\nQUIT\n",
        &[0x03, 0x00, 0x00, 0x13, 0x0e, 0xe0],
        &[0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f],
        &[0; 64],
        b"STARTTLS\r\n\x16\x03\x01\x02\x00\x01",
        b"CONNECT a.example:443 HTTP/1.1\r\n",
        &[0x81, 0x03, 0x6a, 0xc6, 0x2c],
        &[0x80, 0x03, 0x01, 0x04, 0x2c],
    ];
    for stream in streams {
        let error = refusal_of(stream);
        assert_eq!((error, error.alert()), (HelloError::NotTls, None), "{}", stream.escape_ascii());
        assert!(settled_at(stream) <= 5);
    }
}

#[test]
fn t35_the_major_version_must_be_3_and_the_minor_may_be_anything() {
    let stream = HelloBuilder::host(HOST).stream();
    for major in [0, 2, 4, 0xfe] {
        let mut stream = stream.clone();
        stream[1] = major;
        assert_eq!(refusal_of(&stream), HelloError::NotTls);
    }
    for minor in [0, 1, 4, 255] {
        let mut stream = stream.clone();
        stream[2] = minor;
        assert_eq!(name(&hello_of(&stream)), HOST);
    }
}

#[test]
fn t36_other_records_first_get_no_reply() {
    for content_type in [20, 21, 23, 24] {
        let stream = record(content_type, &[1, 1, 1]).repeat(3);
        let error = refusal_of(&stream);
        assert_eq!(error, HelloError::UnexpectedRecord { content_type, first: true });
        assert_eq!(error.alert(), None);
    }
}

#[test]
fn t37_other_records_between_two_parts_of_the_hello() {
    let message = HelloBuilder::host(HOST).message();
    let (head, tail) = message.split_at(30);
    for content_type in [0, 20, 21, 23, 24, 71] {
        let stream = [record(22, head), record(content_type, &[1]), record(22, tail)].concat();
        let error = refusal_of(&stream);
        assert_eq!(error, HelloError::UnexpectedRecord { content_type, first: false });
        assert_eq!(error.alert(), Some(AlertDescription::UNEXPECTED_MESSAGE));
    }
}

#[test]
fn t38_other_handshake_messages_first() {
    for handshake_type in [0, 2, 4, 11, 20, 255] {
        let stream = record(22, &handshake(handshake_type, &[0; 40]));
        let error = refusal_of(&stream);
        assert_eq!(error, HelloError::NotClientHello { handshake_type });
        assert_eq!(error.alert(), Some(AlertDescription::UNEXPECTED_MESSAGE));
        assert_eq!(settled_at(&stream), 6);
    }
}

#[test]
fn t40_t41_what_follows_the_hello_is_kept_and_not_looked_at() {
    let message = HelloBuilder::host(HOST).extension(42, vec![]).message();
    let same_record = record(22, &[&message[..], &handshake(20, &[9; 32])].concat());
    let more_records =
        [record(22, &message), record(20, &[1]), record(23, &[7; 500]), b"anything".to_vec()].concat();
    for stream in [same_record, more_records] {
        let hello = hello_of(&stream);
        assert_eq!(name(&hello), HOST);
        assert!(hello.offers_early_data());
        // The harness has seen that `received` gave back all of it, in order.
    }
}

#[test]
fn t43_t44_versions_are_reported_not_judged() {
    for (legacy, offered) in [(0x0303, true), (0x0301, false)] {
        let mut old = HelloBuilder::host(HOST).without(43).without(51);
        old.legacy_version = legacy;
        let hello = hello_of(&old.stream());
        assert_eq!(hello.legacy_version().code(), legacy);
        assert_eq!(hello.offers(ProtocolVersion::TLS12), offered);
        assert!(!hello.offers(ProtocolVersion::TLS13));
    }
    let unknown = HelloBuilder::host(HOST).without(43).extension(43, vec![2, 0x7f, 0x1c]);
    let hello = hello_of(&unknown.stream());
    assert!(!hello.offers(ProtocolVersion::TLS12) && hello.offers(ProtocolVersion::from(0x7f1c)));
}

#[test]
fn t45_encrypted_client_hello_in_both_forms() {
    let outer = [&[0, 0, 1, 0, 1, 0xc7][..], &vector16(&[1; 32]), &vector16(&[2; 144])].concat();
    let hello = hello_of(&HelloBuilder::host(HOST).extension(0xfe0d, outer.clone()).stream());
    assert!(matches!(hello.ech(), Some(Ech::Outer { config_id: 0xc7, .. })));
    assert_eq!(name(&hello), HOST);
    let hello = hello_of(&HelloBuilder::host(HOST).extension(0xfe0d, vec![1]).stream());
    assert_eq!(hello.ech(), Some(Ech::Inner));
    for broken in [vec![], vec![2], vec![1, 0], vec![0], [&outer[..], &[0]].concat(), outer[..10].to_vec()] {
        let error = refusal_of(&HelloBuilder::host(HOST).extension(0xfe0d, broken).stream());
        assert_eq!(error, malformed(Malformation::EncryptedClientHello));
    }
}

#[test]
fn t46_draft_esni_does_not_hide_the_name() {
    let with_name = hello_of(&HelloBuilder::host(HOST).extension(0xffce, vec![1, 2, 3]).stream());
    assert!(with_name.has_draft_esni() && name(&with_name) == HOST);
    let without = hello_of(&HelloBuilder::new().extension(0xffce, vec![1, 2, 3]).stream());
    assert!(without.has_draft_esni() && without.server_name().is_none());
}

#[test]
fn t47_t48_alpn() {
    let one = vector8(b"h2");
    for broken in [
        vec![],
        vector16(&[]),
        vector16(&vector8(b"")),
        vector16(&[&one[..], &[0], &one].concat()),
        lying_vector16(&one, -1),
        lying_vector16(&one, 1),
        vector16(&[9, b'h', b'2']),
        [vector16(&one), vec![0]].concat(),
    ] {
        let error = refusal_of(&HelloBuilder::host(HOST).extension(16, broken).stream());
        assert_eq!(
            (error, error.alert()),
            (malformed(Malformation::Alpn), Some(AlertDescription::DECODE_ERROR))
        );
    }
    let hello = hello_of(&HelloBuilder::host(HOST).alpn(&[b"\xff\xfe\0", b"h2"]).stream());
    assert_eq!(hello.alpn().iter().next(), Some(&b"\xff\xfe\0"[..]));
    assert_eq!(format!("{:?}", hello.alpn()), r#"["\\xff\\xfe\\x00", "h2"]"#);
}

#[test]
fn t50_t51_broken_fields() {
    let broken = |change: fn(&mut HelloBuilder)| {
        let mut hello = HelloBuilder::host(HOST);
        change(&mut hello);
        refusal_of(&hello.stream())
    };
    assert_eq!(broken(|hello| hello.session_id = vec![0; 33]), malformed(Malformation::SessionId));
    assert_eq!(broken(|hello| hello.cipher_suites = vec![0x13]), malformed(Malformation::CipherSuites));
    assert_eq!(broken(|hello| hello.cipher_suites.push(0)), malformed(Malformation::CipherSuites));
    assert_eq!(broken(|hello| hello.cipher_suites.clear()), malformed(Malformation::CipherSuites));
    assert_eq!(broken(|hello| hello.compression.clear()), malformed(Malformation::CompressionMethods));
    for content in [vec![], vec![0], vec![1, 3], vec![3, 3, 4, 3], vec![2, 3, 4, 0]] {
        let hello = HelloBuilder::host(HOST).without(43).extension(43, content);
        assert_eq!(refusal_of(&hello.stream()), malformed(Malformation::SupportedVersions));
    }
    for content in [vec![], vec![0], lying_vector16(&[0, 29, 0, 1, 7], 1), key_share(&[(29, 0)])] {
        let hello = HelloBuilder::host(HOST).without(51).extension(51, content);
        assert_eq!(refusal_of(&hello.stream()), malformed(Malformation::KeyShare));
    }
}

#[test]
fn t50_a_body_cut_or_stretched_anywhere_is_malformed() {
    let body = HelloBuilder::host(HOST).body();
    let without_extensions = HelloBuilder { extensions: None, ..HelloBuilder::new() }.body().len();
    for length in (0..body.len()).filter(|length| *length != without_extensions) {
        let verdict = feed(SniffLimits::new(), [&record(22, &handshake(1, &body[..length]))[..]]).unwrap();
        assert!(matches!(verdict, Err(HelloError::Malformed { .. })), "{length}");
    }
    let stretched = [&body[..], &[0]].concat();
    assert_eq!(refusal_of(&record(22, &handshake(1, &stretched))), malformed(Malformation::Extensions));
}

#[test]
fn t50_every_length_off_by_one_is_refused_or_still_the_same_name() {
    let body = HelloBuilder::host(HOST).alpn(&[b"h2"]).body();
    for place in 34..body.len() {
        for change in [1_u8, 255] {
            let mut body = body.clone();
            body[place] = body[place].wrapping_add(change);
            // A changed byte inside a value is a changed value; one inside a length must not move the name.
            if let Ok(hello) = ClientHello::from_body(&body) {
                let found = hello.server_name().map(|name| name.as_str().len());
                assert!(found.is_none_or(|bytes| bytes == HOST.len()), "{place}");
            }
        }
    }
}

#[test]
fn t52_the_end_inside_the_hello() {
    let stream = HelloBuilder::host(HOST).stream();
    for length in [0, 1, 5, 9, stream.len() - 1] {
        let mut sniffer = Sniffer::new(SniffLimits::new());
        assert_eq!(sniffer.receive(&stream[..length]), Sniff::NeedMore);
        let error = HelloError::Eof { received_bytes: length };
        assert_eq!(sniffer.receive_end(), Sniff::Refused(error));
        assert_eq!(error.alert(), None);
        assert_eq!(sniffer.received(), &stream[..length]);
    }
    let mut sniffer = Sniffer::new(SniffLimits::new());
    let _ = sniffer.receive(&stream);
    assert!(matches!(sniffer.receive_end(), Sniff::Hello(_)), "an end after the hello is none of ours");
}

#[test]
fn the_most_common_refusals_have_stable_names() {
    for (stream, kind) in [
        (&b"GET / HTTP/1.1"[..], "not_tls"),
        (&[0x80, 9, 1, 3, 1], "sslv2"),
        (&[21, 3, 3], "unexpected_record"),
        (&[22, 3, 3, 0xff, 0xff], "record_overflow"),
        (&[22, 3, 3, 0, 4, 2], "not_client_hello"),
        (&[22, 3, 3, 0, 0], "malformed"),
    ] {
        assert_eq!(refusal_of(stream).kind(), kind);
    }
}

fn padded_stream(bytes: usize) -> Vec<u8> {
    let hello = HelloBuilder::host(HOST);
    // Four records hold up to 65,536 bytes of message.
    let padding = bytes - 4 * 5 - hello.message().len() - 4;
    hello.extension(21, vec![0; padding]).stream()
}

fn lying_vector16(content: &[u8], error: i32) -> Vec<u8> {
    let claimed = i32::try_from(content.len()).unwrap() + error;
    [&u16::try_from(claimed).unwrap().to_be_bytes()[..], content].concat()
}

fn name(hello: &ClientHello) -> &str {
    hello.server_name().map(|name| name.as_str()).unwrap_or_default()
}

fn malformed(what: Malformation) -> HelloError {
    HelloError::Malformed { what }
}

trait ToOwnedPair {
    fn to_owned_pair(self) -> (Vec<u8>, Vec<u8>);
}

impl ToOwnedPair for (&[u8], &[u8]) {
    fn to_owned_pair(self) -> (Vec<u8>, Vec<u8>) {
        (self.0.to_vec(), self.1.to_vec())
    }
}
