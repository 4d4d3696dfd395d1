//! What the agent is doing, for whoever asks on this machine: a file of the owner's alone for each running agent, and
//! `agent status`, which reads them. No addresses of visitors, no secrets.

use super::choose::Chooser;
use super::config::Link;
use crate::BoxError;
use crate::files::private_folder;
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How often the file is written while nothing changes.
const EVERY: Duration = Duration::from_secs(5);

/// A file that is older belongs to an agent that was killed, or stands still.
const STALE: Duration = Duration::from_secs(20);

/// Where an agent keeps its status, below its folder.
const FOLDER: &str = "status";

/// How an agent is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// The agent's process.
    pub pid: u32,
    /// The tunnel's name, once it has one.
    pub tunnel: Option<String>,
    /// What its session travels on; none while there is no session.
    pub carrier: Option<String>,
    /// Why on that.
    pub reason: Option<String>,
    /// For how long, in seconds.
    pub for_seconds: u64,
    /// The last round trip, in microseconds.
    pub rtt_micros: Option<u64>,
    /// What became of the other carriers when this one was chosen.
    pub others: Vec<(String, String)>,
    /// After how many seconds better ones are tried again.
    pub next_probe_seconds: Option<u64>,
    /// When this was written, in seconds since 1970.
    pub written: u64,
}

impl Status {
    fn of(chooser: &Chooser, tunnel: Option<String>) -> Self {
        let next_probe_seconds = chooser.next_probe().map(|wait| wait.as_secs());
        let base = Self {
            pid: std::process::id(),
            tunnel,
            next_probe_seconds,
            written: seconds_now(),
            ..Self::default()
        };
        let Some(choice) = chooser.choice() else { return base };
        let others = choice.losers().iter();
        Self {
            carrier: Some(choice.carrier().to_string()),
            reason: Some(choice.reason().to_string()),
            for_seconds: choice.since().elapsed().as_secs(),
            rtt_micros: choice.rtt().map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
            others: others.map(|loser| (loser.carrier().to_string(), loser.outcome().to_string())).collect(),
            ..base
        }
    }

    fn is_stale(&self) -> bool {
        seconds_now().saturating_sub(self.written) > STALE.as_secs()
    }

    /// The same for people.
    fn lines(&self) -> String {
        let mut text = String::new();
        let name = self.tunnel.as_deref().unwrap_or("(no tunnel yet)");
        let _ = match (self.is_stale(), &self.carrier, &self.reason) {
            (true, ..) => write!(text, "{name}: process {} has not been heard of", self.pid),
            (_, Some(carrier), Some(reason)) => {
                write!(text, "{name}: by {carrier} ({reason}) for {} s", self.for_seconds)
            }
            _ => write!(text, "{name}: connecting"),
        };
        if let Some(rtt) = self.rtt_micros {
            let _ = write!(text, ", round trip {}.{:03} ms", rtt / 1000, rtt % 1000);
        }
        for (carrier, outcome) in &self.others {
            let _ = write!(text, "\n  {carrier}: {outcome}");
        }
        if let Some(wait) = self.next_probe_seconds {
            let _ = write!(text, "\n  better ones are tried again in {wait} s");
        }
        text
    }
}

/// The file of this agent; gone with it.
pub(super) struct StatusFile {
    path: PathBuf,
    last: Mutex<Option<(Instant, Option<adit_mux::Carrier>)>>,
}

impl StatusFile {
    /// In the agent's folder, by the number of its process and of the agent in it.
    pub(super) fn new(state: &Path) -> Self {
        let number = crate::random::number();
        let path = state.join(FOLDER).join(format!("{}-{number:016x}.json", std::process::id()));
        Self { path, last: Mutex::new(None) }
    }

    /// Writes how things are, if that has changed or a while has passed.
    pub(super) fn note(&self, chooser: &Chooser, tunnel: Option<String>) {
        let carrier = chooser.choice().map(adit_mux::carrier::select::Choice::carrier);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|(at, noted)| noted == carrier && at.elapsed() < EVERY) {
            return;
        }
        *last = Some((Instant::now(), carrier));
        drop(last);
        let Ok(octets) = serde_json::to_vec(&Status::of(chooser, tunnel)) else { return };
        if let Err(error) = self.save(&octets) {
            tracing::debug!(%error, "the status was not written");
        }
    }

    /// Whole or not at all for readers; of no use after a crash, so nothing waits for the disk.
    fn save(&self, octets: &[u8]) -> std::io::Result<()> {
        self.path.parent().map_or(Ok(()), private_folder)?;
        let new = self.path.with_extension("new");
        std::fs::write(&new, octets)?;
        std::fs::rename(new, &self.path)
    }
}

impl Drop for StatusFile {
    fn drop(&mut self) {
        // It may never have been written.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The agents that run, or ran, with the folder of `link`.
///
/// # Errors
/// A folder that can't be read.
pub fn statuses(link: &Link) -> Result<Vec<Status>, BoxError> {
    let folder = link.state.join(FOLDER);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "json") {
            // An agent that ends takes its file with it, between the listing and now too.
            let Ok(octets) = std::fs::read(path) else { continue };
            all.push(serde_json::from_slice(&octets)?);
        }
    }
    Ok(all)
}

/// Prints them, as lines for people or as one JSON object each.
///
/// # Errors
/// A folder that can't be read.
pub fn print_statuses(link: &Link) -> Result<(), BoxError> {
    let all = statuses(link)?;
    if all.is_empty() && !link.json {
        println!("no agent runs with the folder {}", link.state.display());
    }
    for status in all {
        if link.json {
            println!("{}", serde_json::to_string(&status)?);
        } else {
            println!("{}", status.lines());
        }
    }
    Ok(())
}

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_which_carrier_why_and_what_became_of_the_others() {
        let status = Status {
            tunnel: Some("my-app".to_owned()),
            carrier: Some("native".to_owned()),
            reason: Some("first to answer".to_owned()),
            for_seconds: 12,
            rtt_micros: Some(1_234),
            others: vec![("quic".to_owned(), "no answer yet".to_owned())],
            next_probe_seconds: Some(20),
            written: seconds_now(),
            ..Status::default()
        };
        let first = "my-app: by native (first to answer) for 12 s, round trip 1.234 ms";
        let rest = "\n  quic: no answer yet\n  better ones are tried again in 20 s";
        assert_eq!(status.lines(), format!("{first}{rest}"));
        let old = Status { written: 0, ..status };
        assert!(old.lines().starts_with("my-app: process 0 has not been heard of"));
    }
}
