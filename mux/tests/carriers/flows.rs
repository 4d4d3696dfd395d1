//! UDP flows, on every carrier.

use crate::on_every_carrier;
use crate::pair::{On, Pair};
use adit_mux::flow::{FlowError, FlowOptions, FlowReceiver, FlowSender, Flows, Oversize, Sent};
use adit_mux::{Config, StreamError};
use adit_wire_proto::{CloseCode, MessageError};
use bytes::Bytes;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

on_every_carrier! {
    messages_of_all_lengths_arrive_whole_and_apart_both_ways
    the_first_message_needs_no_answer_and_datagrams_begin_with_one
    m33_a_message_over_the_mtu_is_dropped_and_counted
    a_message_over_the_mtu_is_a_record_unless_it_was_asked_to_be_dropped
    without_datagrams_everything_is_a_record
    an_answer_to_a_flow_that_has_gone_is_dropped_and_counted
    a_flow_that_is_not_read_loses_its_oldest_and_no_other_flow_notices
    a_record_over_the_limit_ends_its_flow_both_ways_and_not_the_session
    either_end_ends_the_flow
}

const MAX_MESSAGE: usize = 65_507;

async fn messages_of_all_lengths_arrive_whole_and_apart_both_ways(on: On) {
    let mut world = World::new(on).await;
    let ((sender, mut receiver), (answers, mut visitor)) = world.flow().await;
    for length in [0, 1, 2, 0, 1100, 16_376, 16_377, 60_000, MAX_MESSAGE, 3] {
        let message = Bytes::from(vec![42; length]);
        assert!(matches!(sender.send(message.clone()).unwrap(), Sent::Datagram | Sent::Record));
        assert_eq!(next(&mut visitor).await, message);
        assert!(matches!(answers.send(message.clone()).unwrap(), Sent::Datagram | Sent::Record));
        assert_eq!(next(&mut receiver).await, message);
    }
    assert_eq!(sender.send(vec![0; MAX_MESSAGE + 1]), Ok(Sent::TooLong));
    assert_eq!(world.gateway.stats().too_long, 1);
}

async fn the_first_message_needs_no_answer_and_datagrams_begin_with_one(on: On) {
    let mut world = World::new(on).await;
    let ((sender, mut receiver), (answers, mut visitor)) = world.flow().await;
    assert_eq!(sender.send("1"), Ok(Sent::Record));
    assert_eq!(next(&mut visitor).await, "1");
    assert_eq!(sender.send("2"), Ok(Sent::Record), "nothing has come back");
    assert_eq!(next(&mut visitor).await, "2");
    assert_eq!(answers.send("3"), Ok(Sent::Record), "no datagram has come");
    assert_eq!(next(&mut receiver).await, "3");
    assert_eq!(sender.send("4"), Ok(Sent::Datagram));
    assert_eq!(next(&mut visitor).await, "4");
    assert_eq!(answers.send("5"), Ok(Sent::Datagram));
    assert_eq!(next(&mut receiver).await, "5");
    let stats = world.gateway.stats();
    assert_eq!((stats.records_sent, stats.datagrams_sent), (2, 1));
    assert_eq!((stats.records_received, stats.datagrams_received), (1, 1));
}

async fn m33_a_message_over_the_mtu_is_dropped_and_counted(on: On) {
    let options = FlowOptions::new().oversize(Oversize::Drop);
    let mut world = World::with(on, Config::default(), options).await;
    let ((sender, mut receiver), (answers, mut visitor)) = world.flow().await;
    warm(&sender, &mut receiver, &answers, &mut visitor).await;
    let most = sender.max_datagram();
    assert!((1000..MAX_MESSAGE).contains(&most), "{most}");
    assert_eq!(sender.send(vec![7; most + 1]), Ok(Sent::TooLong));
    assert_eq!(sender.send(vec![7; most]), Ok(Sent::Datagram));
    assert_eq!(next(&mut visitor).await.len(), most, "not a part of the longer one");
    assert_eq!(world.gateway.stats().too_long, 1);
}

async fn a_message_over_the_mtu_is_a_record_unless_it_was_asked_to_be_dropped(on: On) {
    let mut world = World::new(on).await;
    let ((sender, mut receiver), (answers, mut visitor)) = world.flow().await;
    warm(&sender, &mut receiver, &answers, &mut visitor).await;
    let most = sender.max_datagram();
    assert_eq!(sender.send(vec![7; most + 1]), Ok(Sent::Record));
    assert_eq!(next(&mut visitor).await.len(), most + 1);
    let session = world.gateway.session();
    assert!(
        session.send_datagram(1, vec![7; most + 1]).is_err(),
        "the session itself says how long is too long"
    );
}

async fn without_datagrams_everything_is_a_record(on: On) {
    let mut world = World::with(on, Config::new().max_datagram(0), FlowOptions::new()).await;
    let ((sender, mut receiver), (answers, mut visitor)) = world.flow().await;
    if sender.max_datagram() > 0 {
        // QUIC has its own transport parameter for that.
        return;
    }
    warm(&sender, &mut receiver, &answers, &mut visitor).await;
    assert_eq!((sender.send("a"), answers.send("b")), (Ok(Sent::Record), Ok(Sent::Record)));
    assert_eq!((next(&mut visitor).await, next(&mut receiver).await), (Bytes::from("a"), Bytes::from("b")));
}

