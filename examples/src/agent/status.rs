//! What the agent is doing, for whoever asks on this machine: a file of the owner's alone for each running agent, and
//! `agent status`, which reads them. No addresses of visitors, no secrets.
//!
//! An agent keeps a second file locked for as long as it lives. The system lets the lock go whatever the agent ends by, so
//! the files of one that was killed are told from those of one that stands still, also when its process number is used again.

use super::choose::Chooser;
use super::config::Link;
use crate::BoxError;
use crate::files::{create_private, private_folder, publish_private};
use adit_mux::Carrier;
use adit_mux::carrier::select::Choice;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Write};
use std::fs::{File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How often the file is written while nothing changes.
const EVERY: Duration = Duration::from_secs(5);

/// A file that is older belongs to an agent that stands still.
const STALE: Duration = Duration::from_secs(20);

/// Where an agent keeps its status, below its folder.
const FOLDER: &str = "status";

/// Files that are looked at; a folder with more isn't ours.
const MAX_FILES: usize = 1_000;

/// A file that is longer wasn't written by us.
const MAX_OCTETS: u64 = 64 * 1024;

/// Of an error that is longer, the beginning is told.
const MAX_ERROR_CHARACTERS: usize = 500;

/// What an agent is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Doing {
    /// It asks the carriers for a connection.
    #[default]
    Dialling,
    /// It has a connection, and makes a session on it.
    Registering,
    /// It has a session.
    Serving,
    /// It rests until the next attempt.
    Waiting,
    /// Nothing: it was killed.
    Gone,
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dialling => "dialling",
            Self::Registering => "registering",
            Self::Serving => "serving",
            Self::Waiting => "waiting",
            Self::Gone => "gone",
        })
    }
}

/// How an agent is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Status {
    /// The agent's process.
    pub pid: u32,
    /// The tunnel's name, once it has one.
    pub tunnel: Option<String>,
    /// What it is doing.
    pub doing: Doing,
    /// What its session travels on; none while there is no session.
    pub carrier: Option<String>,
    /// Why on that.
    pub reason: Option<String>,
    /// For how long, in seconds.
    pub for_seconds: u64,
    /// The last round trip, in microseconds.
    pub rtt_micros: Option<u64>,
    /// What became of the other carriers when this one was chosen; without a session, of all that were dialled.
    pub others: Vec<(String, String)>,
    /// After how many seconds better ones are tried again.
    pub next_probe_seconds: Option<u64>,
    /// Why the last session, or the last attempt at one, ended; none once a session serves.
    pub last_error: Option<String>,
    /// How many attempts have failed since a session served.
    pub attempts: u32,
    /// When the next attempt is made, in seconds since 1970.
    pub next_attempt: Option<u64>,
    /// When this was written, in seconds since 1970.
    pub written: u64,
}

impl Status {
    fn of(chooser: &Chooser, doing: Doing, tunnel: Option<String>, trouble: &Trouble) -> Self {
        let others = chooser.losers().iter();
        let base = Self {
            pid: std::process::id(),
            tunnel,
            doing,
            others: others.map(|loser| (loser.carrier().to_string(), loser.outcome().to_string())).collect(),
            next_probe_seconds: chooser.next_probe().map(|wait| wait.as_secs()),
            last_error: trouble.error.clone(),
            attempts: trouble.attempts,
            next_attempt: trouble.next_attempt.filter(|_| doing == Doing::Waiting).map(seconds_of),
            written: seconds_of(SystemTime::now()),
            ..Self::default()
        };
        let Some(choice) = chooser.choice() else { return base };
        Self {
            carrier: Some(choice.carrier().to_string()),
            reason: Some(choice.reason().to_string()),
            for_seconds: choice.since().elapsed().as_secs(),
            rtt_micros: choice.rtt().map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
            ..base
        }
    }

    fn is_stale(&self) -> bool {
        seconds_of(SystemTime::now()).saturating_sub(self.written) > STALE.as_secs()
    }

