use alloc::{format, string::String};

use proptest::prelude::*;

use super::*;

fn header(input: &str) -> Result<Host, HostError> {
    Host::parse(input.as_bytes(), HostSource::Header)
}

fn sni(input: &str) -> Result<Host, HostError> {
    Host::parse(input.as_bytes(), HostSource::Sni)
}

fn domain(host: Result<Host, HostError>) -> String {
    host.unwrap().domain().unwrap().into()
}

#[test]
fn r01_ports_may_be_empty_but_not_wrong() {
    for (input, port) in
        [("a.test", None), ("a.test:", None), ("a.test:1", Some(1)), ("a.test:65535", Some(65535))]
    {
        let host = header(input).unwrap();
        assert_eq!((host.domain(), host.port()), (Some("a.test"), port), "{input}");
    }
    assert_eq!(header("a.test:00080").unwrap().port(), Some(80));
    for input in
        ["a.test:0", "a.test:65536", "a.test:000080", "a.test:+80", "a.test:80:80", "a.test:x", "a.test: 80"]
    {
        assert_eq!(header(input), Err(HostError::InvalidPort { at: 7 }), "{input}");
    }
    for input in ["a.test/", "a.test?q", "a .test", "%61.test", "a[.test", "a]", "a,b", "a.test\t", "\"a\""] {
        assert!(matches!(header(input), Err(HostError::ForbiddenByte { .. })), "{input}");
    }
    assert_eq!(header(""), Err(HostError::Empty {}));
    assert_eq!(header(":80"), Err(HostError::Empty {}));
}

#[test]
fn r02_t26_t27_capitals_fold_and_the_trailing_dot_depends_on_the_source() {
    assert_eq!(domain(header("A.B.Test")), "a.b.test");
    assert_eq!(domain(sni("A.B.Test")), "a.b.test");
    assert_eq!(domain(header("a.test.")), "a.test");
    assert_eq!(domain(header("a.test.:80")), "a.test");
    assert_eq!(sni("a.test."), Err(HostError::TrailingDot {}));
    for input in [".", "..", "a..", ".a", "a..b", ".:80"] {
        assert!(matches!(header(input), Err(HostError::EmptyLabel { .. })), "{input}");
    }
    for input in [".", "..", "a..", ".a", "a..b"] {
        assert!(matches!(sni(input), Err(HostError::EmptyLabel { .. })), "{input}");
    }
}

#[test]
fn r07_user_information_is_refused() {
    for input in
        ["user@a.test", "user:pass@a.test", "user:80@a.test:80", "@a.test", "a.test:80@b.test", "u%40@b"]
    {
        assert_eq!(header(input), Err(HostError::UserInfo {}), "{input}");
    }
}

#[test]
fn r12_t24_addresses_are_told_from_names() {
    let v4 = header("192.0.2.1:80").unwrap();
    assert_eq!((v4.address(), v4.domain(), v4.port()), (Some([192, 0, 2, 1].into()), None, Some(80)));
    let v6 = header("[2001:DB8::1]:443").unwrap();
    assert_eq!((format!("{v6}"), v6.port()), ("[2001:db8::1]".into(), Some(443)));
    assert!(header("[::1]").unwrap().address().is_some());
    assert!(header("[::1]:").unwrap().address().is_some());
    assert!(sni("192.0.2.1").unwrap().address().is_some());
    assert!(sni("2001:db8::1").unwrap().address().is_some());
    assert!(sni("::1").unwrap().address().is_some());
    assert!(header("::1").is_err());
}

#[test]
fn t25_other_spellings_of_addresses_and_ports_are_never_addresses() {
    for input in ["[::1]", "[192.0.2.1]", "a.test:443", "192.0.2.1:443", "fe80::1%eth0"] {
        assert!(matches!(sni(input), Err(HostError::ForbiddenByte { .. })), "{input}");
    }
    for input in ["127.1", "0x7f.0.0.1", "2130706433", "0177.0.0.1", "1.2.3.4.5"] {
        assert_eq!(sni(input).unwrap().address(), None, "{input}");
        assert_eq!(header(input).unwrap().address(), None, "{input}");
    }
    for input in ["[::1", "[]", "[::1]x", "[192.0.2.1]", "[v1.a]", "[fe80::1%25eth0]", "[::1]]", "[a.test]"] {
        assert_eq!(header(input), Err(HostError::InvalidAddress {}), "{input}");
    }
    assert_eq!(header("[::1]:x"), Err(HostError::InvalidPort { at: 6 }));
}

#[test]
fn t28_bytes_that_no_name_has_are_refused() {
    let bad =
        ["a\0b.test", "a b.test", "a\r\nb.test", "a/b.test", "a%2eb.test", "*.test", "b\u{fc}cher.test"];
    for input in bad.iter().chain(&["\u{212A}.test", "a\u{FF0E}test", "a\u{3002}test"]) {
        assert!(matches!(sni(input), Err(HostError::ForbiddenByte { .. })), "{input:?}");
        assert!(matches!(header(input), Err(HostError::ForbiddenByte { .. })), "{input:?}");
    }
    let broken = Host::parse(b"a\xff\xfe.test", HostSource::Sni);
    assert_eq!(broken, Err(HostError::ForbiddenByte { at: 1, byte: 0xff }));
    let message = format!("{}", Host::parse(b"a\nb", HostSource::Header).unwrap_err());
    assert!(message.contains(r"'\n'") && !message.contains('\n'), "{message}");
}

