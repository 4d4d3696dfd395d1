//! The same random script on every carrier: what each end of each stream sees has to be the same (M-26).
//!
//! Each step is followed by the peer's look at what came of it, so that nothing hangs on the carrier's pace.

use crate::pair::{On, Pair};
use crate::streams::write_until_stopped;
use adit_mux::{Stream, StreamError};
use adit_wire_proto::CloseCode;
use std::fmt::Write as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[cfg(any(
    feature = "websocket",
    feature = "h2",
    all(feature = "quic", any(feature = "ring", feature = "aws-lc-rs"))
))]
const STEPS: usize = 10_000;
const MOST_OPEN: usize = 12;

/// A stream under way. Index 0 is the opener's end.
struct Flow {
    ends: [Stream; 2],
    /// Whether the half that this end sends has ended.
    is_ended: [bool; 2],
    /// Everything that was seen, in order.
    log: String,
}

/// Marsaglia's xorshift: the same numbers for the same seed, anywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// Runs the script; gives what was seen on each stream, in the order in which they were opened.
async fn play(on: On, seed: u64, steps: usize) -> Vec<String> {
    let mut pair = Pair::new(on).await;
    let mut random = Random(seed);
    let mut flows: Vec<Option<Flow>> = Vec::new();
    let mut logs: Vec<String> = Vec::new();
    for _ in 0..steps {
        let live: Vec<usize> = (0..flows.len()).filter(|at| flows[*at].is_some()).collect();
        if live.is_empty() || (live.len() < MOST_OPEN && random.below(8) == 0) {
            let at = flows.len();
            logs.push(String::new());
            flows.push(open(&mut pair, &mut random, at, &mut logs[at]).await);
            continue;
        }
        let at = live[random.below(live.len())];
        let flow = flows[at].as_mut().unwrap();
        let side = random.below(2);
        let side = if flow.is_ended[side] { 1 - side } else { side };
        step(flow, side, &mut random).await;
        if flow.is_ended == [true, true] {
            logs[at].push_str(&flow.log);
            flows[at] = None;
        }
    }
    for (at, flow) in flows.into_iter().enumerate() {
        if let Some(flow) = flow {
            logs[at].push_str(&flow.log);
        }
    }
    logs
}

async fn open(pair: &mut Pair, random: &mut Random, at: usize, log: &mut String) -> Option<Flow> {
    let head = format!("stream {at}").repeat(random.below(20));
    let by_agent = random.below(3) == 0;
    let Pair { agent, gateway } = pair;
    let (opener, acceptor) = if by_agent { (agent, gateway) } else { (gateway, agent) };
    let mut ours = opener.session.open(head).await.unwrap();
    let incoming = acceptor.incoming.accept().await.unwrap();
    write!(log, "head {:?};", incoming.head()).unwrap();
    if random.below(10) == 0 {
        incoming.refuse(code(random));
        write!(log, "refused {};", ours.read_chunk().await.unwrap_err().close_code()).unwrap();
        write!(log, "refused {};", write_until_stopped(&mut ours).await.close_code()).unwrap();
        return None;
    }
    Some(Flow { ends: [ours, incoming.accept()], is_ended: [false; 2], log: String::new() })
}

async fn step(flow: &mut Flow, side: usize, random: &mut Random) {
    let [opener, acceptor] = &mut flow.ends;
    let (sender, receiver) = if side == 0 { (opener, acceptor) } else { (acceptor, opener) };
    match random.below(20) {
        0..16 => {
            let limit = if random.below(10) == 0 { 20_000 } else { 300 };
            let length = 1 + random.below(limit);
            let fill = u8::try_from(random.below(256)).unwrap();
            sender.write_all(&vec![fill; length]).await.unwrap();
            let mut seen = vec![0; length];
            receiver.read_exact(&mut seen).await.unwrap();
            assert!(seen.iter().all(|octet| *octet == fill));
            write!(flow.log, "{side}: {length} of {fill};").unwrap();
            return;
        }
        16..18 => {
            sender.shutdown().await.unwrap();
            assert_eq!(receiver.read_chunk().await.unwrap(), None);
            write!(flow.log, "{side}: end;").unwrap();
        }
        18 => {
            sender.reset(code(random));
            let error = receiver.read_chunk().await.unwrap_err();
            assert!(matches!(error, StreamError::Reset { .. }));
            write!(flow.log, "{side}: {error};").unwrap();
        }
        _ => {
            receiver.stop(code(random));
            let error = write_until_stopped(sender).await;
            assert!(matches!(error, StreamError::Stopped { .. }));
            write!(flow.log, "{side}: {error};").unwrap();
        }
    }
    flow.is_ended[side] = true;
}

fn code(random: &mut Random) -> CloseCode {
    CloseCode::from_u32(u32::try_from(0x10 + random.below(0xfff0)).unwrap())
}

fn assert_same(ours: &[String], native: &[String]) {
    assert_eq!(ours.len(), native.len());
    for (at, (ours, native)) in ours.iter().zip(native).enumerate() {
        assert_eq!(ours, native, "stream {at}");
    }
}

#[cfg(feature = "websocket")]
#[tokio::test]
async fn m26_a_random_script_is_seen_the_same_in_websocket_messages() {
    assert_same(&play(On::WebSocket, 26, STEPS).await, &play(On::Native, 26, STEPS).await);
}

#[cfg(all(feature = "quic", any(feature = "ring", feature = "aws-lc-rs")))]
#[tokio::test]
async fn m26_a_random_script_is_seen_the_same_over_quic() {
    assert_same(&play(On::Quic, 26, STEPS).await, &play(On::Native, 26, STEPS).await);
}

#[cfg(feature = "h2")]
#[tokio::test]
async fn m26_a_random_script_is_seen_the_same_over_http2() {
    assert_same(&play(On::H2, 26, STEPS).await, &play(On::Native, 26, STEPS).await);
}

#[tokio::test]
async fn m26_a_script_repeats_exactly_and_sees_every_kind_of_end() {
    let logs = play(On::Native, 7, 3_000).await;
    assert_same(&logs, &play(On::Native, 7, 3_000).await);
    let all = logs.concat();
    for seen in ["head", "refused", ": end", "reset the stream", "stopped the stream"] {
        assert!(all.contains(seen), "{seen}");
    }
}