    /// The same for people.
    fn lines(&self) -> String {
        let mut text = format!("{}: ", self.tunnel.as_deref().unwrap_or("(no tunnel yet)"));
        if self.doing == Doing::Gone {
            let _ = write!(text, "process {} was killed", self.pid);
            return text;
        }
        if self.is_stale() {
            let _ = write!(text, "process {} has not been heard of", self.pid);
            return text;
        }
        let _ = match (self.doing, &self.carrier, &self.reason) {
            (Doing::Waiting, ..) => self.write_wait(&mut text),
            (Doing::Dialling, ..) => write!(text, "connecting"),
            (_, Some(carrier), Some(reason)) => {
                write!(text, "by {carrier} ({reason}) for {} s", self.for_seconds)
            }
            _ => write!(text, "{}", self.doing),
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
        if let Some(error) = &self.last_error {
            let _ = write!(text, "\n  last error: {error}");
        }
        text
    }

    fn write_wait(&self, text: &mut String) -> fmt::Result {
        let now = seconds_of(SystemTime::now());
        let wait = self.next_attempt.map_or(0, |at| at.saturating_sub(now));
        write!(text, "no session; trying again in {wait} s")?;
        match self.attempts {
            0 | 1 => Ok(()),
            attempts => write!(text, ", after {attempts} attempts"),
        }
    }
}

/// The file of this agent; gone with it.
pub(super) struct StatusFile {
    path: PathBuf,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    /// When the file was written last, and as what.
    last: Option<(Instant, Key)>,
    trouble: Trouble,
    /// Locked for as long as we live, if that was possible.
    lock: Option<File>,
}

/// What is written at once when it changes.
type Key = (Doing, Option<Carrier>, Vec<(String, String)>, u32);

/// What went wrong since a session served.
#[derive(Default)]
struct Trouble {
    error: Option<String>,
    attempts: u32,
    next_attempt: Option<SystemTime>,
}

impl StatusFile {
    /// In the agent's folder, by the number of its process and of the agent in it.
    pub(super) fn new(state: &Path) -> Self {
        let number = crate::random::number();
        let path = state.join(FOLDER).join(format!("{}-{number:016x}.json", std::process::id()));
        Self { path, book: Mutex::default() }
    }

    /// Writes how things are, if that has changed or a while has passed.
    pub(super) fn note(&self, chooser: &Chooser, doing: Doing, tunnel: Option<String>) {
        let mut book = self.book();
        let status = Status::of(chooser, doing, tunnel, &book.trouble);
        let carrier = chooser.choice().map(Choice::carrier);
        let key = (doing, carrier, status.others.clone(), status.attempts);
        if book.last.as_ref().is_some_and(|(at, noted)| *noted == key && at.elapsed() < EVERY) {
            return;
        }
        if book.last.is_none() {
            book.lock = self.lock();
        }
        book.last = Some((Instant::now(), key));
        drop(book);
        let Ok(octets) = serde_json::to_vec(&status) else { return };
        if let Err(error) = publish_private(&self.path, &octets) {
            tracing::debug!(%error, "the status was not written");
        }
    }

    /// A session serves: what went wrong before is over.
    pub(super) fn succeed(&self) {
        self.book().trouble = Trouble::default();
    }

    /// Rests until the next attempt: a session, or an attempt at one, ended for `reason`. Whether the agent goes on.
    pub(super) async fn rest(
        &self,
        chooser: &mut Chooser,
        tunnel: Option<String>,
        (after, reason): (Duration, String),
        stop: &CancellationToken,
    ) -> bool {
        {
            let trouble = &mut self.book().trouble;
            trouble.error = Some(reason.chars().take(MAX_ERROR_CHARACTERS).collect());
            trouble.attempts = trouble.attempts.saturating_add(1);
            trouble.next_attempt = SystemTime::now().checked_add(after);
        }
        let until = Instant::now() + after;
        loop {
            self.note(chooser, Doing::Waiting, tunnel.clone());
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            if stop.run_until_cancelled(sleep(left.min(EVERY))).await.is_none() {
                return false;
            }
        }
    }

