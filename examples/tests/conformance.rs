//! The conformance scripts against our own gateway and agent, and against doubles that each break one rule.
#![allow(missing_docs, reason = "a test")]

mod support;

use adit_examples::agent::{Link, Secret, Tunnel};
use adit_examples::conformance::{
    Dialler, Listener, Player, Report, Script, agent_scripts, gateway_scripts, run,
};
use support::{Agent, Folder, World};
use tokio::net::TcpListener;

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

#[tokio::test(flavor = "multi_thread")]
async fn our_agent_passes_every_script() {
    let folder = Folder::new();
    let state = folder.0.join("conformance");
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), &state, false).await.unwrap();
    let link = Link {
        gateway: listener.address().unwrap().to_string(),
        server_name: listener.server_name().to_owned(),
        ca: state.join("ca.pem"),
        secret_file: None,
        state: folder.0.join("agent"),
        json: false,
    };
    let secret = listener.fresh_secret().unwrap().to_owned();
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = upstream.local_addr().unwrap();
    let player = Player::against_agent(listener, upstream);
    let mut failed = Vec::new();
    for script in agent_scripts().unwrap() {
        // A fresh agent each time: one that was let down waits longer and longer before it comes again.
        let tunnel = Tunnel::Tcp { upstream: address.into(), name: None, public_port: None };
        let agent = Agent::start(tunnel, link.clone(), &secret);
        let report = run(&player, std::slice::from_ref::<Script>(&script)).await;
        failed.extend(report.failed);
        agent.stop.cancel();
        agent.task.await.unwrap();
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
