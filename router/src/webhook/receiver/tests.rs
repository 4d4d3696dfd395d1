use std::path::Path;

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, HEXLOWER, HEXUPPER};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderName, HeaderValue};
use sha2::Sha256;

use super::super::signature::{SignatureEncoding, ValidatorError};
use super::*;

#[test]
fn g01_githubs_documented_example_is_true() {
    assert!(github(&[("x-hub-signature-256", GITHUB_TAG)], GITHUB_BODY));
}

#[test]
fn g02_one_bit_of_body_secret_or_tag_and_a_tag_of_another_length_are_false() {
    for bit in 0..8 * GITHUB_BODY.len() {
        let mut bent = GITHUB_BODY.to_vec();
        bent[bit / 8] ^= 1 << (bit % 8);
        assert!(!github(&[("x-hub-signature-256", GITHUB_TAG)], &bent), "bit {bit} of the body");
    }
    let mut other = receiver(Validator::Github, b"It's a Secret to Everybodx");
    assert!(!is_valid(&mut other, &[("x-hub-signature-256", GITHUB_TAG)], GITHUB_BODY, 0));
    for at in 7..GITHUB_TAG.len() {
        let mut bent = GITHUB_TAG.as_bytes().to_vec();
        bent[at] ^= 1;
        assert!(!github(&[("x-hub-signature-256", std::str::from_utf8(&bent).unwrap())], GITHUB_BODY));
    }
    for tag in [&GITHUB_TAG[..GITHUB_TAG.len() - 2], &format!("{GITHUB_TAG}00"), "sha256="] {
        assert!(!github(&[("x-hub-signature-256", tag)], GITHUB_BODY), "{tag}");
    }
}

#[test]
fn g03_g04_g07_a_missing_header_sha1_alone_and_a_doubled_header_are_false() {
    assert!(!github(&[], GITHUB_BODY));
    assert!(!github(&[("x-hub-signature", "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59")], GITHUB_BODY));
    let doubled = [("x-hub-signature-256", GITHUB_TAG), ("x-hub-signature-256", GITHUB_TAG)];
    assert!(!github(&doubled, GITHUB_BODY));
    assert!(!slack(&[("x-slack-signature", SLACK_TAG)], SLACK_TIME));
    assert!(!slack(&[("x-slack-request-timestamp", "1531420618")], SLACK_TIME));
    assert!(!slack(&[], SLACK_TIME));
}

#[test]
fn g03_names_of_headers_have_any_capitals() {
    let mut fields = HeaderMap::new();
    let name = HeaderName::from_bytes(b"X-HUB-Signature-256").unwrap();
    fields.append(name, HeaderValue::from_static(GITHUB_TAG));
    let mut receiver = receiver(Validator::Github, GITHUB_SECRET);
    assert!(receiver.receive(&fields, GITHUB_BODY, NOW).unwrap().is_signature_valid);
    let validator =
        Validator::parse("generic_hmac_sha256", Some("X-My-VENDOR-Signature"), Some("hex")).unwrap();
    let mut generic = self::receiver(validator, b"secret");
    let hex = HEXLOWER.encode(&tag(b"secret", b"body"));
    assert!(is_valid(&mut generic, &[("x-my-vendor-signature", &hex)], b"body", 0));
}

#[test]
fn g05_g06_capitals_are_fine_in_hex_and_not_in_the_prefix() {
    let upper = format!("sha256={}", GITHUB_TAG[7..].to_ascii_uppercase());
    assert!(github(&[("x-hub-signature-256", &upper)], GITHUB_BODY));
    let shouted = GITHUB_TAG.to_ascii_uppercase();
    let no_hex = format!("sha256={}", "z".repeat(64));
    for tag in [&GITHUB_TAG[7..], &shouted, &no_hex] {
        assert!(!github(&[("x-hub-signature-256", tag)], GITHUB_BODY), "{tag}");
    }
}

#[test]
fn g08_what_cannot_be_wired_is_refused_at_provisioning() {
    assert_eq!(WebhookSecret::new([]).unwrap_err(), SecretError::Length { length: 0 });
    for name in ["dodo", "GitHub", ""] {
        let refused = Validator::parse(name, None, None).unwrap_err();
        assert_eq!(refused, ValidatorError::Unknown {});
        assert_eq!(Refusal::from(&refused).code(), &Code::VALIDATION_FAILED);
    }
    let generic = |header, encoding| Validator::parse("generic_hmac_sha256", header, encoding);
    assert_eq!(generic(None, None), Err(ValidatorError::Header {}));
    assert_eq!(generic(Some("no header"), None), Err(ValidatorError::Header {}));
    assert_eq!(generic(Some("x-sig"), Some("base32")), Err(ValidatorError::Encoding {}));
}

