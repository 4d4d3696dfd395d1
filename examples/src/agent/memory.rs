//! By which carrier the agent's last session went, over restarts: asked first by the next one.
//!
//! A small file of the owner's alone in the agent's folder. It only saves time, so nothing about it is an error: what can't
//! be read, or is about another gateway, or old, is as though it weren't there.

use super::config::Link;
use crate::files::publish_private;
use adit_mux::Carrier;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How long a network is taken to stay as it was.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// How often what goes on working is written again, so that it is young when the agent ends.
const EVERY: Duration = Duration::from_secs(3600);

/// A file that is longer wasn't written by us.
const MAX_OCTETS: u64 = 1024;

/// In the agent's folder; agents that share it share this, too.
const FILE: &str = "carrier.json";

/// What is remembered of the carriers to one gateway.
pub(super) struct Memory {
    path: PathBuf,
    gateway: String,
    /// With only one carrier there is nothing to choose.
    has_choice: bool,
    written: Option<(Carrier, Instant)>,
}

#[derive(Serialize, Deserialize)]
struct Record {
    gateway: String,
    carrier: String,
    /// Since 1970.
    seconds: u64,
}

impl Memory {
    pub(super) fn of(link: &Link) -> Self {
        let has_choice = link.carriers.order.len() > 1;
        Self { path: link.state.join(FILE), gateway: link.gateway.clone(), has_choice, written: None }
    }

    /// What worked last, if that was not long ago.
    pub(super) fn recall(&self) -> Option<Carrier> {
        if !self.has_choice {
            return None;
        }
        match read(&self.path) {
            Ok(record) => record.current(&self.gateway),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(kind = ?error.kind(), "what worked last can't be read; all carriers are tried in order");
                None
            }
        }
    }

    /// Notes that a session on `carrier` works.
    pub(super) fn note(&mut self, carrier: Carrier) {
        let is_known = self.written.is_some_and(|(known, at)| known == carrier && at.elapsed() < EVERY);
        if is_known || !self.has_choice {
            return;
        }
        self.written = Some((carrier, Instant::now()));
        let record =
            Record { gateway: self.gateway.clone(), carrier: carrier.to_string(), seconds: seconds_now() };
        let written = serde_json::to_vec(&record).map_err(io::Error::from);
        if let Err(error) = written.and_then(|octets| publish_private(&self.path, &octets)) {
            tracing::debug!(kind = ?error.kind(), "what works was not written down");
        }
    }
}

impl Record {
    /// The carrier, if the record is of this gateway and young. One of the future is of a clock that was set back.
    fn current(self, gateway: &str) -> Option<Carrier> {
        let age = seconds_now().checked_sub(self.seconds)?;
        let is_ours = self.gateway == gateway && age < LIFETIME.as_secs();
        is_ours.then(|| self.carrier.parse().ok())?
    }
}

fn read(path: &Path) -> io::Result<Record> {
    let mut octets = Vec::new();
    File::open(path)?.take(MAX_OCTETS).read_to_end(&mut octets)?;
    Ok(serde_json::from_slice(&octets)?)
}

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn memory(folder: &Folder, gateway: &str) -> Memory {
        let (path, gateway) = (folder.0.join(FILE), gateway.to_owned());
        Memory { path, gateway, has_choice: true, written: None }
    }

    fn folder(name: &str) -> Folder {
        Folder(std::env::temp_dir().join(format!("adit-memory-{name}-{}", std::process::id())))
    }

    fn write(memory: &Memory, record: &Record) {
        publish_private(&memory.path, &serde_json::to_vec(record).unwrap()).unwrap();
    }

    #[test]
    fn what_worked_is_known_to_the_next_run_for_a_day_and_for_its_own_gateway() {
        let folder = folder("day");
        let mut before = memory(&folder, "gateway:1");
        assert_eq!(before.recall(), None, "there is no file yet, nor a folder");
        before.note(Carrier::WebSocket);
        before.note(Carrier::Native);
        assert_eq!(memory(&folder, "gateway:1").recall(), Some(Carrier::Native));
        assert_eq!(memory(&folder, "gateway:2").recall(), None);
        assert_eq!(Memory { has_choice: false, ..memory(&folder, "gateway:1") }.recall(), None);
        for (seconds, recalled) in [
            (seconds_now() - LIFETIME.as_secs() + 60, Some(Carrier::Native)),
            (seconds_now() - LIFETIME.as_secs(), None),
            (seconds_now() + 3600, None),
        ] {
            let record = Record { gateway: "gateway:1".to_owned(), carrier: "native".to_owned(), seconds };
            write(&before, &record);
            assert_eq!(memory(&folder, "gateway:1").recall(), recalled);
        }
    }

    #[test]
    fn what_cannot_be_read_is_as_though_it_were_not_there() {
        let folder = folder("damaged");
        let mut memory = memory(&folder, "gateway:1");
        memory.note(Carrier::Native);
        let whole = std::fs::read(&memory.path).unwrap();
        let padded = [&vec![b' '; 2000][..], &whole].concat();
        for damaged in [&whole[..whole.len() - 1], b"", b"{}", b"\xff\xfe", &padded] {
            std::fs::write(&memory.path, damaged).unwrap();
            assert_eq!(memory.recall(), None);
        }
        let record =
            Record { gateway: "gateway:1".to_owned(), carrier: "pigeon".to_owned(), seconds: seconds_now() };
        write(&memory, &record);
        assert_eq!(memory.recall(), None, "a carrier of another version");
        memory.written = None;
        memory.note(Carrier::Http2);
        assert_eq!(memory.recall(), Some(Carrier::Http2), "it is written anew");
    }
}
