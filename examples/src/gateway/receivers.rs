//! Webhook receivers: third parties post here, their deliveries are judged and kept, and an agent polls for them.

use super::shelf::Shelf;
use super::terms::receiver;
use super::{moment, seconds};
use crate::{BoxError, random};
use adit_errors::{Code, Refusal};
use adit_router::{Received, Receiver};
use bytes::Bytes;
use data_encoding::BASE64;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// The folder in which they are kept.
const FOLDER: &str = "webhook-receivers";

/// The most receivers.
const MAX_RECEIVERS: usize = 1000;

/// The most events of a receiver that are kept, and as many bytes of them; of the unsigned ones a tenth of either, which
/// they share with nobody.
const MAX_EVENTS: usize = 1000;
const MAX_EVENT_BYTES: usize = 64 * 1024 * 1024;

/// All receivers; what they have received is in memory.
pub(super) struct Receivers {
    /// What a receiver's path follows: `http://webhooks.{zone}:{port}`.
    address: String,
    /// At most [`MAX_RECEIVERS`].
    receivers: Mutex<BTreeMap<u128, Arc<Mutex<Entry>>>>,
    /// Judges what is sent to receivers that don't exist (G-23).
    decoy: Mutex<Receiver>,
    shelf: Shelf,
}

struct Entry {
    name: Option<String>,
    validator: String,
    created: SystemTime,
    receiver: Receiver,
    signed: Kept,
    unsigned: Kept,
    last_event: u64,
}

/// The body of `POST /webhook-receivers`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewReceiver {
    validator: String,
    secret: String,
    name: Option<String>,
    signature_header: Option<String>,
    signature_encoding: Option<String>,
}

/// A receiver as it is kept in a file, with its secret: without it no signature can be checked.
#[derive(Serialize, Deserialize)]
struct KeptReceiver {
    /// Seconds since 1970.
    created: u64,
    receiver: NewReceiver,
}

impl KeptReceiver {
    fn entry(&self) -> Result<Entry, Refusal> {
        let Self { created, receiver: new } = self;
        let receiver = receiver(
            &new.validator,
            &new.secret,
            new.signature_header.as_deref(),
            new.signature_encoding.as_deref(),
        )?;
        Ok(Entry {
            name: new.name.clone(),
            validator: new.validator.clone(),
            created: SystemTime::UNIX_EPOCH
                .checked_add(Duration::from_secs(*created))
                .ok_or_else(Refusal::internal)?,
            receiver,
            signed: Kept::new(MAX_EVENTS, MAX_EVENT_BYTES),
            unsigned: Kept::new(MAX_EVENTS / 10, MAX_EVENT_BYTES / 10),
            last_event: 0,
        })
    }
}

/// A receiver as the API shows it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ReceiverView {
    id: String,
    url: String,
    name: Option<String>,
    validator: String,
    create_time: u64,
}

/// One delivery.
#[derive(Clone, Debug, Serialize)]
pub(super) struct EventView {
    /// Milliseconds since 1970, and no two of one receiver: the cursor.
    received_at: u64,
    signature_valid: bool,
    duplicate: bool,
    headers: BTreeMap<String, String>,
    /// As it was signed, in base64: a body need not be text.
    body_base64: String,
}

impl Receivers {
    /// With those that were there before; what they had received is gone.
    ///
    /// # Errors
    /// What can't be read or understood of them, for the person who starts the gateway.
    pub(super) fn open(address: String, state: &Path) -> Result<Self, BoxError> {
        let decoy = Receiver::decoy(random::octets())?;
        let (shelf, before) = Shelf::open::<KeptReceiver>(state, FOLDER)?;
        let mut receivers = BTreeMap::new();
        for (key, kept) in before {
            let damaged = |error: &str| format!("{FOLDER}/{key}.json is damaged: {error}");
            let id = parse(&key).ok_or_else(|| damaged("it has no number"))?;
            let entry = kept.entry().map_err(|refusal| damaged(&refusal.to_string()))?;
            receivers.insert(id, Arc::new(Mutex::new(entry)));
        }
        Ok(Self { address, receivers: Mutex::new(receivers), decoy: Mutex::new(decoy), shelf })
    }

    pub(super) fn create(&self, new: NewReceiver) -> Result<ReceiverView, Refusal> {
        let kept = KeptReceiver { created: seconds(moment().system()), receiver: new };
        let entry = kept.entry()?;
        if self.receivers().len() >= MAX_RECEIVERS {
            return Err(Refusal::from(Code::QUOTA_EXCEEDED));
        }
        let id = random::wide();
        self.shelf.put(&format!("{id:032x}"), &kept).map_err(|error| unsaved(&error))?;
        let view = self.view(id, &entry);
        self.receivers().insert(id, Arc::new(Mutex::new(entry)));
        Ok(view)
    }

    pub(super) fn list(&self) -> Vec<ReceiverView> {
        let all: Vec<_> = self.receivers().iter().map(|(id, entry)| (*id, Arc::clone(entry))).collect();
        all.iter().map(|(id, entry)| self.view(*id, &lock(entry))).collect()
    }

