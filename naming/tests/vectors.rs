//! The vectors in `vectors/` hold here, and together they break every rule.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test")]

use std::{collections::BTreeSet, path::Path};

use adit_naming::{
    AgentHandle, Description, Destination, DisplayName, DisplayTextError, Endpoint, EndpointError, Host,
    HostError, HostSource, NameRefusal, NameRule, NameRules, Service, ShareName, Skeleton, Target,
    TargetError, TargetRisk, TunnelName, TunnelNameRef, Zone, Zones,
};
use serde_json::{Value, json};

#[test]
fn names() {
    let file = load("names");
    let mut rules = BTreeSet::new();
    for vector in vectors(&file) {
        let input = text(vector, "input");
        match TunnelName::parse(input) {
            Ok(name) => {
                assert_eq!((text(vector, "verdict"), text(vector, "canonical")), ("accept", name.as_str()))
            }
            Err(error) => {
                assert_eq!(
                    (text(vector, "verdict"), text(vector, "rule")),
                    ("refuse", error.rule().as_str()),
                    "{input:?}"
                );
                assert_eq!(vector["at"], json!(error.at()), "{input:?}");
                assert_eq!(
                    vector["suggestion"],
                    json!(TunnelName::suggest(input).as_ref().map(TunnelName::as_str))
                );
                assert_eq!(
                    vector["folded"],
                    json!(TunnelName::parse_folded(input).ok().as_ref().map(TunnelName::as_str))
                );
                rules.insert(error.rule().as_str());
            }
        }
        assert_eq!(AgentHandle::parse(input).is_ok(), TunnelName::parse(input).is_ok(), "{input:?}");
    }
    let all: BTreeSet<&str> = NameRule::ALL.iter().map(|rule| rule.as_str()).collect();
    assert_eq!(rules, all);
}