#[test]
fn g09_g10_raw_bytes_count() {
    for body in [&b""[..], b"\xef\xbb\xbf{}", b"a\r\nb", b"\0\xff\x80", b"\x1f\x8b\x08gzip"] {
        let tag = format!("sha256={}", HEXLOWER.encode(&tag(GITHUB_SECRET, body)));
        assert!(github(&[("x-hub-signature-256", &tag)], body));
    }
    let tag = format!("sha256={}", HEXLOWER.encode(&tag(GITHUB_SECRET, b"{\"a\": 1}")));
    assert!(!github(&[("x-hub-signature-256", &tag)], b"{\"a\":1}"), "serialised again");
}

#[test]
fn g11_a_body_above_25_mib_is_refused() {
    let mut receiver = receiver(Validator::Github, GITHUB_SECRET);
    let body = vec![0; Receiver::MAX_BODY_BYTES + 1];
    assert!(receiver.receive(&HeaderMap::new(), &body[1..], NOW).is_ok());
    let refused = receiver.receive(&HeaderMap::new(), &body, NOW).unwrap_err();
    assert_eq!(Refusal::from(&refused).status(), 413);
}

#[test]
fn g12_the_same_delivery_again_is_a_duplicate() {
    let mut receiver = receiver(Validator::Github, GITHUB_SECRET);
    let first = headers(&[("x-hub-signature-256", GITHUB_TAG), ("x-github-delivery", "one")]);
    let second = headers(&[("x-hub-signature-256", GITHUB_TAG), ("x-github-delivery", "two")]);
    let mut is_duplicate = |headers| receiver.receive(headers, GITHUB_BODY, NOW).unwrap().is_duplicate;
    assert!(!is_duplicate(&first));
    assert!(is_duplicate(&first));
    assert!(!is_duplicate(&second));
}

#[test]
fn g13_g14_slacks_documented_example_is_true_for_300_seconds() {
    let fields = [("x-slack-signature", SLACK_TAG), ("x-slack-request-timestamp", "1531420618")];
    for (now, is_true) in [
        (SLACK_TIME, true),
        (SLACK_TIME + 300, true),
        (SLACK_TIME - 300, true),
        (SLACK_TIME + 301, false),
        (SLACK_TIME - 301, false),
    ] {
        assert_eq!(slack(&fields, now), is_true, "{now}");
    }
}

#[test]
fn g14_a_timestamp_is_plain_digits_even_if_it_is_signed_well() {
    for timestamp in [
        "",
        "+1531420618",
        "-1531420618",
        " 1531420618",
        "1531420618 ",
        "1531 420618",
        "1531420618x",
        "\u{661}\u{665}\u{663}\u{661}\u{664}\u{662}\u{660}\u{666}\u{661}\u{668}",
        "0x5b4784ca",
        "1531420618.0",
        "99999999999999999999",
    ] {
        let signed = [b"v0:", timestamp.as_bytes(), b":", SLACK_BODY].concat();
        let tag = format!("v0={}", HEXLOWER.encode(&tag(SLACK_SECRET, &signed)));
        let mut fields = headers(&[("x-slack-signature", &tag)]);
        let value = HeaderValue::from_bytes(timestamp.as_bytes()).unwrap();
        fields.append("x-slack-request-timestamp", value);
        let now = NOW + Duration::from_secs(SLACK_TIME);
        let mut receiver = receiver(Validator::Slack, SLACK_SECRET);
        let received = receiver.receive(&fields, SLACK_BODY, now).unwrap();
        assert!(!received.is_signature_valid, "{timestamp:?}");
    }
}

#[test]
fn g15_g16_another_version_a_changed_time_and_a_moved_split_are_false() {
    for version in
        [SLACK_TAG.replace("v0=", "v1="), SLACK_TAG.replace("v0=", ""), SLACK_TAG.replace("v0", "V0")]
    {
        let fields = [("x-slack-signature", version.as_str()), ("x-slack-request-timestamp", "1531420618")];
        assert!(!slack(&fields, SLACK_TIME), "{version}");
    }
    assert!(!slack(
        &[("x-slack-signature", SLACK_TAG), ("x-slack-request-timestamp", "1531420619")],
        SLACK_TIME
    ));
    // `v0:153142061:8...` has the same letters as `v0:1531420618:...` but for the colon.
    let mut receiver = receiver(Validator::Slack, SLACK_SECRET);
    let moved = [b"8:", SLACK_BODY].concat();
    let fields = [("x-slack-signature", SLACK_TAG), ("x-slack-request-timestamp", "153142061")];
    assert!(!is_valid(&mut receiver, &fields, &moved, 153_142_061));
}

