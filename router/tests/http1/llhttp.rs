//! Cases in the form in which llhttp, the parser of Node.js, keeps its own: octets, and what its parser says of them.
//!
//! `cases.md` beside this file has ours. With `ADIT_LLHTTP_CASES` naming a folder with `llhttp-request-*.md` (the files of
//! llhttp's `test/request`), those are run too. The screen has to refuse what llhttp refuses, and to read as it does what both
//! accept; where the two differ, the difference stands below with its reason.

use std::collections::BTreeSet;
use std::path::Path;

use adit_router::Screen;

use crate::reading::{self, Request};

#[test]
fn r18_r19_our_cases_are_read_as_they_say() {
    let cases = cases(include_str!("cases.md"));
    assert!(cases.len() >= 15);
    let mut differences = BTreeSet::new();
    cases.iter().for_each(|case| check(case, &mut differences));
    assert_eq!(differences, BTreeSet::new());
}

#[test]
fn r18_r19_what_llhttp_refuses_is_refused_and_the_rest_is_read_alike() {
    let Some(folder) = std::env::var_os("ADIT_LLHTTP_CASES") else {
        eprintln!("ADIT_LLHTTP_CASES is not set: llhttp's own cases were left out");
        return;
    };
    let mut differences = BTreeSet::new();
    let mut count = 0;
    for file in std::fs::read_dir(Path::new(&folder)).unwrap() {
        let cases = cases(&std::fs::read_to_string(file.unwrap().path()).unwrap());
        count += cases.len();
        cases.iter().for_each(|case| check(case, &mut differences));
    }
    println!("{count} cases of llhttp, {} differences", differences.len());
    assert!(count > 100, "{count} cases");
    let known: BTreeSet<_> = KNOWN.iter().map(|(title, _)| (*title).to_owned()).collect();
    assert_eq!(differences, known);
}

/// Titles of llhttp's cases, and why the screen answers otherwise.
const KNOWN: &[(&str, &str)] = &[
    ("SOURCE request with ICE", OTHER_PROTOCOL),
    ("OPTIONS request with RTSP", OTHER_PROTOCOL),
    ("ANNOUNCE request with RTSP", OTHER_PROTOCOL),
    ("PRI request HTTP2", "refused: HTTP/2 begins otherwise, and what follows is no request"),
    ("POST with `chunked` as last transfer-encoding", OTHER_CODING),
    ("POST with `chunked` as last transfer-encoding (multiple headers)", OTHER_CODING),
    ("Fragment in URI", "refused: a target has no fragment, and libraries cut it off"),
    ("HTTP protocol and ANNOUNCE method", ANY_METHOD),
    ("Invalid method", ANY_METHOD),
    ("CRLF between requests, explicit `close` (lenient)", CLOSING),
    ("Resetting flags when keep-alive is off (1.0, lenient)", CLOSING),
];

const OTHER_PROTOCOL: &str = "refused: RTSP and ICE are not HTTP";
const OTHER_CODING: &str = "refused with 501 (R-18)";
const ANY_METHOD: &str = "passes: methods that nobody knows are forwarded (R-27)";
const CLOSING: &str = "passes: the library that answers reads nothing behind its last answer";

/// Octets, and what llhttp made of them.
struct Case {
    title: String,
    octets: Vec<u8>,
    is_strict: bool,
    messages: Vec<Message>,
    error: Option<(u32, String)>,
}

/// What llhttp said of one request.
#[derive(Clone, Debug, Default)]
struct Message {
    method: String,
    target: String,
    fields: Vec<(String, String)>,
    body_octets: usize,
    is_head_over: bool,
    is_whole: bool,
}

fn check(case: &Case, differences: &mut BTreeSet<String>) {
    let mut screen = Screen::new();
    let seen = screen.receive(&case.octets);
    let ours = reading::requests(&case.octets[..seen.clear]);
    let is_refused = screen.refusal().is_some();
    println!("{}: {:?}, llhttp {:?}", case.title, screen.refusal(), case.error);
    if is_refused != case.is_refused() {
        differences.insert(case.title.clone());
    }
    if !screen.is_through() {
        // What both let pass, both read alike: always, known difference or not.
        for (ours, theirs) in ours.iter().zip(case.messages.iter().filter(|message| message.is_head_over)) {
            compare(&case.title, ours, theirs);
        }
        if !is_refused && !case.is_refused() && case.error.is_none() {
            let heads = case.messages.iter().filter(|message| message.is_head_over).count();
            assert_eq!(ours.len(), heads, "{}: as many requests", case.title);
        }
    }
}

