//! Reading frames, beside copying the same octets, beside the least that reading a header can cost, and beside peers.
//!
//! h2 shows its heads under its feature `unstable`; they leave out the length, which another layer reads. rust-libp2p's
//! yamux keeps its codec private; tokio-yamux, the same format, shows one for whole frames.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use adit_wire_proto::control::{AgentMessage, Claim, Register, Request, RequestNumber};
use adit_wire_proto::frame::{Decoder, Frame, FrameHeader, FrameKind};
use adit_wire_proto::{Protocol, StreamHead};
use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tokio_util::codec::{Decoder as _, Encoder as _};
use tokio_yamux::frame::FrameCodec;

const FRAMES: usize = 64;
const BODY: usize = 16_376;

fn wire() -> BytesMut {
    let mut wire = BytesMut::with_capacity(FRAMES * (BODY + 8));
    for _ in 0..FRAMES {
        Frame::Data { id: 1, payload: Bytes::from(vec![7; BODY]), fin: false }.encode(&mut wire);
    }
    wire
}

fn yamux_wire() -> BytesMut {
    let (mut codec, mut wire) = (FrameCodec::default(), BytesMut::new());
    for _ in 0..FRAMES {
        let body = BytesMut::from(&[7; BODY][..]);
        codec.encode(tokio_yamux::frame::Frame::new_data(Default::default(), 1, body), &mut wire).unwrap();
    }
    wire
}

fn drain(decoder: &mut Decoder, input: &mut BytesMut) -> usize {
    let mut frames = 0;
    while let Some(frame) = decoder.decode(input).unwrap() {
        black_box(&frame);
        frames += 1;
    }
    frames
}

fn decode(criterion: &mut Criterion) {
    let wire = wire();
    let mut group = criterion.benchmark_group("64 DATA frames of 16 KiB");
    group.throughput(Throughput::Bytes(u64::try_from(wire.len()).unwrap()));
    group.bench_function("decode", |bencher| {
        bencher.iter_batched_ref(
            || wire.clone(),
            |input| assert_eq!(drain(&mut Decoder::new(), input), FRAMES),
            BatchSize::LargeInput,
        );
    });
    let theirs = yamux_wire();
    group.bench_function("tokio-yamux: decode", |bencher| {
        bencher.iter_batched_ref(
            || theirs.clone(),
            |input| {
                let (mut codec, mut frames) = (FrameCodec::default(), 0);
                while let Some(frame) = codec.decode(input).unwrap() {
                    black_box(&frame);
                    frames += 1;
                }
                assert_eq!(frames, FRAMES);
            },
            BatchSize::LargeInput,
        );
    });
    let mut copy = vec![0; wire.len()];
    group.bench_function("memcpy of the same octets", |bencher| {
        bencher.iter(|| {
            copy.copy_from_slice(black_box(&wire));
            black_box(&copy);
        });
    });
    group.finish();
    count_allocations(&wire);
}

/// Counted, not timed: what a frame costs in memory.
fn count_allocations(wire: &BytesMut) {
    let (mut decoder, mut input) = (Decoder::new(), wire.clone());
    decoder.decode(&mut input).unwrap();
    let counted = allocation_counter::measure(|| {
        drain(&mut decoder, &mut input);
    });
    println!("allocations for {} frames after the first: {}", FRAMES - 1, counted.count_total);
    assert_eq!(counted.count_total, 0, "a DATA frame costs no allocation");
    // Nor a copy: every payload lies where it was read.
    let (mut decoder, mut input) = (Decoder::new(), wire.clone());
    let begin = input.as_ptr().addr();
    for at in 0..FRAMES {
        let Some(Frame::Data { payload, .. }) = decoder.decode(&mut input).unwrap() else {
            panic!("no DATA")
        };
        assert_eq!(payload.as_ptr().addr() - begin, at * (BODY + 8) + 8, "frame {at} was copied");
    }
}

fn slow_input(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("octet by octet");
    for kib in [16, 32, 64] {
        let mut wire = wire();
        wire.truncate(kib * 1024);
        group.throughput(Throughput::Bytes(u64::try_from(wire.len()).unwrap()));
        group.bench_function(format!("{kib} KiB"), |bencher| {
            bencher.iter(|| {
                let (mut decoder, mut input) = (Decoder::new(), BytesMut::new());
                for octet in &wire {
                    input.extend_from_slice(&[*octet]);
                    drain(&mut decoder, &mut input);
                }
            });
        });
    }
    group.finish();
}

fn headers(criterion: &mut Criterion) {
    let data = FrameHeader::new(FrameKind::DATA, 0, 16_376, 7).encode();
    let credit = FrameHeader::new(FrameKind::CREDIT, 0, 8, 7).encode();
    let mut group = criterion.benchmark_group("header");
    group.bench_function("DATA", |bencher| bencher.iter(|| FrameHeader::decode(black_box(data)).unwrap()));
    group
        .bench_function("CREDIT", |bencher| bencher.iter(|| FrameHeader::decode(black_box(credit)).unwrap()));
    group.bench_function("DATA, encode", |bencher| {
        bencher.iter(|| {
            FrameHeader::new(FrameKind::DATA, black_box(1), black_box(16_376), black_box(7)).encode()
        });
    });
    // A DATA frame of HTTP/2: length (3), kind, flags, stream (4).
    let http2 = [0, 0x3f, 0xf8, 0, 0, 0, 0, 0, 7];
    group.bench_function("DATA, h2", |bencher| bencher.iter(|| h2::frame::Head::parse(black_box(&http2))));
    group.bench_function("DATA, encode, h2", |bencher| {
        let mut out = Vec::with_capacity(16);
        bencher.iter(|| {
            out.clear();
            let head = h2::frame::Head::new(h2::frame::Kind::Data, black_box(1), black_box(7).into());
            head.encode(black_box(16_376), &mut out);
            black_box(&out);
        });
    });
    // The limit: one load of eight octets, and no check at all.
    group.bench_function("one load", |bencher| bencher.iter(|| u64::from_be_bytes(black_box(data))));
    group.finish();
}

fn messages(criterion: &mut Criterion) {
    let head =
        StreamHead::builder(Protocol::HTTP).host("my-app.example.com").port(443).build().unwrap().encode();
    let register = Request::Register(Box::new(Register::new(Protocol::HTTP, Claim::Name("my-app".into()))));
    let register = AgentMessage::Request { number: RequestNumber::FIRST, request: register };
    let register = register.encode().unwrap().slice(4..);
    let mut group = criterion.benchmark_group("messages");
    group.bench_function("stream head", |bencher| {
        bencher.iter(|| StreamHead::decode(black_box(head.clone())).unwrap());
    });
    group.bench_function("Register", |bencher| {
        bencher.iter(|| AgentMessage::decode(black_box(register.clone())).unwrap());
    });
    group.finish();
}

criterion_group!(benches, decode, slow_input, headers, messages);
criterion_main!(benches);