#[test]
fn g17_the_same_slack_request_again_is_a_duplicate() {
    let mut receiver = receiver(Validator::Slack, SLACK_SECRET);
    let fields = headers(&[("x-slack-signature", SLACK_TAG), ("x-slack-request-timestamp", "1531420618")]);
    let now = NOW + Duration::from_secs(SLACK_TIME);
    assert!(!receiver.receive(&fields, SLACK_BODY, now).unwrap().is_duplicate);
    assert!(receiver.receive(&fields, SLACK_BODY, now).unwrap().is_duplicate);
}

#[test]
fn g19_g20_a_generic_signature_has_one_encoding_and_one_header() {
    let tag = tag(b"secret", b"body");
    let hex = HEXLOWER.encode(&tag);
    let base64 = BASE64.encode(&tag);
    let url = BASE64URL.encode(&tag);
    assert_ne!(url, base64, "the tag has letters in which the alphabets differ");
    for (encoding, header, value, is_true) in [
        (SignatureEncoding::Hex, "x-sig", hex.clone(), true),
        (SignatureEncoding::Hex, "x-sig", HEXUPPER.encode(&tag), true),
        (SignatureEncoding::Hex, "x-sig", base64.clone(), false),
        (SignatureEncoding::Hex, "x-other", hex.clone(), false),
        (SignatureEncoding::Hex, "x-sig", format!("sha256={hex}"), false),
        (SignatureEncoding::Hex, "x-sig", format!("t=1,v1={hex}"), false),
        (SignatureEncoding::Base64, "x-sig", base64.clone(), true),
        (SignatureEncoding::Base64, "x-sig", hex, false),
        (SignatureEncoding::Base64, "x-sig", BASE64_NOPAD.encode(&tag), false),
        (SignatureEncoding::Base64, "x-sig", url, false),
        (SignatureEncoding::Base64, "x-sig", format!("{base64} "), true), // HTTP drops white space around a value
    ] {
        let validator = Validator::GenericHmacSha256 { header: HeaderName::from_static("x-sig"), encoding };
        let mut receiver = receiver(validator, b"secret");
        assert_eq!(is_valid(&mut receiver, &[(header, value.trim())], b"body", 0), is_true, "{value}");
    }
}

#[test]
fn g21_in_a_rotation_both_secrets_are_good() {
    let mut receiver = receiver(Validator::Github, b"older");
    let sign = |secret: &[u8]| format!("sha256={}", HEXLOWER.encode(&tag(secret, b"body")));
    let is_good = |receiver: &mut Receiver, secret: &[u8]| {
        is_valid(receiver, &[("x-hub-signature-256", &sign(secret))], b"body", 0)
    };
    receiver.rotate(WebhookSecret::new(*b"newer").unwrap());
    assert!(is_good(&mut receiver, b"older") && is_good(&mut receiver, b"newer"));
    receiver.rotate(WebhookSecret::new(*b"newest").unwrap());
    assert!(!is_good(&mut receiver, b"older") && is_good(&mut receiver, b"newer"));
    receiver.finish_rotation();
    assert!(!is_good(&mut receiver, b"newer") && is_good(&mut receiver, b"newest"));
}

#[test]
fn g22_a_tag_wrong_at_either_end_costs_one_full_compare_as_the_right_one_does() {
    let right = tag(b"secret", b"body");
    let [mut first, mut last] = [right.clone(), right.clone()];
    first[0] ^= 1;
    last[31] ^= 1;
    for (tag, is_right) in [(right, true), (first, false), (last, false)] {
        let mut receiver = receiver(Validator::Github, b"secret");
        let signature = format!("sha256={}", HEXLOWER.encode(&tag));
        let compares = crate::compare::counted(|| {
            let is_taken = is_valid(&mut receiver, &[("x-hub-signature-256", &signature)], b"body", 0);
            assert_eq!(is_taken, is_right);
        });
        assert_eq!(compares, 1);
    }
    let mut receiver = receiver(Validator::Github, b"secret");
    let missing = crate::compare::counted(|| assert!(!is_valid(&mut receiver, &[], b"body", 0)));
    assert_eq!(missing, 1, "without a signature too");
}

#[test]
fn g23_a_decoy_judges_and_takes_nothing() {
    let mut decoy = Receiver::decoy([7; 32]).unwrap();
    assert!(!is_valid(&mut decoy, &[("x-hub-signature-256", GITHUB_TAG)], GITHUB_BODY, 0));
}

