//! What `agent status` says of agents that have no session, and of those that were killed.
#![allow(missing_docs, clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test")]

mod support;

use adit_examples::agent::{Doing, Event, Link, Status, statuses};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};
use support::{Agent, Greeter, PATIENCE, World, http_tunnel};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

/// Waits for the one status in the folder of `link` that `is_awaited`.
async fn status(link: &Link, is_awaited: impl Fn(&Status) -> bool) -> Status {
    let look = async {
        loop {
            if let Some(status) = statuses(link).unwrap().into_iter().find(&is_awaited) {
                return status;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, look).await.expect("the status never says so")
}

#[tokio::test]
async fn between_sessions_the_status_says_what_failed_and_when_the_next_attempt_is() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    // Somebody has the port, and answers nothing.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let link = Link { gateway: nobody.local_addr().unwrap().to_string(), ..world.link() };
    let agent = Agent::start(http_tunnel(upstream.address, "my-app"), link.clone(), &world.secret);
    let dialling = status(&link, |status| status.doing == Doing::Dialling && !status.others.is_empty()).await;
    assert_eq!(dialling.others, [("native".to_owned(), "no answer yet".to_owned())]);
    assert_eq!((dialling.carrier, dialling.last_error, dialling.next_attempt), (None, None, None));
    drop(nobody);
    let waiting = status(&link, |status| status.doing == Doing::Waiting && status.attempts > 1).await;
    let error = waiting.last_error.unwrap();
    assert!(error.starts_with("native: "), "{error}");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    // Not before it was written, nor later than the longest wait.
    assert!((waiting.written..=now + 61).contains(&waiting.next_attempt.unwrap()));
    assert_eq!((waiting.tunnel.as_deref(), waiting.carrier), (Some("my-app"), None));
    #[cfg(unix)]
    for entry in std::fs::read_dir(link.state.join("status")).unwrap() {
        use std::os::unix::fs::PermissionsExt;
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
    agent.stop.cancel();
    assert!(agent.task.await.unwrap());
    assert_eq!(statuses(&link).unwrap(), []);
    assert_eq!(std::fs::read_dir(link.state.join("status")).unwrap().count(), 0, "nothing stays");

    // Once a session serves, what was before is over.
    let mut agent = Agent::start(http_tunnel(upstream.address, "my-app"), world.link(), &world.secret);
    agent.serving().await;
    let serving = status(&world.link(), |status| status.doing == Doing::Serving).await;
    assert_eq!((serving.last_error, serving.attempts, serving.next_attempt), (None, 0, None));
}

#[tokio::test]
async fn what_is_left_of_a_killed_agent_is_told_once_and_goes() {
    let world = World::start().await;
    let upstream = Greeter::start("a").await;
    let link = world.link();
    let program = || {
        let mut agent = Command::new(env!("CARGO_BIN_EXE_agent"));
        agent.args(["--gateway", &link.gateway, "--server-name", &link.server_name, "--carrier", "native"]);
        agent.arg("--ca").arg(&link.ca).arg("--state").arg(&link.state).env("ADIT_SECRET", &world.secret);
        agent.stdout(std::process::Stdio::piped());
        agent
    };
    let upstream_address = upstream.address.to_string();
    let mut killed = program().args(["http", &upstream_address, "--name", "my-app"]).spawn().unwrap();
    let before = status(&link, |status| status.doing == Doing::Serving).await;
    assert_eq!(before.pid, killed.id());
    // Another one, which lives, in the same folder.
    let mut living = Agent::start(http_tunnel(upstream.address, "other"), link.clone(), &world.secret);
    living.serving().await;
    status(&link, |status| status.tunnel.as_deref() == Some("other")).await;
    killed.kill().unwrap();
    killed.wait().unwrap();
    let gone = status(&link, |status| status.doing == Doing::Gone).await;
    assert_eq!((gone.pid, gone.tunnel.as_deref()), (before.pid, Some("my-app")));

    let told = async || {
        let mut program = program();
        let output = tokio::task::spawn_blocking(move || program.arg("status").output().unwrap());
        let Output { stdout, .. } = output.await.unwrap();
        String::from_utf8(stdout).unwrap()
    };
    let first = told().await;
    assert!(first.contains(&format!("my-app: process {} was killed", before.pid)), "{first}");
    assert!(first.contains("other: by native"), "{first}");
    let second = told().await;
    assert!(!second.contains("my-app") && second.contains("other: by native"), "{second}");
    assert_eq!(std::fs::read_dir(link.state.join("status")).unwrap().count(), 2, "those of the living one");
    // Nobody need ask: an agent that begins takes away what others left.
    let mut killed = program().args(["http", &upstream_address, "--name", "my-app"]).spawn().unwrap();
    let left = status(&link, |status| status.tunnel.as_deref() == Some("my-app")).await;
    killed.kill().unwrap();
    killed.wait().unwrap();
    let mut next = Agent::start(http_tunnel(upstream.address, "next"), link.clone(), &world.secret);
    next.event(|event| matches!(event, Event::Serving { .. }).then_some(())).await;
    assert!(statuses(&link).unwrap().iter().all(|status| status.pid != left.pid));
}
