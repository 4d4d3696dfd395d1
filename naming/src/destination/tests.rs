use alloc::{format, vec};

use proptest::prelude::*;

use super::*;
use crate::HostSource;

fn zones() -> Zones {
    let plain = Zone::parse("plain.example").unwrap().with_port_keys(false);
    let all = ["tunnel.example", "eu.tunnel.example", "localhost"].map(|domain| Zone::parse(domain).unwrap());
    Zones::new(all.into_iter().chain([plain])).unwrap()
}

/// A short form of what a host leads to.
fn leads_to(host: &str) -> alloc::string::String {
    let host = Host::parse(host.as_bytes(), HostSource::Header).unwrap();
    match zones().classify(&host) {
        Destination::TunnelByName { zone, name } => format!("name {name} in {zone}"),
        Destination::TunnelByKey { zone, port, key } => format!("port {port} key {key} in {zone}"),
        Destination::Zone { zone } => format!("zone {zone}"),
        Destination::Custom { domain } => format!("custom {domain}"),
        Destination::Foreign => "foreign".into(),
    }
}

#[test]
fn each_kind_of_host_is_told_apart() {
    for (host, destination) in [
        ("my-app.tunnel.example", "name my-app in tunnel.example"),
        ("my-app.localhost:8080", "name my-app in localhost"),
        ("3000-k2x.tunnel.example", "port 3000 key k2x in tunnel.example"),
        ("tunnel.example", "zone tunnel.example"),
        ("localhost", "zone localhost"),
        ("shop.customer.test", "custom shop.customer.test"),
        ("xn--bcher-kva.test", "custom xn--bcher-kva.test"),
        ("192.0.2.1", "foreign"),
        ("[2001:db8::1]:443", "foreign"),
    ] {
        assert_eq!(leads_to(host), destination, "{host}");
    }
}

#[test]
fn r02_capitals_port_and_trailing_dot_lead_to_the_same_tunnel() {
    for host in [
        "my-app.tunnel.example",
        "MY-App.Tunnel.EXAMPLE",
        "my-app.tunnel.example.",
        "my-app.tunnel.example.:443",
    ] {
        assert_eq!(leads_to(host), "name my-app in tunnel.example", "{host}");
    }
}

#[test]
fn r04_parents_two_labels_suffix_tricks_underscores_and_punycode_are_foreign() {
    for host in [
        "example",               // parent of a zone
        "a.b.tunnel.example",    // two labels
        "a.b.c.tunnel.example",  // three
        "my_app.tunnel.example", // underscore
        "xn--bcher-kva.tunnel.example",
        "ab.tunnel.example", // too short for a name
        "a.b.eu.tunnel.example",
        "intranet",
    ] {
        assert_eq!(leads_to(host), "foreign", "{host}");
    }
    // The text ends like a zone, the labels don't.
    assert_eq!(leads_to("app.notunnel.example"), "custom app.notunnel.example");
    assert_eq!(leads_to("my-apptunnel.example"), "custom my-apptunnel.example");
    assert_eq!(leads_to("tunnel.example.evil.test"), "custom tunnel.example.evil.test");
}

#[test]
fn r12_t25_numbers_that_some_parser_takes_for_addresses_lead_nowhere() {
    for host in ["127.1", "0x7f.1", "2130706433", "0177.0.0.1", "1.2.3.256", "shop.0x10", "0x7f000001", "a.1"]
    {
        assert_eq!(leads_to(host), "foreign", "{host}");
    }
}

#[test]
fn n07_a_label_with_a_port_in_front_is_never_a_name_where_keys_are_on() {
    for label in ["99999-x", "0-x", "03000-abc", "3000--x", "3000-", "3000-x_y"] {
        let host = format!("{label}.tunnel.example");
        if Host::parse(host.as_bytes(), HostSource::Header).is_ok() {
            assert_eq!(leads_to(&host), "foreign", "{host}");
        }
    }
    assert_eq!(leads_to("3000-x.tunnel.example"), "port 3000 key x in tunnel.example");
    assert_eq!(leads_to("3000-x.plain.example"), "name 3000-x in plain.example");
    assert_eq!(leads_to("123456-x.tunnel.example"), "name 123456-x in tunnel.example");
    assert_eq!(leads_to("3000.tunnel.example"), "name 3000 in tunnel.example");
}

#[test]
fn the_innermost_zone_has_the_host_and_hides_the_name_outside() {
    assert_eq!(leads_to("eu.tunnel.example"), "zone eu.tunnel.example");
    assert_eq!(leads_to("my-app.eu.tunnel.example"), "name my-app in eu.tunnel.example");
    let deep = ["tunnel.example", "one.two.tunnel.example"].map(|domain| Zone::parse(domain).unwrap());
    let zones = Zones::new(deep).unwrap();
    let outer = zones.zone("tunnel.example").unwrap();
    for (text, reachable) in [("two", false), ("one", true), ("3000-x", false)] {
        let name = TunnelNameRef::parse(text).unwrap();
        assert_eq!(zones.is_reachable(name, outer), reachable, "{text}");
    }
}

#[test]
fn tenants_bring_no_domain_of_a_zone() {
    for (text, served) in [
        ("shop.customer.test", true),
        ("tunnel.example", false),
        ("shop.tunnel.example", false),
        ("a.b.tunnel.example", false),
        ("customer.test", true),
    ] {
        assert_eq!(zones().can_serve(CustomDomainRef::parse(text).unwrap()), served, "{text}");
    }
    let zones = Zones::new([Zone::parse("t.acme.test").unwrap()]).unwrap();
    assert!(!zones.can_serve(CustomDomainRef::parse("acme.test").unwrap()), "above a zone");
}

#[test]
fn the_same_zone_twice_is_refused() {
    let zone = Zone::parse("tunnel.example").unwrap();
    let plain = zone.clone().with_port_keys(false);
    assert_eq!(
        Zones::new(vec![zone, plain]).unwrap_err(),
        ZonesError::Twice { zone: "tunnel.example".into() }
    );
}

proptest! {
    /// The model goes through the labels one by one and knows nothing of text.
    #[test]
    fn matching_is_on_labels(host in "([a-z0-9-]{1,5}\\.){0,3}(eu\\.)?(tunnel|plain|notunnel)\\.example") {
        let Ok(host) = Host::parse(host.as_bytes(), HostSource::Header) else { return Ok(()) };
        let zones = zones();
        let labels: Vec<&str> = host.domain().unwrap().split('.').collect();
        let innermost = (0..labels.len()).find_map(|at| {
            let wanted = &labels[at..];
            zones.iter().find(|zone| zone.as_str().split('.').eq(wanted.iter().copied())).map(|zone| (at, zone))
        });
        match (innermost, zones.classify(&host)) {
            (Some((0, ours)), Destination::Zone { zone }) => prop_assert_eq!(ours, zone),
            (Some((1, ours)), Destination::TunnelByName { zone, name }) => {
                prop_assert_eq!(ours, zone);
                prop_assert_eq!(name.as_str(), labels[0]);
            }
            (Some((1, ours)), Destination::TunnelByKey { zone, port, key }) => {
                prop_assert_eq!(ours, zone);
                prop_assert_eq!(format!("{port}-{key}"), labels[0]);
            }
            (Some((1.., _)), Destination::Foreign) | (None, Destination::Foreign | Destination::Custom { .. }) => {}
            (expected, found) => prop_assert!(false, "{:?} {:?}", expected, found),
        }
    }
}