#[test]
fn g24_a_flood_without_signature_is_limited_and_pushes_out_nothing() {
    let mut receiver = receiver(Validator::Github, GITHUB_SECRET);
    let good = headers(&[("x-hub-signature-256", GITHUB_TAG), ("x-github-delivery", "one")]);
    receiver.receive(&good, GITHUB_BODY, NOW).unwrap();
    let mut taken = 0;
    for number in 0..10_000 {
        let flood = headers(&[("x-github-delivery", &format!("flood-{number}"))]);
        match receiver.receive(&flood, GITHUB_BODY, NOW) {
            Ok(received) => taken += u32::from(!received.is_signature_valid),
            Err(refused) => assert_eq!(Refusal::from(&refused).status(), 429),
        }
    }
    assert_eq!(taken, 60);
    assert!(receiver.receive(&good, GITHUB_BODY, NOW).unwrap().is_duplicate, "still remembered");
    assert!(receiver.receive(&HeaderMap::new(), b"", NOW + MINUTE).is_ok());
}

#[test]
fn w29_a_secret_is_not_in_debug() {
    let receiver = receiver(Validator::Github, b"canary");
    assert!(!format!("{receiver:?}").contains("canary"));
    assert!(!format!("{receiver:?}").contains("99, 97, 110"));
}

#[test]
fn g25_published_tags_are_taken_in_full_and_no_shorter_one() {
    // RFC 4231 §4.2, §4.3, §4.4 and §4.7.
    let cases: [(&[u8], &[u8], &str); 4] = [
        (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
    ];
    for (secret, body, tag) in cases {
        let validator = Validator::parse("generic_hmac_sha256", Some("x-sig"), Some("hex")).unwrap();
        let mut receiver = receiver(validator, secret);
        assert!(is_valid(&mut receiver, &[("x-sig", tag)], body, 0), "{tag}");
        for length in (2..64).step_by(2) {
            receiver = self::receiver(receiver.validator.clone(), secret);
            assert!(!is_valid(&mut receiver, &[("x-sig", &tag[..length])], body, 0), "{length} of {tag}");
        }
    }
}

#[test]
fn g25_wycheproof_tags_are_taken_in_full_and_no_shorter_one() {
    let Some(data) = std::env::var_os("ADIT_DATA") else {
        println!("skipped: ADIT_DATA is not set");
        return;
    };
    let text = std::fs::read(Path::new(&data).join("webhook/hmac_sha256_wycheproof.json")).unwrap();
    let vectors: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let mut counts = (0, 0);
    for test in
        vectors["testGroups"].as_array().unwrap().iter().flat_map(|group| group["tests"].as_array().unwrap())
    {
        let bytes = |name: &str| HEXLOWER.decode(test[name].as_str().unwrap().as_bytes()).unwrap();
        let (key, tag) = (bytes("key"), bytes("tag"));
        let validator = Validator::parse("generic_hmac_sha256", Some("x-sig"), Some("hex")).unwrap();
        let Ok(secret) = WebhookSecret::new(key) else { continue };
        let mut receiver = Receiver::new(validator, secret);
        let is_good = is_valid(&mut receiver, &[("x-sig", &HEXLOWER.encode(&tag))], &bytes("msg"), 0);
        assert_eq!(is_good, tag.len() == 32 && test["result"] == "valid", "{test}");
        counts = if is_good { (counts.0 + 1, counts.1) } else { (counts.0, counts.1 + 1) };
    }
    println!("{} tags are good and {} are not", counts.0, counts.1);
    assert!(counts.0 > 10 && counts.1 > 10);
}

fn github(fields: &[(&'static str, &str)], body: &[u8]) -> bool {
    is_valid(&mut receiver(Validator::Github, GITHUB_SECRET), fields, body, 0)
}

fn slack(fields: &[(&'static str, &str)], now: u64) -> bool {
    is_valid(&mut receiver(Validator::Slack, SLACK_SECRET), fields, SLACK_BODY, now)
}

fn is_valid(receiver: &mut Receiver, fields: &[(&'static str, &str)], body: &[u8], now: u64) -> bool {
    receiver.receive(&headers(fields), body, NOW + Duration::from_secs(now)).unwrap().is_signature_valid
}

fn receiver(validator: Validator, secret: &[u8]) -> Receiver {
    Receiver::new(validator, WebhookSecret::new(secret).unwrap())
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn tag(secret: &[u8], body: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(body);
    mac.finalize().into_bytes().to_vec()
}

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

// https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
const GITHUB_SECRET: &[u8] = b"It's a Secret to Everybody";
const GITHUB_BODY: &[u8] = b"Hello, World!";
const GITHUB_TAG: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

// https://docs.slack.dev/authentication/verifying-requests-from-slack
const SLACK_SECRET: &[u8] = b"8f742231b10e8888abcd99yyyzzz85a5";
const SLACK_TIME: u64 = 1_531_420_618;
const SLACK_TAG: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
const SLACK_BODY: &[u8] = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow\
    &channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner\
    &command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands\
    %2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
    &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
