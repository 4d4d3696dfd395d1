//! What is logged, at which level, in which span; and what never is.
#![cfg(all(feature = "tokio", feature = "tracing"))]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail, and owns its tasks and clock"
)]

use adit_mux::{Builder, Config, Role};
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Keeps every span and event of the crate as text.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    /// Spans by their id, which counts from 1.
    spans: Vec<String>,
    /// Level, span and text.
    events: Vec<(Level, Option<u64>, String)>,
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push_str(&format!("{}={value:?} ", field.name()));
    }
}

impl Subscriber for Captured {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "adit_mux"
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut text = Text(format!("{} ", attributes.metadata().name()));
        attributes.record(&mut text);
        let mut kept = self.0.lock().unwrap();
        kept.spans.push(text.0);
        Id::from_u64(u64::try_from(kept.spans.len()).unwrap())
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        let span = event.parent().map(Id::into_u64);
        self.0.lock().unwrap().events.push((*event.metadata().level(), span, text.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn each_session_has_a_span_and_each_event_its_level() {
    let captured = Captured::default();
    tracing::subscriber::with_default(captured.clone(), || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(one_session());
    });
    let kept = captured.0.lock().unwrap();
    assert_eq!(kept.spans.len(), 2);
    assert!(kept.spans.contains(&"session id=77 role=\"dialler\" ".to_owned()), "{:?}", kept.spans);
    assert!(kept.spans.iter().any(|span| span.ends_with("role=\"listener\" ")));
    assert!(kept.events.iter().all(|(_, span, _)| span.is_some()), "every event belongs to a session");

    let at = |level: Level| -> Vec<&str> {
        kept.events.iter().filter(|(at, ..)| *at == level).map(|(.., text)| text.as_str()).collect()
    };
    // Both sides: connected, draining, ended.
    let info = at(Level::INFO);
    assert_eq!(info.len(), 6, "{info:?}");
    assert!(at(Level::DEBUG).iter().any(|text| text.contains("stream refused")));
    assert!(at(Level::TRACE).iter().any(|text| text.contains("name=\"OPEN\" stream=1")));
    assert!(at(Level::TRACE).iter().any(|text| text.contains("name=\"GOAWAY\"")));
    assert!(at(Level::WARN).is_empty() && at(Level::ERROR).is_empty());
    for (.., text) in &kept.events {
        for secret in ["customer.example", "203.0.113.9", "word"] {
            assert!(!text.contains(secret), "what a peer wrote is not logged: {text}");
        }
    }
}

/// A stream that is refused, one that carries something, and a drain with a reason.
async fn one_session() {
    let (near, far) = duplex(64 * 1024);
    let (session, _keep, near) = Builder::new(Role::Dialler).config(Config::default().id(77)).build(near);
    let (peer, mut incoming, far) = Builder::new(Role::Listener).build(far);
    let near = tokio::spawn(near);
    tokio::spawn(far);
    let mut refused = session.open("customer.example").await.unwrap();
    incoming.accept().await.unwrap().refuse(CloseCode::UNKNOWN_TUNNEL);
    refused.read(&mut [0; 1]).await.unwrap_err();
    let mut stream = session.open("customer.example").await.unwrap();
    stream.write_all(b"pass word").await.unwrap();
    let mut there = incoming.accept().await.unwrap().accept();
    there.read_exact(&mut [0; 9]).await.unwrap();
    drop((refused, stream, there));
    session.drain(CloseCode::DRAINING, Bytes::from_static(b"host 203.0.113.9 moves"));
    near.await.unwrap();
    peer.closed().await;
}
