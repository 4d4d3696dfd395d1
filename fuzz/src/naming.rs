//! Names, hosts, addresses and key labels.

use adit_naming::{
    CustomDomain, Description, Destination, DisplayName, Endpoint, Host, HostSource, KeyLabelRef, NameRules,
    PortPrefix, Service, Skeleton, Target, TunnelId, TunnelName, TunnelNameRef, Zone, Zones,
    keys::{KeyRing, RingKey},
};

/// A name is what the words say; errors point into the text; suggestions are names and stay as they are.
pub fn name(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match TunnelNameRef::parse(text) {
        Ok(name) => {
            assert_eq!(name.as_str(), text);
            assert!(by_the_words(text));
            assert_eq!(TunnelName::suggest(text).as_ref(), Some(&name.to_owned()));
            let skeleton = Skeleton::of_name(name);
            assert!(
                skeleton.as_str().len() <= text.len() && !skeleton.as_str().contains(['-', '0', '1', 'i'])
            );
        }
        Err(error) => {
            assert!(!by_the_words(text));
            assert!(error.at().is_none_or(|at| at < text.len() && text.is_char_boundary(at)));
            assert!(error.to_string().len() < 200);
        }
    }
    if let Some(near) = TunnelName::suggest(text) {
        assert!(by_the_words(near.as_str()));
    }
    if let Ok(folded) = TunnelName::parse_folded(text) {
        assert_eq!(folded, text.to_ascii_lowercase().as_str());
    }
    if let Err(refusal) = NameRules::default().admit(text) {
        assert!(refusal.suggestion().is_none_or(|name| NameRules::default().admit(name.as_str()).is_ok()));
    }
    let _ = (DisplayName::parse(text), Description::parse(text));
}

/// A host prints as what it parses to again; all sources agree about a domain; what leads to a tunnel is that tunnel's host.
pub fn host(data: &[u8]) {
    let sources = [HostSource::Header, HostSource::Authority, HostSource::Sni];
    let [header, authority, sni] = sources.map(|source| Host::parse(data, source));
    assert_eq!(header, authority);
    if let (Ok(ours), Ok(theirs)) = (&header, &sni)
        && ours.domain().is_some()
    {
        assert_eq!(ours.domain(), theirs.domain());
    }
    let zones =
        ["tunnel.example", "eu.tunnel.example", "localhost"].map(|zone| Zone::parse(zone).expect("a zone"));
    let zones = Zones::new(zones).expect("three zones");
    for host in [header, sni].into_iter().flatten() {
        let again = Host::parse(host.to_string().as_bytes(), HostSource::Header).expect("canonical");
        assert_eq!(again, host);
        match zones.classify(&host) {
            Destination::TunnelByName { zone, name } => {
                assert_eq!(host.domain(), Some(&*zone.host_of(name)));
                assert!(zones.is_reachable(name, zone));
            }
            Destination::TunnelByKey { zone, port, key } => {
                assert_eq!(host.domain(), Some(&*zone.host_of_key(port, key)));
            }
            Destination::Zone { zone } => assert_eq!(host.domain(), Some(zone.as_str())),
            Destination::Custom { domain } => {
                assert_eq!(host.domain(), Some(domain.as_str()));
                assert!(CustomDomain::parse(domain.as_str()).is_ok() && zones.can_serve(domain));
            }
            Destination::Foreign => {}
        }
    }
}

/// Targets and addresses print as what they parse to again, and what is pasted is one line of safe characters.
pub fn endpoint(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(target) = Target::parse(text) {
        assert_eq!(Target::parse(&target.to_string()).as_ref(), Ok(&target));
        assert_eq!(Target::new(&target.host().to_string(), target.port()).as_ref(), Ok(&target));
        let _ = target.risk();
    }
    let Ok(endpoint) = Endpoint::parse(text) else { return };
    assert_eq!(Endpoint::parse(&endpoint.to_string()).as_ref(), Ok(&endpoint));
    for service in [Service::Ssh, Service::Grpc, Service::PostgreSql, Service::choose(None, endpoint.port())]
    {
        let string = endpoint.connect_with(service);
        let string =
            string.clone().with_user(text).and_then(|with| with.with_database(text)).unwrap_or(string);
        let pasted = string.to_string();
        assert!(
            pasted.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" -._:/@[]".contains(&byte)),
            "{pasted}"
        );
    }
}

/// The first 17 bytes are a number and an id to seal; what is sealed opens, and the rest opens only if it is that.
pub fn key_label(data: &[u8]) {
    let (head, rest) = data.split_at(data.len().min(17));
    let number = head.first().map_or(0, |number| number % 32);
    let mut id = [0; 16];
    for (place, byte) in id.iter_mut().zip(head.iter().skip(1)) {
        *place = *byte;
    }
    let ring = KeyRing::new(RingKey::new(number, [0x5a; 32]).expect("below 32"));
    let key = ring.seal(TunnelId::from_bytes(id));
    assert_eq!(ring.open(key.label()), Ok(TunnelId::from_bytes(id)));
    let Ok(text) = std::str::from_utf8(rest) else { return };
    if let Some(label) = KeyLabelRef::parse(text) {
        if let Ok(opened) = ring.open(label) {
            assert_eq!(ring.seal(opened).as_str(), text);
        }
        let host = format!("65535-{text}");
        let prefix = PortPrefix::of(&host).expect("a port and a key");
        assert_eq!((prefix.port(), prefix.key()), (Some(65535), Some(label)));
    }
}

fn by_the_words(text: &str) -> bool {
    (3..=63).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.contains("--")
}
