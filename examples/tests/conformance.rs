//! The conformance scripts against our own gateway and agent, and against doubles that each break one rule.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use adit_examples::agent::{Carriers, Link, Secret, Tunnel};
use adit_examples::conformance::{
    Dialler, Listener, Player, Report, Script, agent_scripts, gateway_scripts, run,
};
use adit_examples::gateway::{Config, Gateway};
use std::net::SocketAddr;
use std::sync::Arc;
use support::{Agent, Folder, PATIENCE, World};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Where the scripts that failed are told, with the reasons.
fn assert_all_passed(report: &Report) {
    assert!(report.failed.is_empty(), "{:#?}", report.failed);
    assert!(!report.passed.is_empty());
}

fn quick(scripts: Vec<Script>) -> Vec<Script> {
    scripts.into_iter().filter(|script| !script.is_slow()).collect()
}

/// The scripts that wait for a limit of time: they wait side by side.
fn slow(scripts: Vec<Script>) -> Vec<Script> {
    let slow: Vec<_> = scripts.into_iter().filter(Script::is_slow).collect();
    assert!(slow.len() >= 5);
    slow
}

fn gateway_player(world: &World, is_plain: bool) -> Player {
    let secret: Secret = world.secret.parse().unwrap();
    let dialler = if is_plain { Dialler::plain(world.link()) } else { Dialler::tls(world.link()) };
    Player::against_gateway(dialler, secret)
}

