//! The conformance scripts against our own gateway and agent, and against doubles that each break one rule.
#![allow(missing_docs, reason = "a test")]

mod support;

use adit_examples::agent::Secret;
use adit_examples::conformance::{Dialler, Player, Report, gateway_scripts, run};
use support::World;

/// Where the scripts that failed are told, with the reasons.
fn assert_all_passed(report: &Report) {
    assert!(report.failed.is_empty(), "{:#?}", report.failed);
    assert!(!report.passed.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn our_gateway_passes_every_script() {
    let world = World::start().await;
    let secret: Secret = world.secret.parse().unwrap();
    let player = Player::against_gateway(Dialler::tls(world.link()), secret);
    let scripts = gateway_scripts().unwrap();
    let report = run(&player, &scripts).await;
    assert_all_passed(&report);
    assert_eq!(report.passed.len() + report.skipped.len(), scripts.len());
}
