//! Whose turn it is to send: bands of priority, and equal turns within each.

use adit_wire_proto::frame::MAX_DATA_BYTES;
use std::collections::VecDeque;

/// How urgent what a stream sends is, beside the other streams of its session.
///
/// A more urgent band goes first, but never shuts the others out: a band that waits gets a turn after at most
/// 256 KiB of more urgent ones. Streams of one band take turns, see [`Connection`](crate::Connection).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "there are four bands")]
pub enum Priority {
    /// What a person waits for at this moment, and little of it: a prompt, a call's signalling.
    Urgent,
    /// Everything that nothing is known of.
    #[default]
    Normal,
    /// What may take its time: a download, an image.
    Low,
    /// What nobody waits for: a backup, a log.
    Background,
}

impl Priority {
    const BANDS: usize = 4;

    const fn index(self) -> usize {
        match self {
            Self::Urgent => 0,
            Self::Normal => 1,
            Self::Low => 2,
            Self::Background => 3,
        }
    }
}

/// The streams that have something to send, each once.
///
/// ```text
///             add, quantum left            add, quantum used
///                    |                            |
///  Urgent      first [a b]                  rest [c d e]
///  Normal      first []                     rest [f]
///  ...
/// ```
///
/// In each round of a band every stream has one quantum, by default one frame. A stream that was idle spends it ahead
/// of those that wait (`first`), so that a keystroke overtakes any number of downloads; once it is spent, the stream
/// waits with the others (`rest`) until all that waited there had a turn, which is what ends a round. So a stream
/// that comes and goes gets no more than one that stays.
///
/// Two bounds hold whatever streams do: between two turns of `rest` at most [`Schedule::MOST_FIRST`] octets of
/// `first` go out, and between two turns of a band that waits at most [`Schedule::MOST_URGENT`] of more urgent ones.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    bands: [Band; Priority::BANDS],
    /// The turn that was given last.
    turn: Option<Turn>,
}

#[derive(Debug, Default)]
struct Band {
    first: VecDeque<usize>,
    rest: VecDeque<usize>,
    round: u32,
    /// How many turns of `rest` are left in this round.
    left: usize,
    /// Octets of `first` since the last turn of `rest`, while `rest` waits.
    first_sent: usize,
    /// Octets of more urgent bands since the last turn of this one, while it waits.
    urgent_sent: usize,
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    band: usize,
    is_first: bool,
}

/// What one stream is due: its weight, its band, and how much of its quantum it has spent.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) priority: Priority,
    /// How many frames its quantum is, 1 to 16.
    pub(crate) weight: u8,
    round: u32,
    sent: u32,
}

impl Share {
    pub(crate) const fn new() -> Self {
        Self { priority: Priority::Normal, weight: 1, round: 0, sent: 0 }
    }

    fn sent_in(&mut self, round: u32) -> u32 {
        if self.round != round {
            (self.round, self.sent) = (round, 0);
        }
        self.sent
    }
}

impl Schedule {
    const MOST_FIRST: usize = 64 * 1024;
    const MOST_URGENT: usize = 256 * 1024;

    pub(super) fn is_empty(&self) -> bool {
        self.bands.iter().all(Band::is_empty)
    }

    /// Lines a stream up that has something to send and is not lined up.
    pub(super) fn add(&mut self, place: usize, share: &mut Share) {
        if let Some(band) = self.bands.get_mut(share.priority.index()) {
            band.add(place, share);
        }
    }

    /// The stream whose turn it is; it is lined up no more. [`took`](Self::took) says what it made of it.
    pub(super) fn next(&mut self) -> Option<usize> {
        let index = self.next_band()?;
        let band = self.bands.get_mut(index)?;
        let (place, is_first) = band.next()?;
        self.turn = Some(Turn { band: index, is_first });
        Some(place)
    }

