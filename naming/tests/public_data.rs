//! Names that other projects collected, and a few like them in the tree.
//!
//! `ADIT_DATA` names a folder with `naming/boulder_names.json`, `naming/IdnaTestV2.txt` and the Punycode tests; without it
//! those parts are skipped, and say so.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{fs, path::PathBuf};

use adit_naming::{CustomDomain, Destination, Host, HostSource, TunnelName, Zone, Zones};
use serde_json::Value;

const SOURCES: [HostSource; 3] = [HostSource::Header, HostSource::Authority, HostSource::Sni];

/// Names of the kinds that a public authority refuses: characters, addresses, labels, wildcards, dots, reserved hyphens.
const ODD_NAMES: [&str; 24] = [
    "",
    "wow!.com",
    "mail@host.example",
    "user:secret@host.example",
    "z\u{f6}o.example",
    "127.0.0.1",
    "fe80::1",
    "[2001:db8::1]",
    "2001:db8::/32",
    "-a.example",
    "a-.example",
    "xn--.example",
    "0",
    "*",
    "*.example",
    "a*b",
    "..a",
    ".",
    "www.host.example.",
    "www.a_b.example",
    "\u{FEFF}www.host.example",
    "www.host\u{202E}.example",
    "bq--abwhky3f6fxq.host.example",
    "localhost",
];

#[test]
fn n19_odd_names_are_never_a_tunnel_and_make_no_other_one() {
    for name in ODD_NAMES {
        leads_to_no_tunnel(name);
    }
    let Some(text) = data("boulder_names.json") else { return };
    let file: Value = serde_json::from_str(&text).unwrap();
    let names = file["names"].as_array().unwrap();
    for entry in names {
        leads_to_no_tunnel(entry["name"].as_str().unwrap());
    }
    println!("{} names of boulder lead to no tunnel", names.len());
    assert_eq!(names.len(), 59);
}

#[test]
fn n17_internationalized_labels_never_become_ascii_names() {
    for label in
        ["xn--example-", "xn--admin-", "xn--", "xn--a", "\u{FF41}dmin", "faß", "xn--fa-hia", "admin\u{AD}"]
    {
        never_becomes_another_name(label);
    }
    let Some(text) = data("IdnaTestV2.txt") else { return };
    let mut lines = 0;
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let column = line.split(';').next().unwrap().trim();
        let column = if column == "\"\"" { "" } else { column };
        never_becomes_another_name(&unescape(column));
        lines += 1;
    }
    println!("{lines} lines of IdnaTestV2 became no other name");
    assert!(lines > 6000);
}

#[test]
fn n17_punycode_is_never_decoded_into_a_name() {
    for file in ["punycode_tests.json", "bad_punycode_tests.json"] {
        let Some(text) = data(file) else { return };
        let cases: Value = serde_json::from_str(&text).unwrap();
        for case in cases.as_array().unwrap() {
            for field in ["decoded", "encoded"] {
                let Some(text) = case[field].as_str() else { continue };
                never_becomes_another_name(text);
                never_becomes_another_name(&format!("xn--{text}"));
            }
        }
        println!("{} cases of {file} became no other name", cases.as_array().unwrap().len());
    }
}

/// Whatever the name, neither a gateway with that zone nor one with any other takes it for a tunnel.
fn leads_to_no_tunnel(name: &str) {
    let zones = Zones::new(["tunnel.example"].map(|zone| Zone::parse(zone).unwrap())).unwrap();
    for source in SOURCES {
        if let Ok(host) = Host::parse(name.as_bytes(), source) {
            let destination = zones.classify(&host);
            assert!(matches!(destination, Destination::Custom { .. } | Destination::Foreign), "{name:?}");
        }
    }
    if let Ok(domain) = CustomDomain::parse(name) {
        assert_eq!(domain, name, "a custom domain is kept as it stands");
    }
}

/// A label or domain is the tunnel of that name if it is plain `a-z0-9-` by the rules, and nothing else ever.
fn never_becomes_another_name(text: &str) {
    if let Ok(name) = TunnelName::parse_folded(text) {
        assert_eq!(name, text.to_ascii_lowercase().as_str());
        assert!(!name.as_str().starts_with("xn--"));
    }
    let zones = Zones::new(["tunnel.example"].map(|zone| Zone::parse(zone).unwrap())).unwrap();
    for host in [format!("{text}.tunnel.example"), text.to_owned()] {
        for source in SOURCES {
            let Ok(parsed) = Host::parse(host.as_bytes(), source) else { continue };
            let Some(domain) = parsed.domain() else { continue };
            // HTTP drops one dot at the end and a port; case is all that may differ beyond that.
            let plain = host.split(':').next().unwrap_or_default();
            let plain = plain.strip_suffix('.').unwrap_or(plain);
            assert_eq!(domain, plain.to_ascii_lowercase(), "{text:?}");
            if let Destination::TunnelByName { name, .. } = zones.classify(&parsed) {
                assert_eq!(name.as_str(), text.to_ascii_lowercase(), "{text:?}");
            }
        }
    }
    #[cfg(feature = "idn")]
    if let Ok(domain) = CustomDomain::from_unicode(text) {
        let written = text.to_ascii_lowercase();
        assert!(domain == *written || domain.as_str().contains("xn--"), "{text:?} became {domain}");
        let labels = written.split('.').zip(domain.as_str().split('.'));
        assert!(labels.clone().count() == written.split('.').count(), "{text:?} became {domain}");
        for (before, after) in labels {
            assert!(
                before == after || after.starts_with("xn--") && !before.is_ascii(),
                "{text:?} became {domain}"
            );
        }
    }
}

/// `\uXXXX` and `\x{XXXX}` as in the comments of IdnaTestV2; a lone surrogate becomes U+FFFD.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\\u") {
        out.push_str(&rest[..at]);
        let (hex, after) = rest[at + 2..].split_at(4);
        let code = u32::from_str_radix(hex, 16).unwrap();
        out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        rest = after;
    }
    out.push_str(rest);
    out
}

fn data(file: &str) -> Option<String> {
    let Some(folder) = std::env::var_os("ADIT_DATA") else {
        println!("skipped: ADIT_DATA is not set");
        return None;
    };
    let path = PathBuf::from(folder).join("naming").join(file);
    Some(fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}
