//! Two cores and a pipe that is cut anywhere, driven by a list of octets, beside a model of what must come out.

use adit_mux::{Batch, Config, Connection, Event, Role, SessionEnd, StreamError, StreamKey};
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::time::{Duration, Instant};

/// Of each stream, in octets. A writer that found it full is woken once half of it is free.
const SEND_BUFFER: usize = 8 * 1024;
const HALF_A_BUFFER: usize = SEND_BUFFER / 2;
const HOUR: Duration = Duration::from_secs(3_600);

/// Runs `script` and then lets everything end.
///
/// # Panics
/// If bytes come out that are not those that went in, in order; if credit, windows or streams are lost; if more is held
/// than was promised; if somebody waits for what is there already; if an honest peer is refused; or if it doesn't end.
pub(crate) fn run(script: &[u8]) {
    let mut world = World::new();
    let mut script = Script(script);
    while let Some(act) = script.next() {
        world.act(act % 16, &mut script);
        world.check();
    }
    world.wind_down();
}

/// How many streams each side may open.
const STREAMS: u32 = 6;
/// What each stream of the peer may send unasked, in octets; the floor.
const WINDOW: u32 = 16 * 1024;

struct Script<'script>(&'script [u8]);

impl Script<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> usize {
        usize::from(self.next().unwrap_or_default())
    }

    /// Small numbers often, large ones now and then.
    fn size(&mut self) -> usize {
        let number = self.number();
        (number & 31) << (number >> 5)
    }
}

struct World {
    now: Instant,
    ends: [End; 2],
}

struct End {
    core: Connection,
    batch: Batch,
    /// What this side wrote and the other has not received.
    wire: VecDeque<u8>,
    streams: BTreeMap<u32, Half>,
    /// Streams whose id is not known yet.
    unnamed: Vec<(StreamKey, Half)>,
    pool: u64,
}

/// What one side knows of a stream.
struct Half {
    key: StreamKey,
    written: u64,
    read: u64,
    is_finished: bool,
    is_reset: bool,
    is_stopped: bool,
    /// Whether reading came to its end, one way or the other.
    is_read_out: bool,
    /// Whether the handles are gone.
    is_released: bool,
    waits_to_read: bool,
    waits_to_write: bool,
}

