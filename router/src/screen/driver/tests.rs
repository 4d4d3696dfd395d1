use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test]
async fn good_requests_and_their_bodies_go_on_as_they_came() {
    let octets = [GET, b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc", CHUNKED, GET].concat();
    for piece in [1, 7, octets.len()] {
        let (mut visitor, mut screened, _turns) = pair();
        let mut read = Vec::new();
        for part in octets.chunks(piece) {
            visitor.write_all(part).await.unwrap();
            read_what_is_there(&mut screened, &mut read).await;
        }
        assert_eq!(read, octets);
    }
}

#[tokio::test]
async fn r18_of_a_refused_head_nothing_is_read_and_a_substitute_takes_its_turn() {
    let (mut visitor, mut screened, turns) = pair();
    visitor
        .write_all(&[GET, b"POST / HTTP/1.1\r\nsecret: 1\r\ncontent-length: +1\r\n\r\n"].concat())
        .await
        .unwrap();
    let mut read = Vec::new();
    read_what_is_there(&mut screened, &mut read).await;
    assert_eq!(read, [GET, SUBSTITUTE].concat());
    assert_eq!(turns.begin(), Ok(()), "the first request was good");
    assert_eq!(turns.begin(), Err(ScreenError::ContentLength {}));
    visitor.write_all(GET).await.unwrap();
    read_what_is_there(&mut screened, &mut read).await;
    assert_eq!(read, [GET, SUBSTITUTE].concat(), "nothing is read behind it");
}

#[tokio::test]
async fn r18_a_body_that_is_refused_breaks_off_and_the_service_is_told_why() {
    let (mut visitor, mut screened, turns) = pair();
    visitor.write_all(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd").await.unwrap();
    turns.begin().unwrap();
    let mut read = Vec::new();
    let error = screened.read_to_end(&mut read).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(read.ends_with(b"3\r\nabc"));
    assert_eq!(turns.fault(), Some(ScreenError::Chunk {}));
}

#[tokio::test]
async fn r21_octets_behind_a_wish_to_switch_are_held_until_the_answer() {
    for is_switched in [true, false] {
        let (mut visitor, mut screened, turns) = pair();
        let mut read = Vec::new();
        visitor.write_all(&[GET, SWITCH, b"\0\x01\x02"].concat()).await.unwrap();
        read_what_is_there(&mut screened, &mut read).await;
        assert_eq!(read, [GET, SWITCH].concat());
        turns.begin().unwrap();
        turns.answered(false);
        read_what_is_there(&mut screened, &mut read).await;
        assert_eq!(read.len(), GET.len() + SWITCH.len(), "an earlier answer settles nothing");
        turns.begin().unwrap();
        turns.answered(is_switched);
        read_what_is_there(&mut screened, &mut read).await;
        let behind: &[u8] = if is_switched { b"\0\x01\x02" } else { SUBSTITUTE };
        assert_eq!(read, [GET, SWITCH, behind].concat());
        assert_eq!(turns.begin().is_err(), !is_switched);
    }
}

#[tokio::test]
async fn a_reader_who_waits_for_the_answer_is_woken() {
    let (mut visitor, mut screened, turns) = pair();
    visitor.write_all(&[SWITCH, b"frames"].concat()).await.unwrap();
    let mut head = vec![0; SWITCH.len()];
    screened.read_exact(&mut head).await.unwrap();
    turns.begin().unwrap();
    let mut frames = [0; 6];
    let (read, ()) = tokio::join!(screened.read_exact(&mut frames), async { turns.answered(true) });
    assert_eq!((read.unwrap(), &frames), (6, b"frames"));
}

#[tokio::test(start_paused = true)]
async fn r24_a_head_that_drips_is_refused_at_its_deadline() {
    let (mut visitor, mut screened, turns) = pair();
    let drip = async {
        tokio::time::sleep(Duration::from_secs(9)).await;
        let begin = Instant::now();
        for octet in GET.iter().cycle() {
            visitor.write_all(&[*octet]).await.unwrap();
            tokio::time::sleep(Duration::from_secs(2)).await;
            if begin.elapsed() > Duration::from_secs(40) {
                return;
            }
        }
    };
    let mut substitute = vec![0; SUBSTITUTE.len()];
    let (read, ()) = tokio::join!(screened.read_exact(&mut substitute), drip);
    read.unwrap();
    assert_eq!(turns.begin(), Err(ScreenError::HeadTooSlow {}));
}

#[tokio::test(start_paused = true)]
async fn r24_a_silent_connection_ends_and_one_that_was_asked_something_is_the_librarys() {
    let (_visitor, mut screened, _turns) = pair();
    let begin = Instant::now();
    assert_eq!(screened.read(&mut [0; 64]).await.unwrap(), 0);
    assert_eq!(begin.elapsed(), Duration::from_secs(10));
    let (mut visitor, mut screened, _turns) = pair();
    visitor.write_all(GET).await.unwrap();
    screened.read_exact(&mut vec![0; GET.len()]).await.unwrap();
    let idle = tokio::time::timeout(Duration::from_secs(600), screened.read(&mut [0; 64])).await;
    assert!(idle.is_err(), "between two requests there is another deadline");
}

#[tokio::test(start_paused = true)]
async fn r24_a_body_slower_than_the_least_rate_breaks_off() {
    for (bytes_per_second, is_taken) in [(512usize, false), (2048, true)] {
        let (mut visitor, mut screened, turns) = pair();
        let drip = async move {
            visitor.write_all(b"POST / HTTP/1.1\r\ncontent-length: 100000\r\n\r\n").await.unwrap();
            for _ in 0..100_000 / bytes_per_second + 1 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if visitor.write_all(&vec![b'x'; bytes_per_second]).await.is_err() {
                    return;
                }
            }
        };
        let read = async {
            let mut body = vec![0; 100_000];
            let result = screened.read_exact(&mut body).await.map(drop);
            drop(screened);
            result
        };
        let (result, ()) = tokio::join!(read, drip);
        assert_eq!(result.is_ok(), is_taken, "{bytes_per_second}");
        assert_eq!(turns.fault().is_none(), is_taken);
    }
}

#[tokio::test(start_paused = true)]
async fn time_in_which_nobody_reads_does_not_count_against_the_visitor() {
    let (mut visitor, mut screened, turns) = pair();
    visitor.write_all(b"POST / HTTP/1.1\r\ncontent-length: 4\r\n\r\nab").await.unwrap();
    let mut read = Vec::new();
    read_what_is_there(&mut screened, &mut read).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    visitor.write_all(b"c").await.unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    read_what_is_there(&mut screened, &mut read).await;
    assert!(read.ends_with(b"abc"));
    assert_eq!(turns.fault(), None);
}

#[tokio::test(start_paused = true)]
async fn a_refused_visitor_who_still_sends_reads_the_answer_and_is_not_waited_for_long() {
    let (mut visitor, mut screened, _turns) = pair();
    visitor.write_all(b"x y z\r\n").await.unwrap();
    read_what_is_there(&mut screened, &mut Vec::new()).await;
    let begin = Instant::now();
    let answer = async {
        screened.write_all(b"no").await.unwrap();
        screened.shutdown().await.unwrap();
    };
    let send = async {
        visitor.write_all(&[b'x'; 10_000]).await.unwrap();
        let mut answer = Vec::new();
        visitor.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let ((), answer) = tokio::join!(answer, send);
    assert_eq!(answer, b"no");
    assert_eq!(begin.elapsed(), LINGER);
}

#[tokio::test]
async fn the_end_of_the_connection_is_the_end() {
    let (mut visitor, mut screened, _turns) = pair();
    visitor.write_all(&[GET, b"GET / HT"].concat()).await.unwrap();
    drop(visitor);
    let mut read = Vec::new();
    screened.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, GET);
}

fn pair() -> (DuplexStream, Screened<DuplexStream>, Turns) {
    let (visitor, ours) = duplex(4096);
    let (screened, turns) = Screened::new(ours, Screen::new());
    (visitor, screened, turns)
}

/// Reads until it would have to wait.
async fn read_what_is_there(screened: &mut Screened<DuplexStream>, into: &mut Vec<u8>) {
    std::future::poll_fn(|cx| {
        loop {
            let mut room = [0; 32];
            let mut room = ReadBuf::new(&mut room);
            match Pin::new(&mut *screened).poll_read(cx, &mut room) {
                Poll::Ready(Ok(())) if !room.filled().is_empty() => into.extend_from_slice(room.filled()),
                Poll::Ready(result) => panic!("the end came: {result:?}"),
                Poll::Pending => return Poll::Ready(()),
            }
        }
    })
    .await;
}

const SWITCH: &[u8] = b"GET / HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
const CHUNKED: &[u8] = b"PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: 1\r\n\r\n";
