//! What a peer may make this side hold.

/// The limits of one connection. A peer can make this side hold at most [`streams`](Self::streams) times the
/// [`window`](Self::window), the [`head`](Self::head) and the [`send_budget`](Self::send_budget).
#[derive(Clone, Debug)]
pub struct Limits {
    pub(super) streams: u32,
    pub(super) window: u32,
    pub(super) head: u32,
    pub(super) send_budget: usize,
    pub(super) frame: u32,
    pub(super) small_frames: usize,
    pub(super) left_early: usize,
    pub(super) takes_extended_connect: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 1_024,
            window: 256 * 1024,
            head: 16 * 1024,
            send_budget: 256 * 1024,
            frame: LEAST_FRAME,
            small_frames: 1024 * 1024,
            left_early: 1_024,
            takes_extended_connect: true,
        }
    }
}

impl Limits {
    /// How many requests the peer may have open at once; default 1,024, at least 1. HTTP/2 refuses more with
    /// REFUSED_STREAM.
    #[must_use]
    pub fn streams(self, streams: u32) -> Self {
        Self { streams: streams.max(1), ..self }
    }

    /// How many octets of each stream may come before the caller releases some, at most 2^31 - 1; default 256 KiB. The
    /// connection has no window that a stream which isn't read could use up.
    #[must_use]
    pub fn window(self, octets: u32) -> Self {
        Self { window: octets.clamp(1, LARGEST_WINDOW), ..self }
    }

    /// How large the head of a request, an answer or trailers may be, in octets as RFC 9113 section 6.5.2 counts them;
    /// default 16 KiB. A request over it is answered with 431 and reset.
    #[must_use]
    pub fn head(self, octets: u32) -> Self {
        Self { head: octets.max(1), ..self }
    }

    /// How many octets of each stream may be with HTTP/2 and not on the wire yet; default 256 KiB, at least 1. Whoever
    /// sends waits for room in both this and the peer's window.
    #[must_use]
    pub fn send_budget(self, octets: usize) -> Self {
        Self { send_budget: octets.clamp(1, MOST_BUDGET), ..self }
    }

    /// How large a frame of the peer may be, in octets; default and least 16,384, at most 16,777,215.
    #[must_use]
    pub fn frame(self, octets: u32) -> Self {
        Self { frame: octets.clamp(LEAST_FRAME, MOST_FRAME), ..self }
    }

    /// What the overhead of small DATA frames that nobody took yet may come to, in octets, over all streams together; default
    /// 1 MiB. Over it HTTP/2 ends the connection with ENHANCE_YOUR_CALM (RUSTSEC-2026-0258). 129 frames of one octet, of
    /// a stream that isn't read, are too many for the default of crate `h2`.
    #[must_use]
    pub fn small_frames(self, octets: usize) -> Self {
        Self { small_frames: octets, ..self }
    }

    /// How many requests the peer may open and reset before this side has taken them up; default 1,024. Over it HTTP/2 ends
    /// the connection with ENHANCE_YOUR_CALM. One read may bring hundreds, when many visitors leave at once; 21 are too many
    /// for the default of crate `h2`. Each costs this side its head and a few hundred octets until it is taken up.
    #[must_use]
    pub fn left_early(self, requests: usize) -> Self {
        Self { left_early: requests, ..self }
    }

    /// Whether the server's settings allow extended CONNECT (RFC 8441); default true.
    #[must_use]
    pub fn extended_connect(self, is_taken: bool) -> Self {
        Self { takes_extended_connect: is_taken, ..self }
    }
}

pub(super) const LARGEST_WINDOW: u32 = 0x7fff_ffff;
/// HTTP/2 counts what it holds in 32 bits.
const MOST_BUDGET: usize = 0x7fff_ffff;
/// What every peer takes (RFC 9113 section 4.2).
const LEAST_FRAME: u32 = 16 * 1024;
const MOST_FRAME: u32 = 0x00ff_ffff;