    /// Takes note that the stream whose turn it is sent so many octets, headers included.
    pub(super) fn took(&mut self, share: &mut Share, bytes: usize) {
        let Some(turn) = self.turn.take() else { return };
        let Some(band) = self.bands.get_mut(turn.band) else { return };
        band.took(turn.is_first, share, bytes);
        for waiting in self.bands.iter_mut().skip(turn.band + 1).filter(|band| !band.is_empty()) {
            waiting.urgent_sent = waiting.urgent_sent.saturating_add(bytes);
        }
    }

    fn next_band(&self) -> Option<usize> {
        let is_overdue = |band: &Band| band.urgent_sent >= Self::MOST_URGENT && !band.is_empty();
        let overdue = self.bands.iter().rposition(is_overdue);
        overdue.or_else(|| self.bands.iter().position(|band| !band.is_empty()))
    }
}

impl Band {
    fn is_empty(&self) -> bool {
        self.first.is_empty() && self.rest.is_empty()
    }

    fn add(&mut self, place: usize, share: &mut Share) {
        if self.is_empty() {
            self.urgent_sent = 0;
        }
        let quantum = u32::from(share.weight) * u32::from(MAX_DATA_BYTES);
        if share.sent_in(self.round) < quantum {
            self.first.push_back(place);
        } else {
            if self.rest.is_empty() {
                self.first_sent = 0;
            }
            self.rest.push_back(place);
        }
    }

    fn next(&mut self) -> Option<(usize, bool)> {
        let may_go_first = self.first_sent < Schedule::MOST_FIRST || self.rest.is_empty();
        if may_go_first && let Some(place) = self.first.pop_front() {
            return Some((place, true));
        }
        if self.left == 0 {
            self.round = self.round.wrapping_add(1);
            self.left = self.rest.len();
        }
        let place = self.rest.pop_front()?;
        self.left = self.left.saturating_sub(1);
        Some((place, false))
    }