#[test]
fn hosts() {
    let file = load("hosts");
    let zones = file["zones"].as_array().unwrap().iter();
    let zones = zones.map(|zone| {
        let port_keys = zone["port_keys"].as_bool().unwrap();
        Zone::parse(text(zone, "zone")).unwrap().with_port_keys(port_keys)
    });
    let zones = Zones::new(zones).unwrap();
    let (mut rules, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for vector in vectors(&file) {
        let (input, source) = (text(vector, "input"), source(text(vector, "source")));
        match Host::parse(input.as_bytes(), source) {
            Ok(host) => {
                assert_eq!(
                    (text(vector, "verdict"), text(vector, "canonical")),
                    ("accept", &*host.to_string()),
                    "{input:?}"
                );
                assert_eq!(vector["port"], json!(host.port()), "{input:?}");
                let leads_to = destination(zones.classify(&host));
                assert_eq!(vector["leads_to"], leads_to, "{input:?}");
                kinds.insert(text(&leads_to, "kind").to_owned());
            }
            Err(error) => {
                assert_eq!(
                    (text(vector, "verdict"), text(vector, "rule")),
                    ("refuse", error.rule()),
                    "{input:?}"
                );
                assert_eq!(vector["at"], json!(error.at()), "{input:?}");
                rules.insert(error.rule());
            }
        }
    }
    assert_eq!(rules, HostError::RULES.iter().copied().collect());
    assert_eq!(kinds.len(), 5, "every kind of destination");
}

#[test]
fn reserved() {
    let file = load("reserved");
    let rules = NameRules::default();
    let mut broken = BTreeSet::from(["filtered"]); // that rule is yours
    for vector in vectors(&file) {
        let input = text(vector, "input");
        match rules.admit(input) {
            Ok(_) => assert_eq!(text(vector, "verdict"), "accept", "{input:?}"),
            Err(refusal) => {
                assert_eq!(
                    (text(vector, "verdict"), text(vector, "rule")),
                    ("refuse", refusal.rule()),
                    "{input:?}"
                );
                assert_eq!(text(vector, "code"), refusal.code(), "{input:?}");
                broken.insert(refusal.rule());
                if let NameRefusal::LooksReserved { like } = refusal {
                    assert_eq!(text(vector, "like"), &*like, "{input:?}");
                }
            }
        }
    }
    assert_eq!(broken, NameRefusal::RULES.iter().copied().collect());
    for pair in file["skeletons"].as_array().unwrap() {
        let name = TunnelNameRef::parse(text(pair, "name")).unwrap();
        assert_eq!(Skeleton::of_name(name).as_str(), text(pair, "skeleton"), "{name}");
    }
}

#[test]
fn texts() {
    let file = load("texts");
    let mut rules = BTreeSet::new();
    for vector in vectors(&file) {
        let input = text(vector, "input");
        let result = match text(vector, "kind") {
            "display_name" => DisplayName::parse(input).map(drop),
            "share_name" => ShareName::parse(input).map(drop),
            "description" => Description::parse(input).map(drop),
            kind => panic!("unknown kind {kind}"),
        };
        match result {
            Ok(()) => assert_eq!(text(vector, "verdict"), "accept", "{input:?}"),
            Err(error) => {
                assert_eq!(
                    (text(vector, "verdict"), text(vector, "rule")),
                    ("refuse", error.rule()),
                    "{input:?}"
                );
                assert_eq!(vector["at"], json!(error.at()), "{input:?}");
                rules.insert(error.rule());
            }
        }
    }
    assert_eq!(rules, DisplayTextError::RULES.iter().copied().collect());
}

#[cfg(feature = "keys")]
#[test]
fn keys() {
    use adit_naming::{
        KeyLabelRef, TunnelId,
        keys::{KeyRing, OpenKeyError, RingKey},
    };

    let file = load("keys");
    let ring_key = |at: usize| {
        let entry = &file["ring"][at];
        let secret = text(entry, "secret");
        let bytes: Vec<u8> =
            (0..32).map(|at| u8::from_str_radix(&secret[at * 2..at * 2 + 2], 16).unwrap()).collect();
        RingKey::new(u8::try_from(entry["number"].as_u64().unwrap()).unwrap(), bytes.try_into().unwrap())
            .unwrap()
    };
    let rings = [(0, 1), (1, 0)]
        .map(|(seals, opens)| KeyRing::new(ring_key(seals)).with_opening(ring_key(opens)).unwrap());
    let mut rules = BTreeSet::new();
    for vector in vectors(&file) {
        let key = KeyLabelRef::parse(text(vector, "key")).unwrap();
        match rings[0].open(key) {
            Ok(id) => {
                assert_eq!(text(vector, "verdict"), "open", "{key}");
                assert_eq!(u128::from_str_radix(text(vector, "id"), 16).unwrap(), id.as_u128(), "{key}");
                let ring = rings.iter().find(|ring| ring.is_current(key)).unwrap();
                assert_eq!(ring.seal(TunnelId::from_u128(id.as_u128())).as_str(), key.as_str());
            }
            Err(error) => {
                let rule = match error {
                    OpenKeyError::Malformed {} => "malformed",
                    OpenKeyError::UnknownSecret { .. } => "unknown_secret",
                    OpenKeyError::Forged {} => "forged",
                    other => panic!("no vector knows {other}"),
                };
                assert_eq!((text(vector, "verdict"), text(vector, "rule")), ("refuse", rule), "{key}");
                rules.insert(rule);
            }
        }
    }
    assert_eq!(rules.len(), 3);
}

#[test]
fn addresses() {
    let file = load("addresses");
    let mut rules = BTreeSet::new();
    for vector in vectors(&file) {
        let input = text(vector, "input");
        let result = match text(vector, "kind") {
            "target" => Target::parse(input)
                .inspect(|target| assert_eq!(vector["risk"], json!(target.risk().map(risk)), "{input:?}"))
                .map(|target| target.to_string())
                .map_err(|error| target_rule(&error)),
            "endpoint" => Endpoint::parse(input)
                .map(|endpoint| endpoint.to_string())
                .map_err(|error| endpoint_rule(&error)),
            kind => panic!("unknown kind {kind}"),
        };
        match result {
            Ok(canonical) => {
                assert_eq!((text(vector, "verdict"), text(vector, "canonical")), ("accept", &*canonical))
            }
            Err(rule) => {
                assert_eq!((text(vector, "verdict"), text(vector, "rule")), ("refuse", rule), "{input:?}");
                rules.insert(rule);
            }
        }
    }
    let all = ["host", "invalid_port", "missing_port", "numeric_name", "unknown_scheme"];
    assert_eq!(rules, BTreeSet::from(all));
    for vector in file["connection_strings"].as_array().unwrap() {
        let named = vector["protocol"].as_str().map(|name| Service::of_name(name).unwrap());
        let port = u16::try_from(vector["upstream_port"].as_u64().unwrap()).unwrap();
        let endpoint = Endpoint::parse(text(vector, "endpoint")).unwrap();
        let paste = endpoint.connect_with(Service::choose(named, port)).to_string();
        assert_eq!(text(vector, "paste"), paste);
    }
}

#[test]
fn every_file_of_vectors_is_run() {
    let files: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let run = ["addresses", "hosts", "keys", "names", "reserved", "texts"].map(|name| format!("{name}.json"));
    assert_eq!(files, BTreeSet::from(run));
}

fn source(name: &str) -> HostSource {
    match name {
        "header" => HostSource::Header,
        "authority" => HostSource::Authority,
        "sni" => HostSource::Sni,
        other => panic!("unknown source {other}"),
    }
}

fn destination(destination: Destination<'_>) -> Value {
    match destination {
        Destination::TunnelByName { zone, name } => {
            json!({ "kind": "tunnel_by_name", "zone": zone.as_str(), "name": name.as_str() })
        }
        Destination::TunnelByKey { zone, port, key } => {
            json!({ "kind": "tunnel_by_key", "zone": zone.as_str(), "port": port, "key": key.as_str() })
        }
        Destination::Zone { zone } => json!({ "kind": "zone", "zone": zone.as_str() }),
        Destination::Custom { domain } => json!({ "kind": "custom", "domain": domain.as_str() }),
        Destination::Foreign => json!({ "kind": "foreign" }),
    }
}

fn risk(risk: TargetRisk) -> &'static str {
    match risk {
        TargetRisk::Metadata => "metadata",
        TargetRisk::LinkLocal => "link_local",
        TargetRisk::Unspecified => "unspecified",
        TargetRisk::Multicast => "multicast",
        other => panic!("no vector knows {other:?}"),
    }
}

fn target_rule(error: &TargetError) -> &'static str {
    match error {
        TargetError::Host { .. } => "host",
        TargetError::MissingPort {} => "missing_port",
        TargetError::InvalidPort {} => "invalid_port",
        TargetError::NumericName {} => "numeric_name",
        other => panic!("no vector knows {other}"),
    }
}

fn endpoint_rule(error: &EndpointError) -> &'static str {
    match error {
        EndpointError::UnknownScheme {} => "unknown_scheme",
        EndpointError::Host { .. } => "host",
        EndpointError::MissingPort {} => "missing_port",
        other => panic!("no vector knows {other}"),
    }
}

fn vectors(file: &Value) -> &[Value] {
    file["vectors"].as_array().unwrap()
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_else(|| panic!("no text {field} in {object}"))
}

fn load(name: &str) -> Value {
    let path = folder().join(name).with_extension("json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/vectors"))
}
