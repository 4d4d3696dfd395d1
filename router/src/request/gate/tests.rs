use http::request::Builder;

use super::*;

#[test]
fn r01_a_host_may_have_a_port_and_nothing_else() {
    for host in ["app.example", "app.example:8080", "app.example:"] {
        assert_eq!(admit(get().header("host", host)).unwrap().host.domain(), Some("app.example"), "{host}");
    }
    for host in [
        "app.example:0",
        "app.example:65536",
        "app.example:80x",
        "app.example/path",
        "app.example?q",
        "app .example",
        "app%2eexample",
        "[app.example]",
        "app.example]",
    ] {
        let refused = admit(get().header("host", host)).unwrap_err();
        assert!(matches!(refused, GateError::HostInvalid { .. }), "{host}");
        assert_eq!((status(&refused), refused.reaction(Version::HTTP_11)), (400, Reaction::Answer));
    }
}

#[test]
fn r02_capitals_and_one_trailing_dot_are_the_same_host() {
    for host in ["APP.Example", "app.example.", "App.EXAMPLE.:80"] {
        assert_eq!(admit(get().header("host", host)).unwrap().host.domain(), Some("app.example"));
    }
    assert!(admit(get().header("host", "app.example..")).is_err());
}

#[test]
fn r07_user_info_is_refused() {
    assert_eq!(status(&admit(get().header("host", "me@app.example")).unwrap_err()), 400);
    let authority = Builder::new().uri("http://me@app.example/").version(Version::HTTP_2);
    assert_eq!(status(&admit(authority).unwrap_err()), 400);
}

#[test]
fn r08_exactly_one_host_is_needed() {
    let missing = admit(get()).unwrap_err();
    assert_eq!(missing, GateError::HostMissing {});
    assert_eq!(missing.reaction(Version::HTTP_11), Reaction::AnswerAndClose);
    assert_eq!(admit(get().header("host", "")).unwrap_err(), GateError::HostMissing {});
    let doubled = get().header("host", "app.example").header("host", "app.example");
    assert_eq!(admit(doubled).unwrap_err(), GateError::HostRepeated {});
    let listed = get().header("host", "app.example, other.example");
    assert!(matches!(admit(listed).unwrap_err(), GateError::HostInvalid { .. }));
    assert_eq!(admit(get().version(Version::HTTP_10)).unwrap_err(), GateError::HostMissing {});
}

#[test]
fn r09_an_absolute_target_names_the_same_host_or_none_is_served() {
    let absolute = |target: &str| Builder::new().uri(target).header("host", "app.example");
    assert!(admit(absolute("http://app.example/a")).is_ok());
    assert!(admit(absolute("http://APP.example:80/a")).is_ok());
    assert_eq!(admit(absolute("http://other.example/a")).unwrap_err(), GateError::HostDiffers {});
    assert!(matches!(admit(absolute("http://me@app.example/a")).unwrap_err(), GateError::HostInvalid { .. }));
    assert_eq!(admit(absolute("ftp://app.example/a")).unwrap_err(), GateError::TargetInvalid {});
    let without_host = Builder::new().uri("http://app.example/");
    assert_eq!(admit(without_host).unwrap_err(), GateError::HostMissing {});
    let ports = Builder::new().uri("http://app.example:81/").header("host", "app.example:82");
    assert_eq!(admit(ports).unwrap_err(), GateError::HostDiffers {});
}

#[test]
fn r10_in_http2_the_authority_is_the_host() {
    let h2 = |target: &str| Builder::new().uri(target).version(Version::HTTP_2);
    assert!(admit(h2("https://app.example/")).is_ok());
    assert!(admit(h2("https://app.example/").header("host", "app.example")).is_ok());
    assert!(admit(h2("/").header("host", "app.example")).is_ok());
    let differs = admit(h2("https://app.example/").header("host", "other.example")).unwrap_err();
    let none = admit(h2("/")).unwrap_err();
    assert_eq!((&differs, &none), (&GateError::HostDiffers {}, &GateError::HostMissing {}));
    for refused in [differs, none] {
        assert_eq!(refused.reaction(Version::HTTP_2), Reaction::ResetStream);
    }
}

#[test]
fn r11_a_host_that_tls_was_not_made_for_is_misdirected() {
    let name = |name: &str| Host::parse(name.as_bytes(), HostSource::Sni).unwrap();
    let request = get().header("host", "App.example:443").body(()).unwrap();
    let gate = RequestGate::new();
    assert!(gate.admit(&request, Some(&name("app.example"))).is_ok());
    let refused = gate.admit(&request, Some(&name("other.example"))).unwrap_err();
    assert_eq!(refused, GateError::Misdirected {});
    assert_eq!((status(&refused), refused.reaction(Version::HTTP_2)), (421, Reaction::Answer));
}

#[test]
fn r12_an_address_is_a_host_but_no_domain() {
    for host in ["192.0.2.1", "192.0.2.1:80", "[2001:db8::1]"] {
        assert_eq!(admit(get().header("host", host)).unwrap().host.domain(), None);
    }
}