async fn an_answer_to_a_flow_that_has_gone_is_dropped_and_counted(on: On) {
    let mut world = World::new(on).await;
    let ((sender, mut receiver), (answers, mut visitor)) = world.flow().await;
    warm(&sender, &mut receiver, &answers, &mut visitor).await;
    drop((sender, receiver));
    assert_eq!(visitor.receive().await, Ok(None), "the flow's end");
    // An agent that answers all the same.
    let id = world.last_id;
    world.agent.session().send_datagram(id, "late").unwrap();
    let ((sender, mut receiver), (answers, mut visitor)) = world.flow().await;
    warm(&sender, &mut receiver, &answers, &mut visitor).await;
    wait(|| world.gateway.stats().unknown == 1).await;
    assert_eq!(sender.send("for the new one"), Ok(Sent::Datagram));
    assert_eq!(next(&mut visitor).await, "for the new one");
}

async fn a_flow_that_is_not_read_loses_its_oldest_and_no_other_flow_notices(on: On) {
    let options = FlowOptions::new().max_unread_bytes(4 * (64 + 1));
    let mut world = World::with(on, Config::default(), options).await;
    let ((sender, mut receiver), (answers, mut visitor)) = world.flow().await;
    warm(&sender, &mut receiver, &answers, &mut visitor).await;
    let ((beside, mut back), (echo, mut seen)) = world.flow().await;
    warm(&beside, &mut back, &echo, &mut seen).await;
    let before = world.agent.stats();
    for number in 0..10_u8 {
        assert_eq!(sender.send(vec![number]), Ok(Sent::Datagram));
        let came = u64::from(number) + 1;
        wait(|| {
            let now = world.agent.stats();
            now.datagrams_received + now.unread == before.datagrams_received + came
        })
        .await;
    }
    assert_eq!(beside.send("on time"), Ok(Sent::Datagram));
    assert_eq!(next(&mut seen).await, "on time");
    for number in 6..10_u8 {
        assert_eq!(next(&mut visitor).await, vec![number]);
    }
    assert_eq!(world.agent.stats().unread, 6);
}

async fn a_record_over_the_limit_ends_its_flow_both_ways_and_not_the_session(on: On) {
    let mut world = World::new(on).await;
    let (mut stream, accepted) = world.pair.stream().await;
    let (_answers, mut visitor) = world.agent.accepted(accepted);
    stream.write_all(&[0, 1, b'x', 0xff, 0xff]).await.unwrap();
    assert_eq!(next(&mut visitor).await, "x");
    let error = visitor.receive().await.unwrap_err();
    let source = MessageError::TooLarge { length: 65_535, limit: MAX_MESSAGE };
    assert_eq!(error, FlowError::Record { source });
    let read = stream.read_u8().await.unwrap_err();
    let reset = read.get_ref().and_then(|error| error.downcast_ref::<StreamError>());
    assert!(
        matches!(reset, Some(StreamError::Reset { code, .. }) if *code == CloseCode::FRAME_TOO_LARGE),
        "{reset:?}"
    );
    let ((sender, mut receiver), (answers, mut visitor)) = world.flow().await;
    warm(&sender, &mut receiver, &answers, &mut visitor).await;
}

async fn either_end_ends_the_flow(on: On) {
    let mut world = World::new(on).await;
    let ((sender, mut receiver), (answers, mut visitor)) = world.flow().await;
    sender.send("last words").unwrap();
    drop(sender);
    assert_eq!(next(&mut visitor).await, "last words");
    assert_eq!(visitor.receive().await, Ok(None));
    answers.send("heard").unwrap();
    drop(answers);
    assert_eq!(next(&mut receiver).await, "heard");
    assert_eq!(receiver.receive().await, Ok(None));
}

type Ends = ((FlowSender, FlowReceiver), (FlowSender, FlowReceiver));

struct World {
    pair: Pair,
    gateway: Flows,
    agent: Flows,
    /// Of the last flow's stream.
    last_id: u32,
}

impl World {
    async fn new(on: On) -> Self {
        Self::with(on, Config::default(), FlowOptions::new()).await
    }

    async fn with(on: On, config: Config, options: FlowOptions) -> Self {
        let pair = Pair::with(on, config).await;
        let (gateway, delivery) = Flows::with(pair.gateway.session.clone(), options);
        tokio::spawn(delivery);
        let (agent, delivery) = Flows::with(pair.agent.session.clone(), options);
        tokio::spawn(delivery);
        Self { pair, gateway, agent, last_id: 0 }
    }

    /// A flow that the gateway opens: its end and the agent's.
    async fn flow(&mut self) -> Ends {
        let (ours, theirs) = self.pair.stream().await;
        self.last_id = theirs.id();
        (self.gateway.opened(ours), self.agent.accepted(theirs))
    }
}

/// Lets both ends know that datagrams find their way.
async fn warm(
    sender: &FlowSender,
    receiver: &mut FlowReceiver,
    answers: &FlowSender,
    visitor: &mut FlowReceiver,
) {
    for _ in 0..2 {
        sender.send("there").unwrap();
        assert_eq!(next(visitor).await, "there");
        answers.send("and back").unwrap();
        assert_eq!(next(receiver).await, "and back");
    }
}

async fn next(receiver: &mut FlowReceiver) -> Bytes {
    tokio::time::timeout(PATIENCE, receiver.receive()).await.expect("a message").unwrap().unwrap()
}

async fn wait(mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it holds at some time");
}

/// How long any wait of a test may take before the test has failed.
const PATIENCE: Duration = Duration::from_secs(30);