impl Half {
    fn new(key: StreamKey) -> Self {
        Self {
            key,
            written: 0,
            read: 0,
            is_finished: false,
            is_reset: false,
            is_stopped: false,
            is_read_out: false,
            is_released: false,
            waits_to_read: false,
            waits_to_write: false,
        }
    }
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let config = Config::default()
            .max_peer_streams(STREAMS)
            .hello_window(WINDOW)
            .start_window(20 * 1024)
            .max_window(64 * 1024)
            .pool(96 * 1024)
            .send_buffer(SEND_BUFFER)
            // Scripts may hold a pipe up for minutes. That the limits of time hold is shown elsewhere.
            .handshake_timeout(HOUR)
            .partial_frame_timeout(HOUR)
            .write_stall_timeout(HOUR)
            .keepalive(Duration::from_secs(15), HOUR);
        let end = |role| {
            let core = Connection::new(role, config.clone(), now);
            let pool = core.stats().window_pool_left;
            End {
                core,
                batch: Batch::new(),
                wire: VecDeque::new(),
                streams: BTreeMap::new(),
                unnamed: Vec::new(),
                pool,
            }
        };
        Self { now, ends: [end(Role::Dialler), end(Role::Listener)] }
    }

    fn act(&mut self, act: u8, script: &mut Script<'_>) {
        let side = script.number();
        let end = &mut self.ends[side & 1];
        let choice = side >> 1;
        match act {
            0 | 1 => end.transmit(self.now, script.size()),
            2 | 3 => self.deliver(side & 1, script.size()),
            4 => {
                if let Ok(Some(key)) = end.core.open(Bytes::from(vec![3; script.size() % 4097])) {
                    end.unnamed.push((key, Half::new(key)));
                }
            }
            5 => end.accept(choice.is_multiple_of(4)),
            // Enough that buffers and windows are full now and then.
            6 | 7 => end.write(choice, script.size() * 3, act == 7),
            8 | 9 => end.read(choice, script.size().max(1), act == 9),
            10 => end.pick(choice, |core, half| {
                if core.finish_stream(half.key).is_ok() {
                    half.is_finished = true;
                }
            }),
            11 => end.pick(choice, |core, half| {
                core.reset(half.key, CloseCode::CANCELLED);
                half.is_reset = true;
            }),
            12 => end.pick(choice, |core, half| {
                core.stop(half.key, CloseCode::CANCELLED);
                half.is_stopped = true;
            }),
            13 => {
                self.now += Duration::from_micros(1 << (choice % 18));
                let now = self.now;
                self.ends.iter_mut().for_each(|end| end.core.handle_timeout(now));
            }
            14 if choice.is_multiple_of(2) => drop(end.core.ping()),
            14 => end.pick(choice / 2, release),
            _ => drop(end.core.send_datagram(self.now, 1, Bytes::from(vec![1; script.size() % 16_377]))),
        }
    }

    /// Some of what `side` wrote arrives, in one piece.
    fn deliver(&mut self, side: usize, most: usize) {
        let wire = &mut self.ends[side].wire;
        let octets: Vec<u8> = wire.drain(..most.min(wire.len())).collect();
        let other = &mut self.ends[1 - side];
        if let Err(end) = other.core.receive(self.now, octets.into()) {
            assert!(
                matches!(end, SessionEnd::Local { .. } | SessionEnd::Peer { .. }),
                "an honest peer: {end}"
            );
        }
    }

    /// What must hold at any time.
    fn check(&mut self) {
        for end in &mut self.ends {
            end.take_events();
            end.name_streams();
            let stats = end.core.stats();
            assert!(stats.window_pool_left <= end.pool, "more window came back than was taken");
            assert_eq!(stats.budget_breaches, 0, "an honest peer spends no budget");
            // What `Config` states: what is taken from the pool, and the floor for each stream.
            let most = end.pool - stats.window_pool_left + stats.open_streams * u64::from(WINDOW);
            assert!(stats.unread_bytes <= most, "{} octets are unread, over {most}", stats.unread_bytes);
            while end.core.receive_datagram().is_some() {}
        }
        self.check_read_at_most_what_was_written();
        self.check_no_more_is_promised_than_is_reserved();
    }

    fn check_read_at_most_what_was_written(&self) {
        for (one, other) in [(0, 1), (1, 0)] {
            for (id, half) in &self.ends[one].streams {
                if let Some(writer) = self.ends[other].streams.get(id) {
                    assert!(half.read <= writer.written, "stream {id}: more was read than written");
                }
            }
        }
    }

    /// What a side may still be sent and has not read is no more than it has put by for that.
    fn check_no_more_is_promised_than_is_reserved(&self) {
        for (one, other) in [(0, 1), (1, 0)] {
            let (sender, reader) = (&self.ends[one], &self.ends[other]);
            let promised = |(id, writer): (&u32, &Half)| {
                let half = reader.streams.get(id)?;
                if writer.is_reset || half.is_stopped || half.is_read_out {
                    return None;
                }
                let sent = writer.written - sender.core.unsent(writer.key) as u64;
                Some(sent + sender.core.credit(writer.key) - half.read)
            };
            let promised: u64 = sender.streams.iter().filter_map(promised).sum();
            let stats = reader.core.stats();
            let most = reader.pool - stats.window_pool_left + stats.open_streams * u64::from(WINDOW);
            assert!(promised <= most, "{promised} octets are promised, over {most}");
        }
    }

    /// Everybody finishes and lets go; nothing may be left.
    fn wind_down(&mut self) {
        self.check_no_crumb_is_kept_for_long();
        self.read_all();
        for round in 0.. {
            assert!(round < 5_000, "it doesn't end");
            self.settle();
            let mut is_quiet = true;
            for end in &mut self.ends {
                end.accept(false);
                is_quiet &= end.finish_all();
            }
            if is_quiet && self.ends.iter().all(|end| end.wire.is_empty() && !end.core.has_output()) {
                break;
            }
            self.now += Duration::from_millis(5);
            let now = self.now;
            self.ends.iter_mut().for_each(|end| end.core.handle_timeout(now));
        }
        self.check_nothing_is_lost();
        for end in &mut self.ends {
            for mut half in std::mem::take(&mut end.streams).into_values() {
                release(&mut end.core, &mut half);
            }
        }
        self.settle();
        for end in &self.ends {
            assert_eq!(end.core.end(), None);
            assert_eq!(end.core.open_streams(), 0, "a stream's place was lost");
            let stats = end.core.stats();
            assert_eq!(stats.window_pool_left, end.pool, "a window was lost");
            assert_eq!(stats.unread_bytes, 0, "octets of streams that are gone are held");
            assert_eq!(stats.streams_closed, stats.streams_opened + stats.streams_accepted);
        }
        self.check_no_stream_is_lost();
    }

    /// Nobody reads on. What credit there is, however little, is used all the same: half a second later at the latest.
    fn check_no_crumb_is_kept_for_long(&mut self) {
        self.settle();
        self.now += Duration::from_millis(500);
        let now = self.now;
        self.ends.iter_mut().for_each(|end| end.core.handle_timeout(now));
        self.settle();
        for end in &self.ends {
            for (id, half) in &end.streams {
                let (unsent, credit) = (end.core.unsent(half.key), end.core.credit(half.key));
                assert!(
                    unsent == 0 || credit == 0,
                    "stream {id}: {unsent} octets wait, with {credit} of credit"
                );
            }
        }
    }

    /// Reads all that was written before anything ends, so that all credit is due.
    fn read_all(&mut self) {
        for _ in 0..200 {
            self.settle();
            let mut has_read = false;
            for end in &mut self.ends {
                end.accept(false);
                for half in end.streams.values_mut().filter(|half| !half.is_read_out) {
                    let before = half.read;
                    read(&mut end.core, half, 70_000, false);
                    has_read |= half.read > before;
                }
            }
            if !has_read {
                return;
            }
            self.now += Duration::from_millis(5);
            let now = self.now;
            self.ends.iter_mut().for_each(|end| end.core.handle_timeout(now));
        }
    }

    /// Each side can open as many streams as at the beginning.
    fn check_no_stream_is_lost(&mut self) {
        for side in [0, 1] {
            let core = &mut self.ends[side].core;
            let opened = (0..STREAMS).filter(|_| matches!(core.open(Bytes::new()), Ok(Some(_)))).count();
            assert_eq!(opened, STREAMS as usize, "the right to open a stream was lost");
        }
    }

    fn check_nothing_is_lost(&self) {
        for (one, other) in [(0, 1), (1, 0)] {
            for (id, half) in &self.ends[one].streams {
                let Some(writer) = self.ends[other].streams.get(id) else { continue };
                if writer.is_finished && !writer.is_reset && !half.is_stopped {
                    assert_eq!(half.read, writer.written, "stream {id}: finished, and not all came");
                }
            }
        }
    }

    /// Nothing is under way: who has read all has given at least three quarters of the window, which is when it speaks.
    fn check_no_credit_is_lost(&self) {
        for (one, other) in [(0, 1), (1, 0)] {
            for (id, writer) in &self.ends[one].streams {
                let Some(reader) = self.ends[other].streams.get(id) else { continue };
                let is_open =
                    !(writer.is_finished || writer.is_reset || reader.is_stopped || reader.is_read_out);
                if is_open && reader.read == writer.written {
                    let credit = self.ends[one].core.credit(writer.key);
                    assert!(
                        credit > u64::from(WINDOW) * 3 / 4,
                        "stream {id}: credit was lost, {credit} is left"
                    );
                }
            }
        }
    }

    fn settle(&mut self) {
        loop {
            for side in [0, 1] {
                self.ends[side].transmit(self.now, usize::MAX);
                self.deliver(side, usize::MAX);
                self.check();
            }
            if self
                .ends
                .iter()
                .all(|end| end.wire.is_empty() && end.batch.is_empty() && !end.core.has_output())
            {
                return self.check_no_credit_is_lost();
            }
        }
    }
}

