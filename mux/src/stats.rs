//! What a session has done so far.

use std::time::Duration;

/// Counters of one session, from its start on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionStats {
    /// Octets read from the connection.
    pub bytes_received: u64,
    /// Octets written to the connection.
    pub bytes_sent: u64,
    /// Octets of payload in DATA received.
    pub payload_received: u64,
    /// Octets of payload in DATA sent.
    pub payload_sent: u64,
    /// Frames received, of every kind.
    pub frames_received: u64,
    /// OPEN, DATA, CREDIT, RESET and STOP frames sent from queues.
    pub frames_sent: u64,
    /// Streams opened by this side.
    pub streams_opened: u64,
    /// Streams opened by the peer.
    pub streams_accepted: u64,
    /// Streams of the peer that the application refused.
    pub streams_refused: u64,
    /// Streams that the end of a drain's time cut.
    pub streams_cut_by_drain: u64,
    /// Streams live now.
    pub open_streams: u64,
    /// Streams whose place is free again.
    pub streams_closed: u64,
    /// RESETs sent.
    pub resets_sent: u64,
    /// STOPs sent.
    pub stops_sent: u64,
    /// RESETs received.
    pub resets_received: u64,
    /// STOPs received.
    pub stops_received: u64,
    /// PINGs sent, answers not counted.
    pub pings_sent: u64,
    /// PINGs received, answers not counted.
    pub pings_received: u64,
    /// Drains begun, by either side: 0 to 2.
    pub drains: u64,
    /// Frames that crossed the end of their stream.
    pub late_frames: u64,
    /// Frames without effect, late ones included.
    pub useless_frames: u64,
    /// Abuse budgets spent, all of the following together.
    pub budget_breaches: u64,
    /// Times that the peer spent the budget of frames without effect, which ends the session.
    pub useless_frame_breaches: u64,
    /// Times that the peer spent the budget of unread DATA of a few octets.
    pub small_data_breaches: u64,
    /// Times that the peer spent the budget of streams that had to be reset, which ends the session.
    pub forced_reset_breaches: u64,
    /// Times that the peer spent the budget of streams that it reset as soon as it had opened them, which ends the session.
    pub rapid_reset_breaches: u64,
    /// Times that the peer spent the budget of PINGs, which ends the session.
    pub ping_breaches: u64,
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Datagrams dropped in the queues of this side.
    pub datagrams_dropped: u64,
    /// Octets of payload that came and are not read yet. At most what is taken from the pool for windows, and for each
    /// stream the larger of the floor and the HELLO's window.
    pub unread_bytes: u64,
    /// Octets left in the session's pool for windows.
    pub window_pool_left: u64,
    /// The last round trip measured.
    pub rtt: Option<Duration>,
    /// The shortest round trip measured.
    pub min_rtt: Option<Duration>,
    /// The longest UDP payload that the path takes, in octets; `None` on carriers over TCP.
    pub mtu: Option<u16>,
    /// Packets lost so far; 0 on carriers over TCP, which doesn't say.
    pub packets_lost: u64,
}
