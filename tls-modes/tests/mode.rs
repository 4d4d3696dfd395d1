//! Who ends TLS: the cases T-16, T-24, T-30, T-32, T-43 to T-46, T-49 and T-54.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use adit_tls_modes::{
    AlertDescription, ClientHello, Domain, Mode, ModePolicy, ModeRefusal, NameStanding, choose_mode,
};

use support::HelloBuilder;

mod support;

#[test]
fn t16_t24_t46_no_name_is_refused_by_the_version_offered_and_nobody_is_asked() {
    let tls12 = HelloBuilder::new().without(43);
    for (hello, alert) in [
        (HelloBuilder::new(), AlertDescription::MISSING_EXTENSION),
        (HelloBuilder::host("192.0.2.1"), AlertDescription::MISSING_EXTENSION),
        (HelloBuilder::new().extension(0xffce, vec![0]), AlertDescription::MISSING_EXTENSION),
        (tls12.clone(), AlertDescription::UNRECOGNIZED_NAME),
        (HelloBuilder { extensions: None, ..tls12 }, AlertDescription::UNRECOGNIZED_NAME),
    ] {
        let hello = parse(&hello);
        let mode = choose_mode(&hello, &ModePolicy::new(), |name| panic!("asked for {name}"));
        let Mode::Refuse { reason } = mode else { panic!("{mode:?}") };
        assert_eq!(reason.alert(), alert);
    }
}

#[test]
fn t30_t32_t54_what_the_router_knows_decides() {
    let hello = parse(&HelloBuilder::host("App.Tunnel.Example"));
    let name = hello.server_name().unwrap();
    let refused = |reason| Mode::Refuse { reason };
    for (standing, expected) in [
        (NameStanding::Passthrough(Domain::Zone), Mode::Passthrough { name }),
        (NameStanding::Passthrough(Domain::Custom), Mode::Passthrough { name }),
        (NameStanding::Edge, Mode::Edge { name }),
        (NameStanding::OwnHost, Mode::Edge { name }),
        (NameStanding::Unknown, refused(ModeRefusal::UnknownName)),
        (NameStanding::PassthroughClosed, refused(ModeRefusal::PassthroughClosed)),
        (NameStanding::AgentOffline, refused(ModeRefusal::AgentOffline)),
    ] {
        let mode = choose_mode(&hello, &ModePolicy::new(), |asked| {
            assert_eq!(asked.as_str(), "app.tunnel.example");
            standing
        });
        assert_eq!(mode, expected);
    }
    assert_eq!(ModeRefusal::UnknownName.alert(), AlertDescription::UNRECOGNIZED_NAME);
    assert_eq!(ModeRefusal::PassthroughClosed.alert(), AlertDescription::UNRECOGNIZED_NAME);
    assert_eq!(ModeRefusal::AgentOffline.alert(), AlertDescription::INTERNAL_ERROR);
}

#[test]
fn t43_t44_old_and_unknown_versions_pass_through_and_end_at_the_edge() {
    let mut tls10 = HelloBuilder::host("a.example").without(43);
    tls10.legacy_version = 0x0301;
    let unknown = HelloBuilder::host("a.example").without(43).extension(43, vec![2, 0x7f, 0x1c]);
    for hello in [parse(&tls10), parse(&unknown)] {
        assert!(matches!(choose(&hello, NameStanding::Passthrough(Domain::Zone)), Mode::Passthrough { .. }));
        let mode = choose(&hello, NameStanding::Edge);
        assert_eq!(mode, Mode::Refuse { reason: ModeRefusal::UnsupportedVersion });
    }
    assert_eq!(ModeRefusal::UnsupportedVersion.alert(), AlertDescription::PROTOCOL_VERSION);
    let tls12 = parse(&HelloBuilder::host("a.example").without(43));
    assert!(matches!(choose(&tls12, NameStanding::Edge), Mode::Edge { .. }));
}

#[test]
fn t45_ech_goes_by_the_outer_name_unless_policy_refuses_it() {
    for ech in [vec![1], [&[0, 0, 1, 0, 1, 9, 0, 0, 0, 1][..], &[7]].concat()] {
        let hello = parse(&HelloBuilder::host("public.example").extension(0xfe0d, ech));
        assert!(matches!(choose(&hello, NameStanding::Edge), Mode::Edge { .. }));
        let strict = ModePolicy::new().refuse_ech(true);
        let mode = choose_mode(&hello, &strict, |_| NameStanding::Edge);
        assert_eq!(mode, Mode::Refuse { reason: ModeRefusal::EchNotPermitted });
    }
    let plain = parse(&HelloBuilder::host("public.example"));
    let mode = choose_mode(&plain, &ModePolicy::new().refuse_ech(true), |_| NameStanding::Edge);
    assert!(matches!(mode, Mode::Edge { .. }));
}

#[test]
fn t49_acme_challenges_reach_custom_domains_only() {
    let hello = parse(&HelloBuilder::host("a.example").alpn(&[b"acme-tls/1"]));
    let refused = Mode::Refuse { reason: ModeRefusal::AcmeNotPermitted };
    assert!(matches!(choose(&hello, NameStanding::Passthrough(Domain::Custom)), Mode::Passthrough { .. }));
    for standing in [NameStanding::Passthrough(Domain::Zone), NameStanding::Edge, NameStanding::OwnHost] {
        assert_eq!(choose(&hello, standing), refused);
    }
    // Offering it among others is no way around.
    let among = parse(&HelloBuilder::host("a.example").alpn(&[b"h2", b"acme-tls/1"]));
    assert_eq!(choose(&among, NameStanding::Passthrough(Domain::Zone)), refused);
    assert_eq!(ModeRefusal::AcmeNotPermitted.alert(), AlertDescription::NO_APPLICATION_PROTOCOL);
    let permissive = ModePolicy::new().acme_in_zones(true).acme_at_edge(true);
    for standing in [NameStanding::Passthrough(Domain::Zone), NameStanding::Edge, NameStanding::OwnHost] {
        assert!(!matches!(choose_mode(&hello, &permissive, |_| standing), Mode::Refuse { .. }));
    }
}

fn choose(hello: &ClientHello, standing: NameStanding) -> Mode<'_> {
    choose_mode(hello, &ModePolicy::new(), |_| standing)
}

fn parse(hello: &HelloBuilder) -> ClientHello {
    ClientHello::from_body(&hello.body()).unwrap()
}
