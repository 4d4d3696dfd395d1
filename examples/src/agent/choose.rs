//! Carries out what the selector says: begins dials, gives them up, and hands over the connection that won.

use super::config::Link;
use super::dial::{DialError, Dialled, PLAIN, dial};
use super::memory::Memory;
use super::outward::is_behind_proxy;
use super::report::Event;
use crate::deadline;
use adit_mux::Carrier;
use adit_mux::carrier::select::{Choice, Loser, Selector, Verdict};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::task::{AbortHandle, JoinSet};

/// The carriers of one agent, from session to session. The selector has no clock: it is told the time here, at each call.
pub(super) struct Chooser {
    selector: Selector,
    memory: Memory,
    link: Link,
    dials: JoinSet<(Carrier, Result<Dialled, DialError>)>,
    /// One for each carrier that was dialled.
    handles: HashMap<Carrier, AbortHandle>,
    /// Until the selector has said what becomes of it.
    answered: Option<(Carrier, Dialled)>,
    /// What each failed with last, for the person who started the agent.
    errors: HashMap<Carrier, String>,
}

/// What to do.
pub(super) enum Turn {
    /// Make a session on this; beside the one that serves, if there is one.
    Connected(Carrier, Dialled),
    /// Nothing works now.
    Failed(String),
}

impl Chooser {
    /// Chooses among what `link` names.
    pub(super) fn new(link: &Link, seed: u64) -> Self {
        let is_plain = link.gateway.starts_with(PLAIN);
        let is_proxied = !is_plain && is_behind_proxy(&link.gateway);
        let mut selector = Selector::new(link.carriers.preferences(is_plain, is_proxied), seed);
        let memory = Memory::of(link);
        if let Some(carrier) = memory.recall() {
            selector.recall(Instant::now(), carrier);
        }
        Self {
            selector,
            memory,
            link: link.clone(),
            dials: JoinSet::new(),
            handles: HashMap::new(),
            answered: None,
            errors: HashMap::new(),
        }
    }

    /// There is no session: begin to look for one.
    pub(super) fn begin(&mut self) {
        self.errors.clear();
        self.selector.begin(Instant::now());
    }

    /// There is to be none for now, and that isn't the carrier's fault.
    pub(super) fn abandon(&mut self) {
        self.selector.abandon(Instant::now());
        while self.carry_out().is_some() {}
    }

    /// The session on `carrier` serves.
    pub(super) fn ready(&mut self, carrier: Carrier) {
        self.selector.receive_ready(Instant::now(), carrier);
    }

    /// The session on `carrier` is over by its fault, or never came to serve.
    pub(super) fn lost(&mut self, carrier: Carrier, why: &str) {
        self.errors.insert(carrier, why.to_owned());
        self.selector.receive_loss(Instant::now(), carrier);
    }

    /// What the session that serves answered to a ping, if it did.
    pub(super) fn note_pulse(&mut self, rtt: Option<Duration>) {
        match rtt {
            Some(rtt) => {
                if let Some(carrier) = self.choice().map(Choice::carrier) {
                    self.memory.note(carrier);
                }
                self.selector.note_rtt(rtt);
                self.selector.receive_life(Instant::now());
            }
            None => self.selector.receive_silence(Instant::now()),
        }
    }

    /// What is in use, or about to be.
    pub(super) const fn choice(&self) -> Option<&Choice> {
        self.selector.choice()
    }

    /// How long until better ones are tried again, if that is awaited.
    pub(super) fn next_probe(&self) -> Option<Duration> {
        Some(self.selector.next_probe()?.saturating_duration_since(Instant::now()))
    }

    /// What became of the dials of the last race, or has so far of those of this one.
    pub(super) fn losers(&self) -> &[Loser] {
        self.choice().map_or_else(|| self.selector.losers(), Choice::losers)
    }

    /// What is told of the choice.
    pub(super) fn event(&self) -> Option<Event> {
        let choice = self.choice()?;
        let others =
            choice.losers().iter().map(|loser| (loser.carrier().to_string(), loser.outcome().to_string()));
        Some(Event::Chosen {
            carrier: choice.carrier().to_string(),
            reason: choice.reason().to_string(),
            took_ms: u64::try_from(choice.took().as_millis()).unwrap_or(u64::MAX),
            others: others.collect(),
        })
    }

    /// Waits for the next thing to do. Cancel-safe: dials go on meanwhile.
    pub(super) async fn next(&mut self) -> Turn {
        loop {
            if let Some(turn) = self.carry_out() {
                return turn;
            }
            let deadline = self.selector.poll_timeout();
            tokio::select! {
                Some(done) = self.dials.join_next() => if let Ok((carrier, dialled)) = done {
                    self.hear(carrier, dialled);
                },
                () = deadline::reached(deadline) => self.selector.handle_timeout(Instant::now()),
            }
        }
    }

    fn hear(&mut self, carrier: Carrier, dialled: Result<Dialled, DialError>) {
        match dialled {
            Ok(dialled) => {
                self.answered = Some((carrier, dialled));
                self.selector.receive_answer(Instant::now(), carrier);
            }
            Err(error) => {
                tracing::info!(%carrier, class = %error.class(), "a carrier doesn't work");
                self.errors.insert(carrier, error.to_string());
                self.selector.receive_failure(Instant::now(), carrier, error.class());
            }
        }
    }

    fn carry_out(&mut self) -> Option<Turn> {
        while let Some(verdict) = self.selector.poll_verdict() {
            tracing::debug!(?verdict, "carriers");
            match verdict {
                Verdict::Start { carrier } | Verdict::Probe { carrier } => self.dial(carrier),
                Verdict::Cancel { carrier } => {
                    if let Some(handle) = self.handles.remove(&carrier) {
                        handle.abort();
                    }
                }
                Verdict::Use { .. } | Verdict::MoveOver { .. } => {
                    if let Some((carrier, dialled)) = self.answered.take() {
                        return Some(Turn::Connected(carrier, dialled));
                    }
                }
                Verdict::GiveUp => return Some(Turn::Failed(self.errors())),
                _ => {}
            }
        }
        // An answer that nobody wants any more.
        self.answered = None;
        None
    }

    fn dial(&mut self, carrier: Carrier) {
        let link = self.link.clone();
        let handle = self.dials.spawn(async move { (carrier, dial(&link, carrier).await) });
        self.handles.insert(carrier, handle);
    }

    /// The errors in the order of the dials.
    fn errors(&self) -> String {
        let losers = self.selector.losers().iter().map(|loser| loser.carrier());
        let told: Vec<_> = losers
            .map(|carrier| match self.errors.get(&carrier) {
                Some(error) => format!("{carrier}: {error}"),
                None => format!("{carrier}: no answer"),
            })
            .collect();
        told.join("; ")
    }
}
