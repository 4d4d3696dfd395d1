//! What an HTTP proxy answers, and what the environment says of it.

use adit_mux::proxy::{ConnectError, Handshake, Progress, Proxy, ProxySettings, Target};

/// A proxy's answer; the first octet says how long the pieces are that it is cut into.
///
/// Properties: at once, in such pieces and octet by octet there is the same answer, and the same is left behind the head; an
/// answer that is longer than every head has a verdict; and a way that is open was opened by a 2xx.
///
/// # Panics
/// If a property is broken.
pub fn proxy_answer(data: &[u8]) {
    let Some((piece_bytes, answer)) = data.split_first() else { return };
    let at_once = run(answer.chunks(answer.len().max(1)));
    assert_eq!(run(answer.chunks(usize::from(*piece_bytes).max(1))), at_once);
    assert_eq!(run(answer.chunks(1)), at_once);
    match at_once {
        Answer::More => assert!(answer.len() <= MAX_HEAD_BYTES),
        Answer::Open(rest) => {
            assert!(answer.ends_with(&rest));
            let heads = &answer[..answer.len() - rest.len()];
            assert!(heads.len() <= MAX_HEAD_BYTES && heads.windows(2).any(|pair| pair == b" 2"));
        }
        Answer::Refused(_) => {}
    }
}

/// `proxy`, a line feed, `no_proxy`, a line feed, and a target.
///
/// Properties: no error and no debug output quotes what stands before an at sign; what is read as a target is printed as one
/// that reads as the same, and can't add to a request's lines; a target that is in the list itself needs no proxy.
///
/// # Panics
/// If a property is broken.
pub fn proxy_settings(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.splitn(3, '\n');
    let (proxy, list, target) = (
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
    );
    let secret = format!("http://u:{CANARY}{proxy}");
    match secret.parse::<Proxy>() {
        Ok(proxy) if proxy.has_credentials() => assert!(!format!("{proxy:?}").contains(CANARY)),
        Ok(_) => {}
        Err(error) => assert!(!format!("{error} {error:?}").contains(CANARY)),
    }
    let Ok(target) = target.parse::<Target>() else { return };
    let shown = target.to_string();
    assert_eq!(shown.parse::<Target>().as_ref(), Ok(&target));
    assert!(shown.bytes().all(|octet| octet.is_ascii_graphic()));
    let Ok(proxy) = "proxy.example:3128".parse::<Proxy>() else { return };
    let request = Handshake::request(&proxy, &target);
    assert_eq!(request.iter().filter(|octet| **octet == b'\n').count(), 3);
    let with = |list: &str| ProxySettings::through(proxy.clone()).except(list);
    let _decided = with(list).proxy_for(&target);
    assert!(with(&format!("{list},{shown}")).proxy_for(&target).is_none());
    assert!(with(&format!("{list} *")).proxy_for(&target).is_none());
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    More,
    Open(Vec<u8>),
    Refused(String),
}

fn run<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Answer {
    let Ok(proxy) = "me:secret@proxy.example".parse::<Proxy>() else { return Answer::More };
    let mut handshake = Handshake::new(&proxy, MAX_HEAD_BYTES);
    let mut open: Option<Vec<u8>> = None;
    for piece in pieces {
        if let Some(open) = &mut open {
            open.extend_from_slice(piece);
            continue;
        }
        let received: Result<Progress, ConnectError> = handshake.receive(piece);
        match received {
            Ok(Progress::Open(rest)) => open = Some(rest.to_vec()),
            Ok(_) => {}
            Err(error) => return Answer::Refused(error.to_string()),
        }
    }
    open.map_or(Answer::More, Answer::Open)
}

const MAX_HEAD_BYTES: usize = 300;

/// Stands in no message of ours.
const CANARY: &str = "qqcanaryqq";