impl End {
    /// Writes up to `most` octets to the wire.
    fn transmit(&mut self, now: Instant, most: usize) {
        self.core.poll_transmit(now, &mut self.batch);
        let mut slices = [IoSlice::new(&[]); 8];
        let used = self.batch.gather(&mut slices);
        let mut written = 0;
        for slice in &slices[..used] {
            let taken = slice.len().min(most - written);
            self.wire.extend(&slice[..taken]);
            written += taken;
        }
        self.batch.advance(written);
        self.core.wrote(now, written, !self.batch.is_empty());
    }

    fn accept(&mut self, refuses: bool) {
        while let Some(key) = self.core.next_incoming() {
            let id = self.core.stream_id(key);
            let mut half = Half::new(key);
            if refuses {
                self.core.refuse(key, CloseCode::REFUSED);
                half.is_reset = true;
                half.is_stopped = true;
                half.is_read_out = true;
            } else {
                self.core.accept(key);
            }
            self.streams.insert(id, half);
        }
    }

    /// Learns the ids that streams got when their OPEN went out.
    fn name_streams(&mut self) {
        for (key, half) in std::mem::take(&mut self.unnamed) {
            match self.core.stream_id(key) {
                0 => self.unnamed.push((key, half)),
                id => drop(self.streams.insert(id, half)),
            }
        }
    }

