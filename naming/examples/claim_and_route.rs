//! What a gateway does with names: a small shell over rules, registry and zones.
//!
//! ```text
//! $ cargo run -p adit-naming --example claim_and_route -- My--App_ my-app adm1n 3000-x
//! $ cargo run -p adit-naming --example claim_and_route -- --host My-App.Tunnel.Example:443 127.0.0.1 a.b.tunnel.example
//! ```

use std::{env, process::ExitCode};

use adit_naming::{
    Destination, Endpoint, Host, HostSource, NameRules, Service, Timestamp, Zone, Zones,
    ownership::{MemoryStore, OwnerId, OwnershipRules, Registry},
};

fn main() -> ExitCode {
    let zone = Zone::parse("tunnel.example").expect("a zone that is written in the program");
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.is_empty() {
        arguments = ["My--App_", "my-app", "my-app", "adm1n", "3000-x"].map(String::from).to_vec();
    }
    let all_good = match arguments.split_first() {
        Some((flag, hosts)) if flag == "--host" => classify(zone, hosts),
        _ => claim(&zone, &arguments),
    };
    if all_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Claims each name, and shows the address that it makes or what to do about the refusal.
fn claim(zone: &Zone, names: &[String]) -> bool {
    let rules = NameRules::default();
    let mut registry = Registry::new(MemoryStore::new(), OwnershipRules::default());
    let now = Timestamp::from_unix_millis(1_800_000_000_000); // a gateway asks its clock
    let owner = OwnerId::from_u128(1);
    let mut refused = 0;
    for wish in names {
        let name = match rules.admit(wish) {
            Ok(name) => name,
            Err(refusal) => {
                refused += 1;
                println!("{wish:?}: {}: {refusal}", refusal.code());
                if let Some(name) = refusal.suggestion() {
                    println!("    try {name}");
                }
                continue;
            }
        };
        match registry.claim(name.borrowed(), owner, now) {
            Ok(claim) => println!("{name}: {}", address(&zone.host_of(claim.name()))),
            Err(error) => {
                refused += 1;
                println!("{name}: SUBDOMAIN_TAKEN: {error}");
            }
        }
    }
    refused == 0
}

/// Says where each host leads.
fn classify(zone: Zone, hosts: &[String]) -> bool {
    let zones = Zones::new([zone]).expect("one zone can't be there twice");
    let mut refused = 0;
    for text in hosts {
        let host = match Host::parse(text.as_bytes(), HostSource::Header) {
            Ok(host) => host,
            Err(error) => {
                refused += 1;
                println!("{text:?}: 400 VALIDATION_FAILED: {error}");
                continue;
            }
        };
        match zones.classify(&host) {
            Destination::TunnelByName { name, .. } => println!("{host}: the tunnel {name}"),
            Destination::TunnelByKey { port, .. } => {
                println!("{host}: port {port} of the tunnel that the key opens to")
            }
            Destination::Zone { zone } => println!("{host}: the site of {zone}"),
            Destination::Custom { domain } => {
                println!("{host}: the custom domain {domain}, if somebody registered it")
            }
            Destination::Foreign => println!("{host}: 404 NOT_FOUND"),
        }
    }
    refused == 0
}

fn address(host: &str) -> String {
    match Endpoint::parse(&format!("https://{host}")) {
        Ok(endpoint) => endpoint.connect_with(Service::Http).to_string(),
        Err(error) => error.to_string(),
    }
}
