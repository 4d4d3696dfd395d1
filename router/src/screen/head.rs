//! A head: request line and fields (RFC 9112 §2.1), or the fields behind the last chunk, octet by octet.

use super::fields::{Fields, Framing, Word};
use super::{Limits, ScreenError};

/// A head that is being read.
#[derive(Clone, Debug)]
pub(super) struct Head {
    limits: Limits,
    place: Place,
    octets: usize,
    target: usize,
    method: Word,
    is_old: bool,
    fields: Fields,
}

/// A head that is whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole {
    pub(super) framing: Framing,
    /// The request asks for another protocol behind it.
    pub(super) wants_switch: bool,
}

/// Where the next octet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before a request line. Empty lines may stand there (RFC 9112 §2.2).
    Start,
    StartFeed,
    Method,
    Target,
    /// So many octets of the version were seen.
    Version(usize),
    VersionReturn,
    VersionFeed,
    /// The first octet of a line with a field, or of the empty line.
    Line,
    Name,
    Value,
    ValueFeed,
    EndFeed,
}

impl Head {
    pub(super) const fn new(limits: Limits) -> Self {
        Self {
            limits,
            place: Place::Start,
            octets: 0,
            target: 0,
            method: Word::new(),
            is_old: false,
            fields: Fields::of_request(),
        }
    }

    /// The fields behind the last chunk.
    pub(super) const fn trailer(limits: Limits) -> Self {
        Self { place: Place::Line, fields: Fields::of_trailer(), ..Self::new(limits) }
    }

    pub(super) const fn has_begun(&self) -> bool {
        self.octets > 0
    }

    /// Reads on, up to the end of the head or the first octet that can't stand where it does.
    pub(super) fn receive(&mut self, octets: &[u8]) -> (usize, Result<Option<Whole>, ScreenError>) {
        for (at, octet) in octets.iter().enumerate() {
            match self.take(*octet) {
                Ok(false) => {}
                Ok(true) => return (at + 1, self.whole().map(Some)),
                Err(error) => return (at, Err(error)),
            }
        }
        (octets.len(), Ok(None))
    }

    /// Whether this octet is the last of the head.
    fn take(&mut self, octet: u8) -> Result<bool, ScreenError> {
        self.octets += 1;
        if self.octets > self.limits.head_bytes {
            return Err(ScreenError::HeadTooLarge { max_bytes: self.limits.head_bytes });
        }
        self.place = match self.place {
            Place::Start => self.start(octet)?,
            Place::StartFeed => feed(octet, Place::Start)?,
            Place::Method => self.method(octet)?,
            Place::Target => self.target(octet)?,
            Place::Version(seen) => self.version(seen, octet)?,
            Place::VersionReturn if octet == b'\r' => Place::VersionFeed,
            Place::VersionReturn => return Err(ScreenError::Version {}),
            Place::VersionFeed => feed(octet, Place::Line)?,
            Place::Line => self.line(octet)?,
            Place::Name => self.name(octet)?,
            Place::Value => self.value(octet)?,
            Place::ValueFeed => {
                let next = feed(octet, Place::Line)?;
                self.fields.end_value()?;
                next
            }
            Place::EndFeed => return feed(octet, Place::Start).map(|_| true),
        };
        Ok(false)
    }

    fn start(&mut self, octet: u8) -> Result<Place, ScreenError> {
        match octet {
            b'\r' => Ok(Place::StartFeed),
            octet => self.method(octet),
        }
    }

    fn method(&mut self, octet: u8) -> Result<Place, ScreenError> {
        match octet {
            b' ' if !self.method.is_empty() => Ok(Place::Target),
            octet if is_token(octet) => {
                self.method.push(octet);
                Ok(Place::Method)
            }
            _ => Err(ScreenError::RequestLine {}),
        }
    }

    fn target(&mut self, octet: u8) -> Result<Place, ScreenError> {
        match octet {
            b' ' if self.target > 0 => Ok(Place::Version(0)),
            // A fragment is no part of a target (RFC 9112 §3.2), and libraries cut it off without a word.
            b'#' => Err(ScreenError::RequestLine {}),
            0x21..=0x7e if self.target == self.limits.target_bytes => {
                Err(ScreenError::TargetTooLong { max_bytes: self.limits.target_bytes })
            }
            0x21..=0x7e => {
                self.target += 1;
                Ok(Place::Target)
            }
            _ => Err(ScreenError::RequestLine {}),
        }
    }

    fn version(&mut self, seen: usize, octet: u8) -> Result<Place, ScreenError> {
        match VERSION.get(seen) {
            Some(expected) if *expected == octet => Ok(Place::Version(seen + 1)),
            None if matches!(octet, b'0' | b'1') => {
                self.is_old = octet == b'0';
                Ok(Place::VersionReturn)
            }
            Some(_) | None => Err(ScreenError::Version {}),
        }
    }

    fn line(&mut self, octet: u8) -> Result<Place, ScreenError> {
        match octet {
            b'\r' => Ok(Place::EndFeed),
            b' ' | b'\t' => Err(ScreenError::Folding {}),
            b'\n' => Err(ScreenError::LineEnd {}),
            octet if !is_token(octet) => Err(ScreenError::FieldName {}),
            octet => {
                self.fields.begin_name(self.limits.fields)?;
                self.name(octet)
            }
        }
    }

    fn name(&mut self, octet: u8) -> Result<Place, ScreenError> {
        match octet {
            b':' => {
                self.fields.begin_value()?;
                Ok(Place::Value)
            }
            octet if is_token(octet) => {
                self.fields.name(octet);
                Ok(Place::Name)
            }
            _ => Err(ScreenError::FieldName {}),
        }
    }

    fn value(&mut self, octet: u8) -> Result<Place, ScreenError> {
        match octet {
            b'\r' => Ok(Place::ValueFeed),
            b'\n' => Err(ScreenError::LineEnd {}),
            b'\t' | b' '..=0x7e | 0x80.. => {
                self.fields.value(octet)?;
                Ok(Place::Value)
            }
            _ => Err(ScreenError::FieldValue {}),
        }
    }

    fn whole(&self) -> Result<Whole, ScreenError> {
        let framing = self.fields.framing(self.is_old)?;
        let wants_switch = self.method.is(b"CONNECT") || (self.fields.has_upgrade() && !self.is_old);
        Ok(Whole { framing, wants_switch })
    }
}

/// The second half of a line's end.
fn feed(octet: u8, next: Place) -> Result<Place, ScreenError> {
    if octet == b'\n' { Ok(next) } else { Err(ScreenError::LineEnd {}) }
}

/// RFC 9110 §5.6.2.
pub(super) const fn is_token(octet: u8) -> bool {
    matches!(
        octet,
        b'!' | b'#'
            | b'$'
            | b'%'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'_'
            | b'`'
            | b'|'
            | b'~'
    ) || octet.is_ascii_alphanumeric()
}

/// The version up to its last digit.
const VERSION: &[u8] = b"HTTP/1.";
