//! Which way the next message of a flow goes.

use super::Oversize;

/// One flow, as far as that is concerned.
///
/// A datagram that overtakes the head of its stream is one of an unknown flow, and is dropped: so the first messages go as
/// records. The side that opened the stream sends datagrams once anything has come back; the other one, once a datagram has
/// come, since only then its peer is known to know the stream's id.
///
/// ```text
///              received a record   received a datagram
///  opener      ───► datagrams      ───► datagrams
///  acceptor    (records)           ───► datagrams
/// ```
#[derive(Debug)]
pub(super) struct Way {
    is_opener: bool,
    sends_datagrams: bool,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Datagram,
    Record,
    /// It is longer than may be.
    Drop,
}

impl Way {
    pub(super) const fn new(is_opener: bool) -> Self {
        Self { is_opener, sends_datagrams: false }
    }

    pub(super) const fn received_record(&mut self) {
        self.sends_datagrams |= self.is_opener;
    }

    pub(super) const fn received_datagram(&mut self) {
        self.sends_datagrams = true;
    }

    /// The way of a message of `length` octets, where datagrams may now have `max_datagram` and messages `max_message`.
    pub(super) const fn choose(
        &self,
        length: usize,
        max_datagram: usize,
        max_message: usize,
        oversize: Oversize,
    ) -> Choice {
        let fits = length <= max_datagram;
        match oversize {
            _ if length > max_message => Choice::Drop,
            // A peer that takes no datagrams takes records, whatever was asked for.
            Oversize::Drop if !fits && max_datagram > 0 => Choice::Drop,
            Oversize::Drop | Oversize::Record if fits && max_datagram > 0 && self.sends_datagrams => {
                Choice::Datagram
            }
            Oversize::Drop | Oversize::Record => Choice::Record,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_messages_are_records_until_the_peer_is_known_to_know_the_flow() {
        let choose = |way: &Way| way.choose(100, 1200, 65_507, Oversize::Record);
        let (mut opener, mut acceptor) = (Way::new(true), Way::new(false));
        assert_eq!((choose(&opener), choose(&acceptor)), (Choice::Record, Choice::Record));
        opener.received_record();
        acceptor.received_record();
        assert_eq!((choose(&opener), choose(&acceptor)), (Choice::Datagram, Choice::Record));
        acceptor.received_datagram();
        assert_eq!(choose(&acceptor), Choice::Datagram);
    }

    #[test]
    fn m33_what_is_too_long_is_a_record_or_dropped_and_never_cut() {
        let mut way = Way::new(true);
        way.received_datagram();
        let rows = [
            // length, datagrams up to, messages up to, asked for
            (1200, 1200, 65_507, Oversize::Record, Choice::Datagram),
            (1201, 1200, 65_507, Oversize::Record, Choice::Record),
            (1201, 1200, 1200, Oversize::Record, Choice::Drop),
            (1200, 1200, 65_507, Oversize::Drop, Choice::Datagram),
            (1201, 1200, 65_507, Oversize::Drop, Choice::Drop),
            (65_508, 65_535, 65_507, Oversize::Record, Choice::Drop),
            (0, 0, 65_507, Oversize::Record, Choice::Record),
            (9000, 0, 65_507, Oversize::Drop, Choice::Record),
        ];
        for (length, max_datagram, max_message, oversize, expected) in rows {
            let chosen = way.choose(length, max_datagram, max_message, oversize);
            assert_eq!(chosen, expected, "{length} of {max_datagram}, {oversize:?}");
        }
    }
}