    /// From this moment on there is no such receiver.
    pub(super) fn delete(&self, id: &str) -> Result<ReceiverView, Refusal> {
        let not_found = || Refusal::from(Code::NOT_FOUND);
        let id = parse(id).ok_or_else(not_found)?;
        if !self.receivers().contains_key(&id) {
            return Err(not_found());
        }
        self.shelf.remove(&format!("{id:032x}")).map_err(|error| unsaved(&error))?;
        let entry = self.receivers().remove(&id).ok_or_else(not_found)?;
        Ok(self.view(id, &lock(&entry)))
    }

    /// At most `limit` events received after `since`, oldest first.
    pub(super) fn events(&self, id: &str, since: u64, limit: usize) -> Result<Vec<EventView>, Refusal> {
        let entry = self.find(id).ok_or_else(|| Refusal::from(Code::NOT_FOUND))?;
        let entry = lock(&entry);
        let all = entry.signed.events.iter().chain(&entry.unsigned.events);
        let mut events: Vec<_> = all.filter(|event| event.received_at > since).collect();
        events.sort_by_key(|event| event.received_at);
        Ok(events.into_iter().take(limit).map(Event::view).collect())
    }

    /// Takes a delivery, signed or not.
    ///
    /// # Errors
    /// 404, 413 or 429: it is not kept.
    pub(super) fn receive(&self, id: &str, headers: &HeaderMap, body: Bytes) -> Result<(), Refusal> {
        let now = moment().system();
        let Some(entry) = self.find(id) else {
            // The same work, and no answer that tells more.
            let mut decoy = lock(&self.decoy);
            let _ = decoy.receive(headers, &body, now);
            return Err(Refusal::from(Code::NOT_FOUND));
        };
        // Only those to the same receiver wait for one another.
        let mut entry = lock(&entry);
        let entry = &mut *entry;
        let received = entry.receiver.receive(headers, &body, now).map_err(|error| Refusal::from(&error))?;
        let milliseconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let received_at =
            u64::try_from(milliseconds).unwrap_or(u64::MAX).max(entry.last_event.saturating_add(1));
        entry.last_event = received_at;
        let kept = if received.is_signature_valid { &mut entry.signed } else { &mut entry.unsigned };
        kept.push(Event { received_at, received, headers: shown(headers), body });
        Ok(())
    }

    fn view(&self, id: u128, entry: &Entry) -> ReceiverView {
        ReceiverView {
            id: format!("{id:032x}"),
            url: format!("{}/webhooks/{id:032x}", self.address),
            name: entry.name.clone(),
            validator: entry.validator.clone(),
            create_time: seconds(entry.created),
        }
    }

    fn find(&self, id: &str) -> Option<Arc<Mutex<Entry>>> {
        self.receivers().get(&parse(id)?).cloned()
    }

    fn receivers(&self) -> MutexGuard<'_, BTreeMap<u128, Arc<Mutex<Entry>>>> {
        lock(&self.receivers)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No step under a lock leaves half a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unsaved(error: &std::io::Error) -> Refusal {
    tracing::error!(kind = ?error.kind(), "a webhook receiver could not be saved");
    Refusal::internal()
}

struct Event {
    received_at: u64,
    received: Received,
    headers: BTreeMap<String, String>,
    body: Bytes,
}

impl Event {
    fn view(&self) -> EventView {
        EventView {
            received_at: self.received_at,
            signature_valid: self.received.is_signature_valid,
            duplicate: self.received.is_duplicate,
            headers: self.headers.clone(),
            body_base64: BASE64.encode(&self.body),
        }
    }
}

/// The newest events, within a count and a size.
struct Kept {
    max_events: usize,
    max_bytes: usize,
    bytes: usize,
    events: VecDeque<Event>,
}

impl Kept {
    fn new(max_events: usize, max_bytes: usize) -> Self {
        Self { max_events, max_bytes, bytes: 0, events: VecDeque::new() }
    }

    fn push(&mut self, event: Event) {
        self.bytes += event.body.len();
        self.events.push_back(event);
        while self.events.len() > self.max_events || (self.bytes > self.max_bytes && self.events.len() > 1) {
            let oldest = self.events.pop_front();
            self.bytes -= oldest.map_or(0, |event| event.body.len());
        }
    }
}

/// What an agent needs to understand a body: what kind it is, and what event. No signature, and no cookie.
fn shown(headers: &HeaderMap) -> BTreeMap<String, String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    SHOWN.iter().filter_map(|name| Some(((*name).to_owned(), text(name)?))).collect()
}

const SHOWN: [&str; 6] = [
    "content-type",
    "content-encoding",
    "user-agent",
    "x-github-event",
    "x-github-delivery",
    "x-slack-request-timestamp",
];

fn parse(id: &str) -> Option<u128> {
    let is_id = id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_id.then(|| u128::from_str_radix(id, 16).ok())?
}
