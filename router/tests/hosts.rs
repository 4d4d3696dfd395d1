//! Hosts with a port and a sealed key, from the octets of a `Host` field to the tunnel.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, missing_docs, reason = "a test")]

use adit_naming::keys::{KeyRing, RingKey};
use adit_naming::{Destination, Host, HostSource, TunnelNameRef, Zone, Zones};
use adit_router::{RouteKey, RouteTable, TunnelId};

#[test]
fn a_host_with_a_port_and_a_key_leads_to_the_tunnel_that_the_key_was_sealed_for() {
    let zones = Zones::new([Zone::parse("tunnel.example").unwrap().with_port_keys(true)]).unwrap();
    let ring = KeyRing::new(RingKey::new(1, [7; 32]).unwrap());
    let foreign = KeyRing::new(RingKey::new(1, [8; 32]).unwrap());
    let table = RouteTable::<()>::new();
    let id = TunnelId::from_u128(7);
    table.publish(id, [RouteKey::name(TunnelNameRef::parse("my-app").unwrap()).into_owned()], ()).unwrap();
    let find = |host: String| {
        let host = Host::parse(host.as_bytes(), HostSource::Header).unwrap();
        let destination = zones.classify(&host);
        let port = match destination {
            Destination::TunnelByKey { port, .. } => Some(port),
            _ => None,
        };
        let key = RouteKey::of(destination, |label| ring.open(label).ok())?;
        Some((table.find(key)?.id(), port))
    };
    let sealed = ring.seal(id);
    let host = |port: &str, key: &str| format!("{port}-{key}.tunnel.example");
    assert_eq!(find(host("3000", sealed.as_str())), Some((id, Some(3000))));
    assert_eq!(find(host("8080", sealed.as_str())), Some((id, Some(8080))));
    assert_eq!(find("my-app.tunnel.example".to_owned()), Some((id, None)), "by name, too");
    assert_eq!(find(host("3000", foreign.seal(id).as_str())), None, "sealed by somebody else");
    assert_eq!(find(host("3000", ring.seal(TunnelId::from_u128(8)).as_str())), None, "no such tunnel");
}

#[test]
fn r04_hosts_that_only_look_like_a_tunnels_lead_to_none() {
    let zones = Zones::new([Zone::parse("tunnel.example").unwrap()]).unwrap();
    let table = RouteTable::<()>::new();
    for (number, name) in (1..).zip(["my-app", "app", "example", "evil"]) {
        let key = RouteKey::name(TunnelNameRef::parse(name).unwrap()).into_owned();
        table.publish(TunnelId::from_u128(number), [key], ()).unwrap();
    }
    let find = |host: &str| {
        let host = Host::parse(host.as_bytes(), HostSource::Header).unwrap();
        let key = RouteKey::of(zones.classify(&host), |_| Some(TunnelId::from_u128(1)))?;
        table.find(key).map(|tunnel| tunnel.id())
    };
    assert_eq!(find("my-app.tunnel.example"), Some(TunnelId::from_u128(1)));
    for host in [
        "my-app.other.example",
        "my-app",
        "example",
        "tunnel.example",
        "my-app.example",
        "a.my-app.tunnel.example",
        "my-app.tunnel.example.evil.test",
        "evil-tunnel.example",
        "my-apptunnel.example",
        "my_app.tunnel.example",
        "my--app.tunnel.example",
        "xn--my-app-x1a.tunnel.example",
    ] {
        assert_eq!(find(host), None, "{host}");
    }
}