    fn took(&mut self, is_first: bool, share: &mut Share, bytes: usize) {
        self.urgent_sent = 0;
        self.first_sent = if is_first { self.first_sent.saturating_add(bytes) } else { 0 };
        let sent = share.sent_in(self.round);
        share.sent = sent.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = 16_384;

    /// Streams that have something to send whenever `is_due` says so, and how many octets each got to send.
    struct Link {
        schedule: Schedule,
        shares: Vec<Share>,
        sent: Vec<usize>,
        lined_up: Vec<bool>,
    }

    impl Link {
        fn new(shares: Vec<Share>) -> Self {
            let streams = shares.len();
            Self {
                schedule: Schedule::default(),
                shares,
                sent: vec![0; streams],
                lined_up: vec![false; streams],
            }
        }

        /// Gives `turns` turns. A stream of `lengths` sends so many octets in each, and is due again `pause` turns later.
        fn run(&mut self, turns: usize, lengths: &[usize], pauses: &[usize]) {
            let mut due = vec![0; lengths.len()];
            for turn in 0..turns {
                for (place, due) in due.iter().enumerate() {
                    if !self.lined_up[place] && *due <= turn {
                        self.lined_up[place] = true;
                        self.schedule.add(place, &mut self.shares[place]);
                    }
                }
                let Some(place) = self.schedule.next() else { continue };
                self.lined_up[place] = false;
                let frames = usize::from(self.shares[place].weight);
                let bytes = if lengths[place] < FRAME { lengths[place] } else { lengths[place] * frames };
                self.schedule.took(&mut self.shares[place], bytes);
                self.sent[place] += bytes;
                due[place] = turn + pauses[place];
            }
        }
    }

    fn shares(priorities: &[Priority]) -> Vec<Share> {
        priorities.iter().map(|priority| Share { priority: *priority, ..Share::new() }).collect()
    }

    #[test]
    fn a_stream_that_comes_and_goes_gets_no_more_than_one_that_stays() {
        let mut link = Link::new(shares(&[Priority::Normal; 4]));
        // Two are due again at once, two only after somebody else had a turn.
        link.run(4_000, &[FRAME; 4], &[0, 0, 2, 3]);
        let (least, most) = (link.sent.iter().min().unwrap(), link.sent.iter().max().unwrap());
        assert!(most - least <= 4 * FRAME, "{:?}", link.sent);
    }

    #[test]
    fn mx32_whoever_was_idle_goes_ahead_of_any_number_that_wait() {
        let mut link = Link::new(shares(&[Priority::Normal; 501]));
        let lengths: Vec<_> = (0..501).map(|at| if at == 0 { 100 } else { FRAME }).collect();
        let pauses: Vec<_> = (0..501).map(|at| if at == 0 { 10 } else { 0 }).collect();
        link.run(6_000, &lengths, &pauses);
        // Each time it was due it had its turn next, but for the one that waits a round.
        assert!(link.sent[0] >= 100 * 400, "{}", link.sent[0]);
    }

    #[test]
    fn streams_that_are_new_all_the_time_do_not_shut_out_one_that_waits() {
        let mut schedule = Schedule::default();
        let mut old = Share::new();
        schedule.add(0, &mut old);
        assert_eq!(schedule.next(), Some(0));
        schedule.took(&mut old, FRAME);
        schedule.add(0, &mut old);
        let mut turns = 0;
        for place in 1..1_000 {
            let mut fresh = Share::new();
            schedule.add(place, &mut fresh);
            let next = schedule.next().unwrap();
            if next == 0 {
                turns += 1;
                schedule.took(&mut old, FRAME);
                schedule.add(0, &mut old);
            } else {
                schedule.took(&mut fresh, FRAME);
            }
        }
        assert!(turns >= 1_000 / 6, "{turns}");
    }

    #[test]
    fn weights_divide_a_band() {
        let mut link = Link::new(shares(&[Priority::Normal; 3]));
        link.shares[0].weight = 4;
        link.run(3_000, &[FRAME; 3], &[0; 3]);
        let ratio = link.sent[0] * 100 / link.sent[1];
        assert!((380..=420).contains(&ratio), "{:?}", link.sent);
        assert!(link.sent[1].abs_diff(link.sent[2]) <= FRAME);
    }

    #[test]
    fn a_more_urgent_band_goes_first_and_shuts_nobody_out() {
        let all = [Priority::Background, Priority::Low, Priority::Normal, Priority::Urgent];
        let mut link = Link::new(shares(&all));
        link.run(10_000, &[FRAME; 4], &[0; 4]);
        let total: usize = link.sent.iter().sum();
        assert!(link.sent[3] * 100 >= total * 80, "{:?}", link.sent);
        for waiting in &link.sent[..3] {
            assert!(waiting * 100 >= total * 4, "{:?}", link.sent);
        }
        // One keystroke among them is next, whatever is queued.
        let mut link = Link::new(shares(&[Priority::Urgent, Priority::Normal]));
        link.run(1_000, &[100, FRAME], &[5, 0]);
        assert!(link.sent[0] >= 100 * 150, "{:?}", link.sent);
    }

    #[test]
    fn what_is_lined_up_comes_out_once() {
        let mut schedule = Schedule::default();
        let mut all: Vec<Share> = (0..100).map(|at| Share { weight: 1 + at % 16, ..Share::new() }).collect();
        for (place, share) in all.iter_mut().enumerate() {
            share.priority = [Priority::Urgent, Priority::Low][place % 2];
            share.sent = u32::from(MAX_DATA_BYTES) * u32::from(place % 3 == 0);
            schedule.add(place, share);
        }
        let mut out: Vec<usize> = std::iter::from_fn(|| schedule.next()).collect();
        out.sort_unstable();
        assert_eq!(out, (0..100).collect::<Vec<_>>());
        assert!(schedule.is_empty());
    }
}