async fn gateway_passes(is_plain: bool) {
    let world = if is_plain { World::plain().await } else { World::start().await };
    let player = gateway_player(&world, is_plain);
    let scripts = quick(gateway_scripts().unwrap());
    let report = run(&player, &scripts).await;
    assert_all_passed(&report);
    assert_eq!(report.passed.len() + report.skipped.len(), scripts.len());
    assert!(report.skipped.len() < 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn our_gateway_passes_every_script() {
    gateway_passes(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_gateway_passes_every_script_over_plain_tcp_with_a_challenged_credential() {
    gateway_passes(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_gateway_keeps_its_limits_of_time() {
    let world = World::start().await;
    let player = Arc::new(gateway_player(&world, false));
    let mut playing = JoinSet::new();
    for script in slow(gateway_scripts().unwrap()) {
        let player = Arc::clone(&player);
        playing.spawn(async move { run(&player, &[script]).await });
    }
    for report in playing.join_all().await {
        assert_all_passed(&report);
    }
}

/// Plays one script against a fresh agent of ours: one that was let down waits longer and longer before it comes again.
/// `changes` are made to what goes to it, and to what comes from it.
async fn play_against_agent(script: Script, is_plain: bool, changes: Option<(Change, Change)>) -> Report {
    let folder = Folder::new();
    let state = folder.0.join("conformance");
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), &state, is_plain).await.unwrap();
    let mut address = listener.address().unwrap();
    if let Some((to_agent, from_agent)) = changes {
        address = in_front_of(address, from_agent, to_agent).await;
    }
    let link = Link {
        gateway: if is_plain { format!("tcp://{address}") } else { address.to_string() },
        carriers: Carriers::only(adit_mux::Carrier::Native),
        server_name: listener.server_name().to_owned(),
        ca: state.join("ca.pem"),
        secret_file: None,
        rotate_secret: None,
        state: folder.0.join("agent"),
        json: false,
    };
    let secret = listener.fresh_secret().unwrap().to_owned();
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = upstream.local_addr().unwrap();
    let player = Player::against_agent(listener, upstream);
    let tunnel = Tunnel::Tcp { upstream: address.into(), name: None, public_port: None };
    let agent = Agent::start(tunnel, link, &secret);
    let report = run(&player, &[script]).await;
    // The other end first: an agent that finishes what is open has nobody to wait for then.
    drop(player);
    agent.stop.cancel();
    agent.task.await.unwrap();
    report
}

/// Plays scripts against agents, at most `at_once` side by side.
async fn play_agents(
    scripts: Vec<Script>,
    at_once: usize,
    is_plain: bool,
    changes: Option<(Change, Change)>,
) -> Report {
    let turns = Arc::new(Semaphore::new(at_once));
    let mut playing = JoinSet::new();
    for script in scripts {
        let turns = Arc::clone(&turns);
        playing.spawn(async move {
            let _turn = turns.acquire_owned().await.unwrap();
            play_against_agent(script, is_plain, changes).await
        });
    }
    let mut all = Report::default();
    for report in playing.join_all().await {
        all.passed.extend(report.passed);
        all.failed.extend(report.failed);
        all.skipped.extend(report.skipped);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn our_agent_passes_every_script() {
    assert_all_passed(&play_agents(quick(agent_scripts().unwrap()), 4, false, None).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn our_agent_passes_every_script_over_plain_tcp_with_a_challenged_credential() {
    let report = play_agents(quick(agent_scripts().unwrap()), 4, true, None).await;
    assert_all_passed(&report);
    assert!(report.skipped.len() < 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn our_agent_keeps_its_limits_of_time() {
    assert_all_passed(&play_agents(slow(agent_scripts().unwrap()), 16, false, None).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_tcp_is_refused_where_it_was_not_asked_for() {
    // A gateway that wants TLS says nothing of ours to who comes without, and ends.
    let world = World::start().await;
    let mut socket = TcpStream::connect(world.gateway.agent_address()).await.unwrap();
    socket.write_all(b"\0\0\0\x08\0\0\0\0ADIT\0\x01\0\x01").await.unwrap();
    let mut said = Vec::new();
    let _ = timeout(PATIENCE, socket.read_to_end(&mut said)).await.expect("it ends");
    assert!(!said.windows(4).any(|window| window == b"ADIT"), "{said:?}");
    // One that is reached from elsewhere doesn't start without TLS.
    let folder = Folder::new();
    let mut config = Config::on_loopback(folder.0.join("gateway"), (36_000, 36_099));
    config.agents = "0.0.0.0:0".parse().unwrap();
    config.plain_agents = true;
    assert!(Gateway::start(config).await.is_err());
}

/// Changes the octets of one read on their way; what it leaves empty is lost.
type Change = fn(&mut Vec<u8>);

const UNCHANGED: Change = |_| {};

/// Stands in front of a plain address, and changes what goes there and what comes back; gives its own.
async fn in_front_of(behind: SocketAddr, there: Change, back: Change) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(other) = TcpStream::connect(behind).await else { return };
            let (from_dialler, to_dialler) = socket.into_split();
            let (from, to) = other.into_split();
            tokio::spawn(carry(from_dialler, to, there));
            tokio::spawn(carry(from, to_dialler, back));
        }
    });
    address
}

/// Our gateway behind something that changes what goes to it, or what comes from it: a gateway that breaks one rule.
/// Gives the scripts that fail, of those that need no credential.
async fn failing(to_gateway: Change, from_gateway: Change) -> Vec<String> {
    failing_of(to_gateway, from_gateway, Script::is_below_control).await
}

/// The same of those that need one.
async fn failing_above(to_gateway: Change, from_gateway: Change) -> Vec<String> {
    failing_of(to_gateway, from_gateway, |script| !script.is_below_control()).await
}

async fn failing_of(there: Change, back: Change, is_played: fn(&Script) -> bool) -> Vec<String> {
    let world = World::plain().await;
    let mut link = world.link();
    link.gateway = in_front_of(world.gateway.agent_address(), there, back).await.to_string();
    let player = Player::against_gateway(Dialler::plain(link), world.secret.parse().unwrap());
    let mut scripts = quick(gateway_scripts().unwrap());
    scripts.retain(is_played);
    assert!(scripts.len() > 30);
    run(&player, &scripts).await.failed.into_iter().map(|(name, _)| name).collect()
}

/// The names of the scripts in `file` whose JSON `is_it` is found right, in order.
fn named(file: &str, is_it: impl Fn(&str) -> bool) -> Vec<String> {
    let scripts: Vec<serde_json::Value> = serde_json::from_str(file).unwrap();
    let is_quick = |script: &&serde_json::Value| script["slow"] != true && script["carrier"] != "tls";
    let chosen = scripts.iter().filter(is_quick).filter(|script| is_it(&script.to_string()));
    let names: Vec<_> = chosen.map(|script| script["name"].as_str().unwrap().to_owned()).collect();
    assert!(!names.is_empty());
    names
}

const GATEWAY_SCRIPTS: &str = include_str!("../conformance/gateway.json");
const AGENT_SCRIPTS: &str = include_str!("../conformance/agent.json");

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

/// Where a message of the control stream begins that has `tag` behind its length, and a whole frame of its own.
fn control_messages(octets: &[u8], tag: &[u8]) -> Vec<usize> {
    let is_it = |at: &usize| {
        octets[*at..].starts_with(&[2, 0])
            && octets[at + 4..].starts_with(&[0, 0, 0, 1, 0, 0])
            && octets[at + 12..].starts_with(tag)
    };
    (0..octets.len().saturating_sub(12 + tag.len() - 1)).filter(is_it).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_breaks_no_rule_behind_a_proxy_passes_above_the_frames_too() {
    assert_eq!(failing_above(UNCHANGED, UNCHANGED).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_answers_a_registration_as_if_it_were_a_renewal_fails_those_scripts() {
    let change: Change = |octets| {
        for at in control_messages(octets, &[8]) {
            if octets.get(at + 14) == Some(&0x2a) {
                octets[at + 14] = 0x3a;
            }
        }
    };
    let expected = named(GATEWAY_SCRIPTS, |json| json.contains(r#""kind":"registered""#));
    assert_eq!(failing_above(UNCHANGED, change).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_does_not_prove_itself_fails_every_script_with_a_welcome() {
    let change: Change = |octets| {
        for at in control_messages(octets, &[0x1a]) {
            // The proof is the last field of the message, and the message all of the frame.
            let length = usize::from(u16::from_be_bytes([octets[at + 2], octets[at + 3]]));
            octets[at + 7 + length] ^= 1;
        }
    };
    let expected =
        named(GATEWAY_SCRIPTS, |json| json.contains(r#""welcomed""#) || json.contains(r#""kind":"welcome""#));
    assert_eq!(failing_above(UNCHANGED, change).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_tells_nobody_of_a_newer_registration_fails_that_script() {
    let change: Change = |octets| {
        for at in control_messages(octets, &[0x5a]) {
            // A kind that nobody defines.
            octets[at + 12] = 0x7a;
        }
    };
    let expected = named(GATEWAY_SCRIPTS, |json| json.contains(r#""kind":"superseded""#));
    assert_eq!(failing_above(UNCHANGED, change).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_refusal_names_another_code_fails_those_scripts() {
    let change: Change = |octets| {
        for at in 0..octets.len().saturating_sub(11) {
            if octets[at..].starts_with(b"AUTH_FAILED") {
                octets[at + 10] = b'X';
            }
        }
    };
    let expected = named(GATEWAY_SCRIPTS, |json| json.contains(r#""code":"AUTH_FAILED""#));
    assert_eq!(failing_above(UNCHANGED, change).await, expected);
}

/// Our agent behind something that changes what goes to it, or what comes from it. Gives the scripts that fail.
async fn failing_agent(to_agent: Change, from_agent: Change) -> Vec<String> {
    let scripts = quick(agent_scripts().unwrap());
    let report = play_agents(scripts.clone(), 4, true, Some((to_agent, from_agent))).await;
    let is_failed = |script: &&Script| report.failed.iter().any(|(name, _)| *name == script.name);
    scripts.iter().filter(is_failed).map(|script| script.name.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_answers_pings_with_another_sequence_fails_the_scripts_of_sequence_one() {
    let change: Change = |octets| {
        let answer = [7, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        if let Some(at) = octets.windows(16).position(|window| window == answer) {
            octets[at + 15] = 2;
        }
    };
    let expected =
        named(AGENT_SCRIPTS, |json| json.contains(r#""expect":"07 01 0008 00000000 0000000000000001""#));
    assert_eq!(failing_agent(UNCHANGED, change).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_refuses_unknown_tunnels_with_another_code_fails_those_scripts() {
    let change: Change = |octets| {
        for at in 0..octets.len().saturating_sub(11) {
            if matches!(octets[at..at + 12], [5 | 6, 0, 0, 4, _, _, _, _, 0, 0, 0, 0x23]) {
                octets[at + 11] = 0x10;
            }
        }
    };
    let expected = named(AGENT_SCRIPTS, |json| json.contains("00000023"));
    assert_eq!(failing_agent(UNCHANGED, change).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_does_not_hear_terminate_fails_that_script() {
    let change: Change = |octets| {
        for at in control_messages(octets, &[0x6a]) {
            octets[at + 12] = 0x7a;
        }
    };
    let expected = named(AGENT_SCRIPTS, |json| json.contains(r#""control":"6a"#));
    assert_eq!(failing_agent(change, UNCHANGED).await, expected);
}
