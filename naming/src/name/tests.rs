use alloc::format;

use proptest::prelude::*;

use super::*;

#[test]
fn n01_names_have_3_to_63_octets() {
    assert_eq!(TunnelName::parse("ab"), Err(NameError::TooShort { length: 2 }));
    assert!(TunnelName::parse("abc").is_ok());
    assert!(TunnelName::parse(&"a".repeat(63)).is_ok());
    assert_eq!(TunnelName::parse(&"a".repeat(64)), Err(NameError::TooLong { length: 64 }));
    assert_eq!(TunnelName::parse(""), Err(NameError::TooShort { length: 0 }));
    assert_eq!(TunnelName::parse(&"a".repeat(300)), Err(NameError::TooLong { length: 300 }));
}

#[test]
fn n02_capitals_are_refused_at_creation_and_folded_at_lookup() {
    assert_eq!(TunnelName::parse("my-App"), Err(NameError::Capital { at: 3 }));
    assert_eq!(TunnelName::parse_folded("My-APP").unwrap(), "my-app");
    // The Kelvin sign is a capital K for Unicode, not for us.
    assert!(matches!(
        TunnelName::parse_folded("\u{212A}ube"),
        Err(NameError::ForbiddenCharacter { at: 0, .. })
    ));
}

#[test]
fn n03_no_hyphen_first_or_last() {
    assert_eq!(TunnelName::parse("-abc"), Err(NameError::HyphenAtEdge { at: 0 }));
    assert_eq!(TunnelName::parse("abc-"), Err(NameError::HyphenAtEdge { at: 3 }));
    assert_eq!(TunnelName::parse("---"), Err(NameError::HyphenAtEdge { at: 0 }));
}

#[test]
fn n04_no_two_hyphens_in_a_row_so_no_punycode() {
    assert_eq!(TunnelName::parse("a--b"), Err(NameError::DoubleHyphen { at: 2 }));
    for text in ["xn--bcher-kva", "xn--example-", "xn--abc", "ab--cd"] {
        assert_eq!(TunnelName::parse(text), Err(NameError::DoubleHyphen { at: 3 }), "{text}");
    }
}

#[test]
fn n05_all_other_ascii_is_refused_and_echoed_escaped() {
    for byte in 0..=127u8 {
        let character = char::from(byte);
        let text = format!("ab{character}cd");
        let allowed = character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-';
        match TunnelName::parse(&text) {
            Ok(_) => assert!(allowed, "{text:?}"),
            Err(NameError::Capital { at }) => assert!(character.is_ascii_uppercase() && at == 2),
            Err(error) => {
                assert_eq!(error, NameError::ForbiddenCharacter { at: 2, character });
                let message = format!("{error}");
                assert!(message.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{message:?}");
            }
        }
    }
}

#[test]
fn n06_digits_may_lead_and_stand_alone() {
    for text in ["1ab", "123", "0x7f", "8080"] {
        assert!(TunnelName::parse(text).is_ok(), "{text}");
    }
}

#[test]
fn n08_n09_no_unicode_whatever_it_looks_like() {
    let look_alikes = [
        "\u{0430}bc",                // Cyrillic a
        "\u{03BF}bc",                // Greek omicron
        "\u{FF41}bc",                // fullwidth a
        "\u{FB01}sh",                // ligature fi
        "\u{212A}elvin",             // Kelvin sign
        "\u{017F}un",                // long s
        "\u{0131}stanbul",           // dotless i
        "\u{0661}\u{0662}\u{0663}x", // Arabic-Indic digits
        "\u{FF11}23",                // fullwidth digit
        "a\u{200B}bc",               // zero-width space
        "a\u{200D}bc",               // zero-width joiner
        "a\u{00AD}bc",               // soft hyphen
        "a\u{202E}bc",               // right-to-left override
        "\u{FEFF}abc",               // byte order mark
        "a\u{00A0}bc",               // no-break space
        "a\u{3002}bc",               // ideographic full stop
        "a\u{2010}bc",               // Unicode hyphen
        "a\u{2011}bc",               // non-breaking hyphen
        "a\u{2013}bc",               // en dash
        "a\u{2212}bc",               // minus
    ];
    for text in look_alikes {
        assert!(matches!(TunnelName::parse(text), Err(NameError::ForbiddenCharacter { .. })), "{text:?}");
        assert!(
            matches!(TunnelName::parse_folded(text), Err(NameError::ForbiddenCharacter { .. })),
            "{text:?}"
        );
    }
}

#[test]
fn suggestions_are_names_near_the_text() {
    for (text, near) in [
        ("My--App_", Some("my-app")),
        ("-a b.c-", Some("a-b-c")),
        ("Ärger im Büro", Some("rger-im-b-ro")),
        ("ab", None),
        ("", None),
        ("___", None),
        ("日本語", None),
    ] {
        assert_eq!(TunnelName::suggest(text).as_ref().map(TunnelName::as_str), near, "{text:?}");
    }
    let long = TunnelName::suggest(&"ab-".repeat(1_000_000)).unwrap();
    assert_eq!(long.as_str().len(), 62, "cut before the hyphen that would stand last");
}

#[test]
fn borrowed_and_owned_forms_agree() {
    let owned = TunnelName::parse("my-app").unwrap();
    assert_eq!(owned.borrowed().to_owned(), owned);
    assert_eq!(TunnelName::from(owned.borrowed()), owned);
    assert_eq!(format!("{owned:>8}|{}", owned.borrowed()), "  my-app|my-app");
}

proptest! {
    #[test]
    fn names_are_what_the_plain_words_say(text in "\\PC{0,5}|[a-zA-Z0-9_-]{0,70}|[a-z0-9-]{1,8}") {
        let plain = (3..=63).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-')
            && !text.contains("--");
        prop_assert_eq!(TunnelName::parse(&text).is_ok(), plain);
    }

    #[test]
    fn errors_point_at_the_byte_that_breaks_the_rule(text in "[a-zA-Z_é-]{3,20}") {
        if let Err(error) = TunnelName::parse(&text)
            && let Some(at) = error.at()
        {
            let prefix: String = text[..at].into();
            let rest = text[at..].chars().next().unwrap();
            prop_assert!(matches!(rest, 'A'..='Z' | '_' | 'é' | '-'));
            prop_assert!(!prefix.contains(['_', 'é']));
        }
    }

    #[test]
    fn a_valid_name_is_its_own_suggestion(text in "[a-z0-9]{3}(-[a-z0-9]{1,6}){0,6}") {
        prop_assert_eq!(TunnelName::suggest(&text).unwrap(), text.as_str());
    }

    #[test]
    fn every_suggestion_is_a_name(text in "\\PC{0,80}") {
        if let Some(name) = TunnelName::suggest(&text) {
            prop_assert!(TunnelName::parse(name.as_str()).is_ok());
        }
    }
}
