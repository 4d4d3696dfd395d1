//! Two agents that want the same tunnel while one of them moves to another carrier, as the gateway may put it in any order.
#![allow(missing_docs, clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test")]

mod support;

use adit_examples::agent::{Carriers, Event, Link};
use adit_mux::carrier::websocket;
use adit_mux::{Builder, Carrier, Incoming, Role, Session, Stream};
use adit_wire_proto::CloseCode;
use adit_wire_proto::control::{
    Answer, Generation, Notice, Registered, RegistrationId, Request, RequestNumber, Settings,
};
use adit_wire_proto::credential::{ChannelBinding, Credential, CredentialKind};
use adit_wire_proto::drive::GatewayControl;
use adit_wire_proto::gateway::{self, Options};
use std::path::PathBuf;
use std::time::Duration;
use support::{Agent, Folder, PATIENCE, http_tunnel};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

#[tokio::test]
async fn the_newer_session_of_an_agent_that_moves_stays_when_another_agent_came_between() {
    let (mut agent, race, _folder) = Race::begin().await;
    // The other agent had generation 2, and was told to stop when ours got 3.
    race.decide(2, Some(3)).await;
    let moved = agent.event(|event| match event {
        Event::Moved { to, generation, .. } => Some((to.clone(), *generation)),
        Event::Stopped { code, .. } => panic!("stopped: {code}"),
        _ => None,
    });
    assert_eq!(moved.await, ("websocket".to_owned(), 3));
    agent.stop.cancel();
    assert!(agent.task.await.unwrap(), "it went on until it was asked to stop");
}

#[tokio::test]
async fn an_agent_that_moves_gives_way_to_one_that_came_after_it() {
    let (mut agent, race, _folder) = Race::begin().await;
    race.decide(3, Some(2)).await;
    assert_eq!(agent.stopped().await.0, "SUPERSEDED");
}

#[tokio::test]
async fn an_agent_whose_move_fails_gives_way_to_the_one_that_came_meanwhile() {
    let (mut agent, race, _folder) = Race::begin().await;
    race.decide(2, None).await;
    assert_eq!(agent.stopped().await.0, "SUPERSEDED");
}

/// A gateway to which an agent has a session by the native carrier, and is about to register by WebSocket.
struct Race {
    old: Met,
    new: Met,
    number: RequestNumber,
}

impl Race {
    async fn begin() -> (Agent, Self, Folder) {
        let folder = Folder::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let credential = Credential::from_random(CredentialKind::ConnectSecret, 7, [7; 32]);
        let carriers = Carriers {
            order: vec![Carrier::WebSocket, Carrier::Native],
            probe: Duration::from_millis(100),
            ..Carriers::default()
        };
        let link = Link {
            gateway: format!("tcp://{}", listener.local_addr().unwrap()),
            carriers,
            server_name: "gateway.example".to_owned(),
            ca: PathBuf::new(),
            secret_file: None,
            rotate_secret: None,
            state: folder.0.clone(),
            json: false,
        };
        let nobody = "127.0.0.1:9".parse().unwrap();
        let mut agent = Agent::start(http_tunnel(nobody, "my-app"), link, &credential.reveal());
        let (mut old, number) = met(&listener, Carrier::Native, &credential).await;
        register(&mut old, number, 1).await;
        agent.serving().await;
        let (new, number) = met(&listener, Carrier::WebSocket, &credential).await;
        (agent, Self { old, new, number }, folder)
    }

    /// Tells the agent on its old session that `theirs` is the newest, and only then on the new one that it has `ours`.
    async fn decide(self, theirs: u64, ours: Option<u64>) {
        let Self { mut old, mut new, number } = self;
        let generation = Generation::new(theirs).unwrap();
        let notice = Notice::Superseded { registration: RegistrationId::new(1).unwrap(), generation };
        old.control.notify(notice).unwrap();
        old.control.flush().await.unwrap();
        // Behind it on the same connection; then the agent has a while to act on it.
        timeout(PATIENCE, old.session.ping()).await.expect("no answer").unwrap();
        sleep(Duration::from_millis(50)).await;
        match ours {
            Some(ours) => register(&mut new, number, ours).await,
            None => new.session.close(CloseCode::INTERNAL, ""),
        }
        for met in [old, new] {
            tokio::spawn(met.attend());
        }
    }
}

/// A session of the agent, as the gateway has it.
struct Met {
    session: Session,
    control: GatewayControl<Stream>,
    _incoming: Incoming,
}

impl Met {
    /// Hears the agent out, and lets it go.
    async fn attend(mut self) {
        while self.control.next_event().await.is_ok() {}
        self.session.close(CloseCode::NONE, "");
    }
}

/// The next session by `carrier`, and its first registration; dials by another carrier are cut off.
async fn met(listener: &TcpListener, carrier: Carrier, credential: &Credential) -> (Met, RequestNumber) {
    let (session, mut incoming, driver) = loop {
        let (socket, _) = timeout(PATIENCE, listener.accept()).await.expect("nobody dials").unwrap();
        let mut first = [0];
        let spoke = timeout(Duration::from_secs(1), socket.peek(&mut first)).await;
        let is_websocket = spoke.is_ok() && first == *b"G";
        if is_websocket != (carrier == Carrier::WebSocket) {
            continue;
        }
        if !is_websocket {
            break Builder::new(Role::Listener).build(socket);
        }
        let io = websocket::accept(socket).await.unwrap();
        let (reader, writer) = io.split_with(tokio::io::split);
        break Builder::new(Role::Listener).carrier(carrier).build_split(reader, writer);
    };
    tokio::spawn(driver);
    let stream = timeout(PATIENCE, incoming.accept()).await.expect("no control stream").unwrap();
    let options = Options::new(ChannelBinding::NONE, [9; 32]);
    let mut control = GatewayControl::accept(stream.accept(), options);
    control.hello().await.unwrap();
    let authorised = control.check([Some(&credential.verifier()), None]).unwrap();
    control.welcome(&authorised, Settings::new("a session")).await.unwrap();
    match timeout(PATIENCE, control.next_event()).await.expect("no registration").unwrap() {
        gateway::Event::Requested { number, request: Request::Register(_) } => {
            (Met { session, control, _incoming: incoming }, number)
        }
        other => panic!("{other:?}"),
    }
}

async fn register(met: &mut Met, number: RequestNumber, generation: u64) {
    let registration = RegistrationId::new(generation).unwrap();
    let mut registered = Registered::new(registration, Generation::new(generation).unwrap(), "my-app");
    registered.addresses = vec!["http://my-app.example".to_owned()];
    met.control.answer(number, Answer::Registered(Box::new(registered))).unwrap();
    met.control.flush().await.unwrap();
}