#[test]
fn r18_a_body_ends_in_one_way_only() {
    let both = post().header("content-length", "5").header("transfer-encoding", "chunked");
    assert_eq!(admit(both).unwrap_err(), GateError::LengthAndCoding {});
    let other = admit(post().header("transfer-encoding", "gzip, chunked")).unwrap_err();
    assert_eq!((status(&other), &other), (501, &GateError::UnsupportedCoding {}));
    for unclear in ["xchunked", "chunked, identity", "chunked chunked", "chunked, chunked"] {
        let refused = admit(post().header("transfer-encoding", unclear)).unwrap_err();
        assert_eq!(refused, GateError::TransferEncoding {}, "{unclear}");
        assert_eq!(refused.reaction(Version::HTTP_11), Reaction::AnswerAndClose);
    }
    let twice = post().header("transfer-encoding", "chunked").header("transfer-encoding", "chunked");
    assert_eq!(admit(twice).unwrap_err(), GateError::TransferEncoding {});
    let old = post().version(Version::HTTP_10).header("transfer-encoding", "chunked");
    assert_eq!(admit(old).unwrap_err(), GateError::TransferEncoding {});
    assert!(admit(post().header("transfer-encoding", "chunked")).is_ok());
}

#[test]
fn r19_a_length_is_one_plain_number() {
    assert!(admit(post().header("content-length", "5")).is_ok());
    let doubled = post().header("content-length", "5").header("content-length", "5");
    assert_eq!(admit(doubled).unwrap_err(), GateError::ContentLength {});
    for length in ["+5", "-5", "0x5", "5,5", "18446744073709551616", ""] {
        let refused = admit(post().header("content-length", length)).unwrap_err();
        assert_eq!(refused, GateError::ContentLength {});
        assert_eq!((status(&refused), refused.reaction(Version::HTTP_11)), (400, Reaction::AnswerAndClose));
    }
}

#[test]
fn r20_http2_has_no_connection_fields() {
    let h2 = || Builder::new().uri("https://app.example/").version(Version::HTTP_2);
    for (name, value) in [
        ("connection", "close"),
        ("keep-alive", "1"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
    ] {
        let refused = admit(h2().header(name, value)).unwrap_err();
        assert_eq!(refused, GateError::ConnectionField {}, "{name}");
        assert_eq!(refused.reaction(Version::HTTP_2), Reaction::ResetStream);
    }
    assert!(admit(h2().header("te", "trailers")).is_ok());
}

#[test]
fn r23_target_head_and_fields_are_bounded() {
    let path =
        |length: usize| get().uri(format!("/{}", "a".repeat(length - 1))).header("host", "app.example");
    assert!(admit(path(16 * 1024)).is_ok());
    assert_eq!(status(&admit(path(16 * 1024 + 1)).unwrap_err()), 414);

    let many = |count: usize| {
        (1..count).fold(get().header("host", "app.example"), |request, _| request.header("x-field", "1"))
    };
    assert!(admit(many(100)).is_ok());
    assert_eq!(admit(many(101)).unwrap_err(), GateError::TooManyFields { max_fields: 100 });

    let large = get().header("host", "app.example").header("x-large", "v".repeat(64 * 1024));
    let refused = admit(large).unwrap_err();
    assert_eq!((status(&refused), refused.reaction(Version::HTTP_11)), (431, Reaction::AnswerAndClose));
}

#[test]
fn r26_odd_paths_pass_as_they_are() {
    for path in ["//", "/a/../b", "/%2e%2e/", "/%00", "/a\\b", "/?q=%0d%0a"] {
        let Ok(uri) = path.parse::<Uri>() else { continue };
        let request = get().uri(uri).header("host", "app.example").body(()).unwrap();
        assert!(RequestGate::new().admit(&request, None).is_ok(), "{path}");
        assert_eq!(request.uri().path_and_query().unwrap().as_str(), path);
    }
}

#[test]
fn r27_connect_and_trace_are_refused_and_unknown_methods_pass() {
    let method = |method: &str| get().method(method).header("host", "app.example");
    for refused in ["CONNECT", "TRACE"] {
        let refused = admit(method(refused)).unwrap_err();
        assert_eq!((status(&refused), &refused), (405, &GateError::MethodRefused {}));
    }
    assert!(admit(method("BREW")).is_ok());
    assert!(admit(get().uri("*").method("OPTIONS").header("host", "app.example")).is_ok());
    let asterisk = get().uri("*").header("host", "app.example");
    assert_eq!(admit(asterisk).unwrap_err(), GateError::TargetInvalid {});

    let gate = RequestGate::new().allow_extended_connect(true);
    let extended = Builder::new().method("CONNECT").uri("https://app.example/chat").version(Version::HTTP_2);
    assert!(gate.admit(&extended.body(()).unwrap(), None).is_ok());
    assert!(gate.admit(&method("CONNECT").body(()).unwrap(), None).is_err());
}

#[test]
fn r28_the_only_expectation_is_100_continue() {
    let expect = |value: &str| get().header("host", "app.example").header("expect", value);
    assert!(admit(expect("100-Continue")).is_ok());
    let refused = admit(expect("200-ok")).unwrap_err();
    assert_eq!((status(&refused), &refused), (417, &GateError::ExpectationUnknown {}));
}

fn admit(request: Builder) -> Result<Admitted, GateError> {
    RequestGate::new().admit(&request.body(()).unwrap(), None)
}

fn get() -> Builder {
    Builder::new().uri("/")
}

fn post() -> Builder {
    get().method("POST").header("host", "app.example")
}

fn status(error: &GateError) -> u16 {
    Refusal::from(error).status()
}