#[test]
fn t29_underscores_pass_the_parser() {
    assert_eq!(domain(sni("_dmarc.my_app.test")), "_dmarc.my_app.test");
}

#[test]
fn t31_lengths_of_labels_and_names() {
    let label = "a".repeat(63);
    let longest = [&label[..], &label, &label, &"b".repeat(61)].join(".");
    assert_eq!(longest.len(), 253);
    for source in [HostSource::Header, HostSource::Authority, HostSource::Sni] {
        assert_eq!(Host::parse(longest.as_bytes(), source).unwrap().domain(), Some(&*longest));
        let over = ["b", &longest].concat();
        assert!(Host::parse(over.as_bytes(), source).is_err());
        let long = [&longest, "b"].concat();
        assert_eq!(Host::parse(long.as_bytes(), source), Err(HostError::TooLong { length: 254 }));
        assert!(matches!(
            Host::parse("a".repeat(64).as_bytes(), source),
            Err(HostError::LabelTooLong { at: 0 })
        ));
        assert!(Host::parse(label.as_bytes(), source).is_ok());
        for length in [256, 16_000] {
            let input = "a.".repeat(length / 2);
            assert!(matches!(Host::parse(input.as_bytes(), source), Err(HostError::TooLong { .. })));
        }
    }
    assert_eq!(domain(header(&[&longest, ".:65535"].concat())), longest);
    assert_eq!(sni(&[&longest, "."].concat()), Err(HostError::TrailingDot {}));
    assert!(matches!(header(&[&longest, ".."].concat()), Err(HostError::TooLong { .. })));
    let edge = [&longest[..252], "-."].concat();
    assert!(matches!(header(&edge), Err(HostError::HyphenAtEdge { .. })), "the last label counts too");
}

#[test]
fn hyphens_at_an_edge_are_refused() {
    for input in ["-a.test", "a-.test", "a.-b.test", "a.test-", "-"] {
        assert!(matches!(header(input), Err(HostError::HyphenAtEdge { .. })), "{input}");
    }
}

#[test]
fn debug_and_display_are_canonical() {
    assert_eq!(format!("{:?} {0}", header("A.test:80").unwrap()), "Host(a.test:80) a.test");
    assert_eq!(format!("{:?}", header("[::1]").unwrap()), "Host([::1])");
    assert_eq!(header("a.test:80"), header("A.test"));
    assert_ne!(header("a.test"), header("192.0.2.1"));
}

/// The rules for a domain, said once more and slowly.
fn by_plain_words(input: &str, source: HostSource) -> Option<String> {
    let is_sni = source == HostSource::Sni;
    let (name, port) = match input.split_once(':') {
        Some(_) if is_sni => return None,
        Some((name, port)) => (name, port),
        None => (input, ""),
    };
    let good_port = port.is_empty()
        || port.len() <= 5
            && port.bytes().all(|byte| byte.is_ascii_digit())
            && (1..=65535).contains(&port.parse::<u32>().unwrap());
    let name = if is_sni { name } else { name.strip_suffix('.').unwrap_or(name) };
    let good_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let good = good_port && name.len() <= 253 && name.split('.').all(good_label);
    good.then(|| name.to_ascii_lowercase())
}

proptest! {
    #[test]
    fn domains_are_what_the_plain_words_say(
        input in "[A-Za-z0-9_.:-]{0,20}|([a-z-]{1,64}\\.){0,5}[a-z]{1,64}\\.?(:[0-9]{0,6})?|([ab]{1,2}\\.){80,90}",
        source in prop_oneof![Just(HostSource::Header), Just(HostSource::Authority), Just(HostSource::Sni)],
    ) {
        let host = Host::parse(input.as_bytes(), source);
        if source != HostSource::Sni {
            prop_assert_ne!(&host, &Err(HostError::TrailingDot {}));
        }
        if host.as_ref().is_ok_and(|host| host.address().is_some()) {
            return Ok(());
        }
        let domain = host.ok().and_then(|host| host.domain().map(String::from));
        prop_assert_eq!(domain, by_plain_words(&input, source));
    }

    #[test]
    fn parsing_is_idempotent_and_agrees_between_sources(input in "[A-Za-z0-9_.:\\[\\]@%-]{0,40}") {
        let in_header = header(&input);
        prop_assert_eq!(&in_header, &Host::parse(input.as_bytes(), HostSource::Authority));
        if let Ok(host) = &in_header {
            prop_assert_eq!(&header(&format!("{host}")).unwrap(), host);
        }
        // Whatever both take as a domain, they take as the same one.
        if let (Ok(ours), Ok(theirs)) = (&in_header, sni(&input))
            && ours.domain().is_some()
        {
            prop_assert_eq!(ours.domain(), theirs.domain());
        }
    }

    #[test]
    fn any_bytes_give_an_answer(input in prop::collection::vec(any::<u8>(), 0..300)) {
        for source in [HostSource::Header, HostSource::Sni] {
            if let Ok(host) = Host::parse(&input, source)
                && let Some(domain) = host.domain()
            {
                prop_assert!(domain.len() <= 253 && domain.is_ascii());
                prop_assert!(!domain.bytes().any(|b| b.is_ascii_uppercase()));
                prop_assert!(domain.split('.').all(|label| (1..=63).contains(&label.len())));
            }
        }
    }
}
