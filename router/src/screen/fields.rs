//! The fields of a head, as far as they say where the body ends.

use super::ScreenError;

/// What was seen of the fields so far.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    is_trailer: bool,
    count: usize,
    name: Word,
    kind: Kind,
    length: Option<Length>,
    coding: Option<Coding>,
    has_upgrade: bool,
}

/// Where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// What the field is that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Length,
    Coding,
    Other,
}

impl Fields {
    pub(super) const fn of_request() -> Self {
        Self {
            is_trailer: false,
            count: 0,
            name: Word::new(),
            kind: Kind::Other,
            length: None,
            coding: None,
            has_upgrade: false,
        }
    }

    pub(super) const fn of_trailer() -> Self {
        Self { is_trailer: true, ..Self::of_request() }
    }

    pub(super) fn begin_name(&mut self, max_fields: usize) -> Result<(), ScreenError> {
        if self.count == max_fields {
            return Err(ScreenError::TooManyFields { max_fields });
        }
        self.count += 1;
        self.name = Word::new();
        Ok(())
    }

    pub(super) fn name(&mut self, octet: u8) {
        self.name.push(octet.to_ascii_lowercase());
    }

    /// The name is whole.
    pub(super) fn begin_value(&mut self) -> Result<(), ScreenError> {
        self.kind = Kind::Other;
        if self.name.is(b"content-length") {
            self.kind = Kind::Length;
        } else if self.name.is(b"transfer-encoding") {
            self.kind = Kind::Coding;
        } else if self.name.is(b"upgrade") {
            self.has_upgrade = true;
        } else if self.name.is_alias_of(b"content-length") || self.name.is_alias_of(b"transfer-encoding") {
            return Err(ScreenError::Alias {});
        }
        match self.kind {
            Kind::Other if self.is_trailer && self.name.is(b"host") => Err(ScreenError::Trailer {}),
            Kind::Other => Ok(()),
            Kind::Length | Kind::Coding if self.is_trailer => Err(ScreenError::Trailer {}),
            Kind::Length if self.length.is_some() => Err(ScreenError::ContentLength {}),
            Kind::Coding if self.coding.is_some() => Err(ScreenError::TransferEncoding {}),
            Kind::Length => {
                self.length = Some(Length::default());
                Ok(())
            }
            Kind::Coding => {
                self.coding = Some(Coding::default());
                Ok(())
            }
        }
    }

    pub(super) fn value(&mut self, octet: u8) -> Result<(), ScreenError> {
        match (self.kind, &mut self.length, &mut self.coding) {
            (Kind::Length, Some(length), _) => length.push(octet),
            (Kind::Coding, _, Some(coding)) => {
                coding.push(octet);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn end_value(&mut self) -> Result<(), ScreenError> {
        match (self.kind, &self.length, &mut self.coding) {
            (Kind::Length, Some(length), _) if !length.has_digits => Err(ScreenError::ContentLength {}),
            (Kind::Coding, _, Some(coding)) => coding.end(),
            _ => Ok(()),
        }
    }

    /// How the body ends (RFC 9112 §6.3), with `is_old` in HTTP/1.0.
    pub(super) fn framing(&self, is_old: bool) -> Result<Framing, ScreenError> {
        match (&self.length, &self.coding) {
            (None, None) => Ok(Framing::None),
            (Some(length), None) => Ok(Framing::Length(length.number)),
            (Some(_), Some(_)) => Err(ScreenError::LengthAndCoding {}),
            (None, Some(_)) if is_old => Err(ScreenError::TransferEncoding {}),
            (None, Some(_)) => Ok(Framing::Chunked),
        }
    }

    pub(super) const fn has_upgrade(&self) -> bool {
        self.has_upgrade
    }
}

/// A Content-Length: digits, and nothing but white space around them.
#[derive(Clone, Copy, Debug, Default)]
struct Length {
    number: u64,
    has_digits: bool,
    is_over: bool,
}

impl Length {
    fn push(&mut self, octet: u8) -> Result<(), ScreenError> {
        match octet {
            b' ' | b'\t' => {
                self.is_over = self.has_digits;
                Ok(())
            }
            b'0'..=b'9' if !self.is_over => {
                let number = self
                    .number
                    .checked_mul(10)
                    .and_then(|number| number.checked_add(u64::from(octet - b'0')));
                self.number = number.ok_or(ScreenError::ContentLength {})?;
                self.has_digits = true;
                Ok(())
            }
            _ => Err(ScreenError::ContentLength {}),
        }
    }
}

/// A Transfer-Encoding: a list of which only `chunked` alone is understood.
#[derive(Clone, Debug, Default)]
struct Coding {
    member: Word,
    is_over: bool,
    /// Members before the one that is being read.
    others: usize,
    has_earlier_chunked: bool,
}

impl Coding {
    fn push(&mut self, octet: u8) {
        match octet {
            b',' => {
                self.others += 1;
                self.has_earlier_chunked |= self.member.is(b"chunked");
                self.member = Word::new();
                self.is_over = false;
            }
            b' ' | b'\t' => self.is_over = !self.member.is_empty(),
            octet => {
                if self.is_over {
                    // Two words are no coding; the space between them makes it one that is not understood.
                    self.member.push(b' ');
                    self.is_over = false;
                }
                self.member.push(octet.to_ascii_lowercase());
            }
        }
    }

    fn end(&self) -> Result<(), ScreenError> {
        if !self.member.is(b"chunked") || self.has_earlier_chunked {
            return Err(ScreenError::TransferEncoding {});
        }
        if self.others > 0 { Err(ScreenError::UnsupportedCoding {}) } else { Ok(()) }
    }
}

/// A word of which only those are of interest that have room in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Word {
    octets: [u8; LONGEST],
    /// Beyond [`LONGEST`] it is none that we know.
    length: usize,
}

impl Word {
    pub(super) const fn new() -> Self {
        Self { octets: [0; LONGEST], length: 0 }
    }

    pub(super) fn push(&mut self, octet: u8) {
        if let Some(room) = self.octets.get_mut(self.length) {
            *room = octet;
        }
        self.length = self.length.saturating_add(1);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) fn is(&self, word: &[u8]) -> bool {
        self.octets.get(..self.length) == Some(word)
    }

    /// Whether an upstream that takes underscores for hyphens, as CGI does, reads this as `name`.
    fn is_alias_of(&self, name: &[u8]) -> bool {
        let fold = |octet: &u8| if *octet == b'_' { b'-' } else { *octet };
        self.octets.get(..self.length).is_some_and(|ours| ours.iter().map(fold).eq(name.iter().copied()))
    }
}

/// `transfer-encoding`.
const LONGEST: usize = 17;