    fn pick(&mut self, choice: usize, act: impl FnOnce(&mut Connection, &mut Half)) {
        let live = self
            .streams
            .values_mut()
            .filter(|half| !(half.is_read_out && (half.is_finished || half.is_reset)));
        let mut live: Vec<_> = live.chain(self.unnamed.iter_mut().map(|(_, half)| half)).collect();
        if live.is_empty() {
            return;
        }
        let at = choice % live.len();
        act(&mut self.core, live[at]);
    }

    fn write(&mut self, choice: usize, length: usize, as_chunk: bool) {
        self.pick(choice, |core, half| {
            let octets: Vec<u8> = (half.written..).take(length).map(octet).collect();
            let taken = if as_chunk {
                core.write_chunk(half.key, octets.into()).map(|taken| if taken { length } else { 0 })
            } else {
                core.write(half.key, &octets)
            };
            match taken {
                Ok(taken) => {
                    half.waits_to_write = taken == 0 && length > 0;
                    half.written += taken as u64;
                }
                Err(StreamError::Stopped { .. }) => half.is_reset = true,
                Err(error) => assert!(half.is_finished || half.is_reset, "{error}"),
            }
        });
    }

    fn read(&mut self, choice: usize, most: usize, as_chunk: bool) {
        self.pick(choice, |core, half| read(core, half, most, as_chunk));
    }

    fn take_events(&mut self) {
        while let Some(event) = self.core.poll_event() {
            let all = self.streams.values_mut().chain(self.unnamed.iter_mut().map(|(_, half)| half));
            match event {
                Event::Readable(key) => {
                    all.filter(|half| half.key == key).for_each(|half| half.waits_to_read = false);
                }
                Event::Writable(key) => {
                    all.filter(|half| half.key == key).for_each(|half| half.waits_to_write = false);
                }
                _ => {}
            }
        }
        // Whoever waits and was not told has nothing to come for, or too little.
        for half in self.streams.values_mut().filter(|half| half.waits_to_read) {
            let mut out = [0; 1];
            assert_eq!(self.core.read(half.key, &mut out), Ok(None), "a reader was not woken");
        }
        for half in self.streams.values().filter(|half| half.waits_to_write) {
            let room = self.core.room(half.key);
            assert!(matches!(room, Ok(0..HALF_A_BUFFER)), "a writer was not woken: {room:?}");
        }
    }

    /// Reads and ends everything as far as it goes now; says whether nothing was left to do.
    fn finish_all(&mut self) -> bool {
        let mut is_quiet = self.unnamed.is_empty();
        for half in self.streams.values_mut() {
            if !half.is_finished && !half.is_reset {
                half.is_finished = self.core.finish_stream(half.key).is_ok();
                half.is_reset = !half.is_finished;
                is_quiet = false;
            }
            while !half.is_read_out {
                let before = half.read;
                read(&mut self.core, half, 70_000, false);
                if half.read == before {
                    break;
                }
            }
            is_quiet &= half.is_read_out;
        }
        is_quiet
    }
}

fn read(core: &mut Connection, half: &mut Half, most: usize, as_chunk: bool) {
    let mut out = vec![0; most];
    let got = if as_chunk {
        core.read_chunk(half.key, most).map(|chunk| chunk.map(|chunk| chunk.to_vec()))
    } else {
        core.read(half.key, &mut out).map(|read| read.map(|read| out[..read].to_vec()))
    };
    half.waits_to_read = matches!(got, Ok(None));
    match got {
        Ok(None) => {}
        Ok(Some(octets)) if octets.is_empty() => half.is_read_out = true,
        Ok(Some(octets)) => {
            let expected: Vec<u8> = (half.read..).take(octets.len()).map(octet).collect();
            assert_eq!(octets, expected, "not the bytes that were written");
            half.read += octets.len() as u64;
        }
        Err(_) => half.is_read_out = true,
    }
}

/// Lets go of both handles: what is not finished is reset, and nothing more is read.
fn release(core: &mut Connection, half: &mut Half) {
    if std::mem::replace(&mut half.is_released, true) {
        return;
    }
    core.release_send(half.key);
    core.release_recv(half.key);
    half.is_reset |= !half.is_finished;
    half.is_stopped = true;
    half.is_read_out = true;
    (half.waits_to_read, half.waits_to_write) = (false, false);
}

/// What stands at a place of every stream.
fn octet(at: u64) -> u8 {
    (at % 251) as u8
}
