//! The conformance scripts against our own gateway and agent, and against doubles that each break one rule.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use adit_examples::agent::{Link, Secret, Tunnel};
use adit_examples::conformance::{
    Dialler, Listener, Player, Report, Script, agent_scripts, gateway_scripts, run,
};
use support::{Agent, Folder, World};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
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

/// Changes the octets of one read on their way; what it leaves empty is lost.
type Change = fn(&mut Vec<u8>);

const UNCHANGED: Change = |_| {};

/// Our gateway behind something that changes what goes to it, or what comes from it: a gateway that breaks one rule.
/// Gives the scripts that fail, of those that need no credential.
async fn failing(to_gateway: Change, from_gateway: Change) -> Vec<String> {
    let world = World::start().await;
    let secret: Secret = world.secret.parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut link = world.link();
    link.gateway = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let gateway = world.agent_port().await.unwrap();
            let (from_player, to_player) = socket.into_split();
            let (from, to) = tokio::io::split(gateway);
            tokio::spawn(carry(from_player, to, to_gateway));
            tokio::spawn(carry(from, to_player, from_gateway));
        }
    });
    let player = Player::against_gateway(Dialler::plain(link), secret);
    let mut scripts = gateway_scripts().unwrap();
    scripts.retain(Script::is_below_control);
    assert!(scripts.len() > 40);
    run(&player, &scripts).await.failed.into_iter().map(|(name, _)| name).collect()
}

/// Carries octets one way until either side ends.
async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, change: Change) {
    let mut buffer = vec![0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let mut octets = buffer[..length].to_vec();
        change(&mut octets);
        if to.write_all(&octets).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
    // The other side may have ended first.
    let _ = to.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_breaks_no_rule_behind_a_proxy_fails_nothing() {
    assert_eq!(failing(UNCHANGED, UNCHANGED).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_takes_a_second_hello_fails_that_script() {
    let swallow: Change = |octets| {
        // The player's own HELLO, which may be in the same read, has parameters; this is the script's.
        if octets.ends_with(b"\0\0\0\x08\0\0\0\0ADIT\0\x01\0\x01") {
            octets.truncate(octets.len() - 16);
        }
    };
    assert_eq!(failing(swallow, UNCHANGED).await, ["a second HELLO"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_skips_mandatory_kinds_fails_those_scripts() {
    let swallow: Change = |octets| {
        if matches!(octets.as_slice(), [.., 0x0a | 0x7f, 0, _, _, 0, 0, 0, 0]) {
            octets.truncate(octets.len() - 8);
        }
    };
    let failed = failing(swallow, UNCHANGED).await;
    assert_eq!(
        failed,
        ["a mandatory kind that nobody defines", "a mandatory kind is judged by its header alone"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_closes_with_another_code_fails_the_scripts_of_that_code() {
    let change: Change = |octets| {
        // CLOSE is the last that a gateway sends, and FRAME_TOO_LARGE becomes MALFORMED.
        let starts =
            octets.windows(12).position(|window| matches!(window, [9, 0, _, _, 0, 0, 0, 0, 0, 0, 0, 3]));
        if let Some(at) = starts {
            octets[at + 11] = 2;
        }
    };
    let failed = failing(UNCHANGED, change).await;
    assert_eq!(
        failed,
        [
            "a HELLO that is too long, by its header alone",
            "a head over 4,096 octets, by its header alone",
            "a reason over 256 octets, by its header alone",
            "a datagram over 16,376 octets, by its header alone",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_answers_pings_with_another_sequence_fails_the_scripts_of_sequence_one() {
    let change: Change = |octets| {
        let answer = [7, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        if let Some(at) = octets.windows(16).position(|window| window == answer) {
            octets[at + 15] = 2;
        }
    };
    let failed = failing(UNCHANGED, change).await;
    assert_eq!(
        failed,
        [
            "a PING is answered with its sequence",
            "undefined flags are ignored",
            "frames that are cut anywhere mean the same",
            "a HELLO with a parameter of a later version is taken",
            "a HELLO that speaks later versions too is taken",
            "the same PING twice",
        ]
    );
}
