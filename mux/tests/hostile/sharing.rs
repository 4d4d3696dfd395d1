//! What streams leave to one another.

use super::SECOND;
use super::common::*;
use adit_mux::{Config, Priority};
use adit_wire_proto::frame::Frame;
use bytes::Bytes;
use std::time::Duration;

#[test]
fn mx32_m21_a_keystroke_beside_bulk_waits_for_one_turn_on_a_slow_link() {
    let mut pair = Pair::connected(Config::default());
    pair.rate = Some(1_250_000);
    let (bulk, sink) = pair.open();
    let (keys, far_keys) = pair.open();
    let mut worst = Duration::ZERO;
    let mut sent_at = None;
    let end = pair.now + 3 * SECOND;
    let mut next = pair.now + SECOND;
    while pair.now < end {
        while pair.dialler.write(bulk, &[0; 16_384]).unwrap() > 0 {}
        if pair.now >= next && sent_at.is_none() {
            pair.dialler.write(keys, b"k").unwrap();
            sent_at = Some(pair.now);
        }
        pair.pass(Duration::from_millis(1));
        let mut out = vec![0; 65_536];
        while let Ok(Some(1..)) = pair.listener.read(sink, &mut out) {}
        if let Ok(Some(1)) = pair.listener.read(far_keys, &mut out) {
            worst = worst.max(pair.now - sent_at.take().unwrap());
            next = pair.now + Duration::from_millis(37);
        }
    }
    // The link itself holds one write of 20 kB (16 ms), and the core may have put one frame in front (13 ms).
    assert!(worst < Duration::from_millis(45), "{worst:?}");
    assert!(worst > Duration::ZERO);
}

#[test]
fn mx33_a_thousand_equal_streams_get_equal_shares() {
    let mut pair = Pair::connected(Config::default().max_peer_streams(1_000));
    pair.rate = Some(1_000_000_000);
    let streams: Vec<_> = (0..1_000).map(|_| pair.open()).collect();
    let mut got = vec![0_f64; streams.len()];
    let end = pair.now + Duration::from_millis(500);
    let block = vec![0; 65_536];
    let mut out = vec![0; 65_536];
    while pair.now < end {
        for (near, _) in &streams {
            if pair.dialler.unsent(*near) < 16_384 {
                pair.dialler.write(*near, &block).unwrap();
            }
        }
        for _ in 0..100 {
            pair.pass(Duration::from_micros(100));
        }
        for ((_, far), got) in streams.iter().zip(&mut got) {
            while let Ok(Some(bytes @ 1..)) = pair.listener.read(*far, &mut out) {
                *got += bytes as f64;
            }
        }
    }
    let (sum, squares): (f64, f64) = (got.iter().sum(), got.iter().map(|x| x * x).sum());
    let jain = sum * sum / (got.len() as f64 * squares);
    assert!(jain >= 0.98, "{jain}");
}

#[test]
fn mx33_streams_that_come_and_go_do_not_shut_out_one_that_stays() {
    let mut pair = Pair::connected(Config::default());
    pair.rate = Some(20_000_000);
    let (bulk, bulk_there) = pair.open();
    // Enough that some have always just been woken: each writes a frame, and the next when that is gone.
    let eager: Vec<_> = (0..64).map(|_| pair.open()).collect();
    let (mut got, mut got_by_eager) = (0, 0);
    let (block, mut out) = (vec![0; 65_536], vec![0; 65_536]);
    let end = pair.now + 4 * SECOND;
    while pair.now < end {
        while pair.dialler.write(bulk, &block).unwrap() > 0 {}
        for (near, far) in &eager {
            if pair.dialler.unsent(*near) == 0 {
                pair.dialler.write(*near, &block[..16_376]).unwrap();
            }
            while let Ok(Some(bytes @ 1..)) = pair.listener.read(*far, &mut out) {
                got_by_eager += bytes;
            }
        }
        while let Ok(Some(bytes @ 1..)) = pair.listener.read(bulk_there, &mut out) {
            got += bytes;
        }
        pair.pass(Duration::from_micros(200));
    }
    let share = (got + got_by_eager) / 65;
    assert!((share / 2..share * 2).contains(&got), "{got} beside {got_by_eager}");
}