fn compare(title: &str, ours: &Request, theirs: &Message) {
    assert_eq!((&ours.method, &ours.target), (&theirs.method, &theirs.target), "{title}");
    assert_eq!(ours.fields.len(), theirs.fields.len(), "{title}");
    for ((name, value), (their_name, their_value)) in ours.fields.iter().zip(&theirs.fields) {
        assert_eq!(name, &their_name.to_ascii_lowercase(), "{title}");
        // The log escapes what can't be printed.
        if !their_value.contains('\\') {
            assert_eq!(value, their_value.trim_matches([' ', '\t']).as_bytes(), "{title}: {name}");
        }
    }
    // What follows CONNECT is to llhttp the other protocol's at once; the gate answers it 405 either way.
    if ours.is_whole && theirs.is_whole && ours.method != "CONNECT" {
        assert_eq!(ours.body.len(), theirs.body_octets, "{title}: the body");
    }
}

impl Case {
    /// What was made lenient to pass is refused otherwise. Neither a pause for another protocol nor data behind a last
    /// request, which the library that answers drops, are refusals.
    fn is_refused(&self) -> bool {
        const NO_REFUSALS: [u32; 4] = [5, 21, 22, 23];
        !self.is_strict || self.error.as_ref().is_some_and(|error| !NO_REFUSALS.contains(&error.0))
    }
}

/// The cases of a file: below each title a comment with the mode, a block of octets, and a block with the parser's log.
fn cases(text: &str) -> Vec<Case> {
    let (mut title, mut is_strict, mut cases) = ("", None, Vec::new());
    let mut lines = text.lines();
    // Where the program told llhttp to leave a body out, there is nothing to compare.
    let mut is_left_out = false;
    while let Some(line) = lines.next() {
        if line.starts_with('#') {
            title = line.trim_start_matches('#').trim();
        } else if line.starts_with("<!-- meta=") {
            is_left_out = line.contains("skipBody");
            is_strict = line.contains("\"request\"").then_some(true).or(Some(false));
        } else if line == "```http" {
            let octets = octets(&block(&mut lines));
            let log = lines.by_ref().find(|line| *line == "```log").map(|_| block(&mut lines)).unwrap();
            let (messages, error) = logged(&log);
            let is_strict = is_strict.take().unwrap();
            if !is_left_out {
                cases.push(Case { title: title.to_owned(), octets, is_strict, messages, error });
            }
        }
    }
    cases
}

fn block<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    lines.take_while(|line| *line != "```").collect()
}

/// Lines end in CR LF, and a backslash begins what can't be seen or joins a line to the next.
fn octets(lines: &[&str]) -> Vec<u8> {
    let text = lines.join("\r\n").replace("\\\r\n", "");
    let mut octets = Vec::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        let escaped = if character == '\\' { rest.clone().next() } else { None };
        match escaped {
            Some('r') => octets.push(b'\r'),
            Some('n') => octets.push(b'\n'),
            Some('t') => octets.push(b'\t'),
            Some('f') => octets.push(b'\x0c'),
            Some('x') => {
                let digits: String = rest.clone().skip(1).take(2).collect();
                octets.push(u8::from_str_radix(&digits, 16).unwrap());
                rest.nth(1);
            }
            _ => {
                octets.extend(character.to_string().as_bytes());
                continue;
            }
        }
        rest.next();
    }
    octets
}

fn logged(lines: &[&str]) -> (Vec<Message>, Option<(u32, String)>) {
    let mut messages: Vec<Message> = Vec::new();
    let mut error = None;
    for line in lines {
        if line.contains("message begin") {
            messages.push(Message::default());
        } else if let Some((_, rest)) = line.split_once("error code=") {
            let (code, reason) = rest.split_once(' ').unwrap();
            error = Some((code.parse().unwrap(), reason.to_owned()));
        }
        let Some(message) = messages.last_mut() else { continue };
        if line.contains("headers complete") {
            message.is_head_over = true;
        } else if line.contains("message complete") {
            message.is_whole = true;
        }
        let Some((_, span)) = line.split_once("span[") else { continue };
        let (kind, text) = span.split_once("]=").unwrap();
        // That of a body may go on in other lines.
        let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        match kind {
            "method" => message.method.push_str(text),
            "url" => message.target.push_str(text),
            "header_field" if !message.is_head_over => message.fields.push((text.to_owned(), String::new())),
            "header_value" if !message.is_head_over => message.fields.last_mut().unwrap().1.push_str(text),
            "body" => {
                let length = line.split("len=").nth(1).unwrap().split(' ').next().unwrap();
                message.body_octets += length.parse::<usize>().unwrap();
            }
            _ => {}
        }
    }
    (messages, error)
}