    /// The lock, in the first place; and what killed agents left goes.
    fn lock(&self) -> Option<File> {
        let folder = self.path.parent()?;
        private_folder(folder).ok()?;
        sweep(folder);
        let lock = create_private(&lock_of(&self.path)).ok()?;
        lock.try_lock().ok().map(|()| lock)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StatusFile {
    fn drop(&mut self) {
        // They may never have been written.
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_file(lock_of(&self.path));
    }
}

/// The agents that run, or ran until they were killed, with the folder of `link`.
///
/// # Errors
/// A folder that can't be read.
pub fn statuses(link: &Link) -> Result<Vec<Status>, BoxError> {
    let paths = files(&link.state.join(FOLDER))?;
    Ok(paths.iter().filter_map(|path| read(path)).collect())
}

/// Prints them, as lines for people or as one JSON object each. What is left of agents that were killed goes.
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
    sweep(&link.state.join(FOLDER));
    Ok(())
}

fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(folder)?.filter_map(Result::ok).map(|entry| entry.path());
    Ok(entries.filter(|path| path.extension().is_some_and(|end| end == "json")).take(MAX_FILES).collect())
}

/// `None` if it can't be read: an agent that ends takes its file with it.
fn read(path: &Path) -> Option<Status> {
    let mut octets = Vec::new();
    File::open(path).ok()?.take(MAX_OCTETS).read_to_end(&mut octets).ok()?;
    let status: Status = serde_json::from_slice(&octets).ok()?;
    // An agent that ended meanwhile let go of the lock, too.
    let is_gone = is_gone(path) && path.exists();
    Some(if is_gone { Status { doing: Doing::Gone, ..status } } else { status })
}

/// Whether the agent that wrote `path` was killed. An agent that could not lock anything is known by the age of its file.
fn is_gone(path: &Path) -> bool {
    let Ok(lock) = File::open(lock_of(path)) else { return false };
    match lock.try_lock_shared() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => false,
    }
}

/// Removes what killed agents left.
fn sweep(folder: &Path) {
    for path in files(folder).unwrap_or_default().into_iter().filter(|path| is_gone(path)) {
        // Somebody else may have done so; or nobody may.
        let _ = std::fs::remove_file(&path);
        let _ = std::fs::remove_file(lock_of(&path));
    }
}

fn lock_of(path: &Path) -> PathBuf {
    path.with_extension("lock")
}

fn seconds_of(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> u64 {
        seconds_of(SystemTime::now())
    }

    #[test]
    fn a_status_says_which_carrier_why_and_what_became_of_the_others() {
        let status = Status {
            tunnel: Some("my-app".to_owned()),
            doing: Doing::Serving,
            carrier: Some("native".to_owned()),
            reason: Some("first to answer".to_owned()),
            for_seconds: 12,
            rtt_micros: Some(1_234),
            others: vec![("quic".to_owned(), "no answer yet".to_owned())],
            next_probe_seconds: Some(20),
            written: now(),
            ..Status::default()
        };
        let first = "my-app: by native (first to answer) for 12 s, round trip 1.234 ms";
        let rest = "\n  quic: no answer yet\n  better ones are tried again in 20 s";
        assert_eq!(status.lines(), format!("{first}{rest}"));
        let old = Status { written: 0, ..status };
        assert!(old.lines().starts_with("my-app: process 0 has not been heard of"));
        let gone = Status { doing: Doing::Gone, ..old };
        assert_eq!(gone.lines(), "my-app: process 0 was killed");
    }

    #[test]
    fn between_sessions_a_status_says_what_went_wrong_and_when_the_next_attempt_is() {
        let status = Status {
            tunnel: Some("my-app".to_owned()),
            doing: Doing::Waiting,
            others: vec![("quic".to_owned(), "no answer".to_owned())],
            last_error: Some("quic: it did not answer".to_owned()),
            attempts: 3,
            next_attempt: Some(now() + 3600),
            written: now(),
            ..Status::default()
        };
        let lines = status.lines();
        let (first, rest) = lines.split_once('\n').unwrap();
        assert!(first.starts_with("my-app: no session; trying again in 3"), "{first}");
        assert!(first.ends_with(" s, after 3 attempts"), "{first}");
        assert_eq!(rest, "  quic: no answer\n  last error: quic: it did not answer");
        let dialling = Status { doing: Doing::Dialling, last_error: None, others: Vec::new(), ..status };
        assert_eq!(dialling.lines(), "my-app: connecting");
        // A file of an agent that knew less.
        let old: Status = serde_json::from_str(r#"{"pid":1,"written":2}"#).unwrap();
        assert_eq!((old.pid, old.doing), (1, Doing::Dialling));
    }
}