#[test]
fn priorities_divide_a_link_and_leave_everybody_something() {
    let mut pair = Pair::connected(Config::default());
    pair.rate = Some(20_000_000);
    let bands = [Priority::Urgent, Priority::Normal, Priority::Low, Priority::Background];
    let streams: Vec<_> = bands.iter().map(|_| pair.open()).collect();
    for ((near, _), priority) in streams.iter().zip(bands) {
        pair.dialler.set_priority(*near, priority);
    }
    let mut got = [0; 4];
    let (block, mut out) = (vec![0; 65_536], vec![0; 65_536]);
    let end = pair.now + 3 * SECOND;
    while pair.now < end {
        for ((near, far), got) in streams.iter().zip(&mut got) {
            while pair.dialler.write(*near, &block).unwrap() > 0 {}
            while let Ok(Some(bytes @ 1..)) = pair.listener.read(*far, &mut out) {
                *got += bytes;
            }
        }
        pair.pass(Duration::from_micros(200));
    }
    let total: usize = got.iter().sum();
    assert!(got[0] * 100 > total * 70, "{got:?}");
    assert!(got[1..].iter().all(|got| got * 100 > total * 3), "{got:?}");
}

#[test]
fn mx37_datagrams_at_ten_times_the_rate_leave_streams_their_share() {
    let mut pair = Pair::connected(Config::default());
    pair.rate = Some(1_250_000);
    let (bulk, sink) = pair.open();
    let end = pair.now + 2 * SECOND;
    let (mut stream, mut datagrams) = (0, 0);
    let mut out = vec![0; 65_536];
    while pair.now < end {
        while pair.dialler.write(bulk, &[0; 16_384]).unwrap() > 0 {}
        (0..10)
            .for_each(|flow| pair.dialler.send_datagram(pair.now, flow + 1, vec![0; 1_200].into()).unwrap());
        pair.pass(Duration::from_millis(1));
        while let Ok(Some(bytes @ 1..)) = pair.listener.read(sink, &mut out) {
            stream += bytes;
        }
        while let Some((_, datagram)) = pair.listener.receive_datagram() {
            datagrams += datagram.len();
        }
    }
    assert!(pair.dialler.stats().datagrams_dropped > 1_000);
    assert!(stream > 700_000, "streams had {stream} of 2,500,000");
    assert!(datagrams > 700_000, "datagrams had {datagrams} of 2,500,000");
}

#[test]
fn mx37_the_oldest_of_a_flow_goes_and_other_flows_keep_theirs() {
    let config = Config::default().datagram_queue(100_000, 5_000, SECOND);
    let mut victim = Scripted::new(config);
    let datagram = |flow, at: u32| Frame::Datagram { flow, payload: Bytes::from(at.to_be_bytes().to_vec()) };
    victim.send(&[datagram(3, 0), datagram(3, 1)]).unwrap();
    for at in 0..10_000 {
        victim.send(&[datagram(1, at)]).unwrap();
    }
    victim.send(&[datagram(3, 2)]).unwrap();
    let got: Vec<_> = std::iter::from_fn(|| victim.core.receive_datagram())
        .map(|(flow, payload)| (flow, u32::from_be_bytes(payload[..].try_into().unwrap())))
        .collect();
    let of = |wanted| got.iter().filter(move |(flow, _)| *flow == wanted).map(|(_, at)| *at);
    assert!(of(3).eq(0..3), "{got:?}");
    let kept = u32::try_from(of(1).count()).unwrap();
    assert!(kept > 20 && of(1).eq(10_000 - kept..10_000), "{got:?}");
    assert!(got.ends_with(&[(1, 9_999), (3, 2)]), "in the order in which they came: {got:?}");
    assert_eq!(victim.core.stats().datagrams_dropped, u64::from(10_000 - kept));
}
