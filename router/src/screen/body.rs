//! A body, as far as it must be followed to find the next head: by its length, or chunk by chunk (RFC 9112 §7.1).

use super::head::{Head, is_token};
use super::{Limits, ScreenError};

#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a connection has one, and a box would be an allocation for each body"
)]
pub(super) enum Body {
    /// So many octets are left.
    Length(u64),
    Chunked(Chunks),
}

impl Body {
    /// Reads on; true once the body is over. All octets taken may go on.
    pub(super) fn receive(&mut self, octets: &[u8]) -> (usize, Result<bool, ScreenError>) {
        match self {
            Self::Length(left) => {
                let taken = skip(left, octets);
                (taken, Ok(*left == 0))
            }
            Self::Chunked(chunks) => chunks.receive(octets),
        }
    }
}

/// Where an extension stands: `;name`, `;name=value` or `;name="value"`, one after another (RFC 9112 §7.1.1).
#[derive(Clone, Copy, Debug)]
enum Extension {
    /// A name or a value has to begin.
    NameBegins,
    Name,
    ValueBegins,
    Value,
    Quoted,
    /// Behind a backslash.
    QuotedPair,
    /// A quoted value is over.
    QuotedEnds,
}

impl Extension {
    /// `None` if the octet can't stand here. White space stands nowhere but in quotes.
    fn next(self, octet: u8) -> Option<Self> {
        match (self, octet) {
            (Self::Quoted, b'"') => Some(Self::QuotedEnds),
            (Self::Quoted, b'\\') => Some(Self::QuotedPair),
            (Self::Quoted | Self::QuotedPair, b'\t' | b' '..=0x7e | 0x80..) => Some(Self::Quoted),
            (Self::NameBegins | Self::Name, octet) if is_token(octet) => Some(Self::Name),
            (Self::ValueBegins | Self::Value, octet) if is_token(octet) => Some(Self::Value),
            (Self::ValueBegins, b'"') => Some(Self::Quoted),
            (Self::Name, b'=') => Some(Self::ValueBegins),
            (Self::Name | Self::Value | Self::QuotedEnds, b';') => Some(Self::NameBegins),
            _ => None,
        }
    }

    fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::Value | Self::QuotedEnds)
    }
}

/// A chunked body that is being read.
#[derive(Clone, Debug)]
pub(super) struct Chunks {
    place: Place,
    size: u64,
    /// Octets of chunk extensions over the whole body; at most [`MAX_EXTENSION_BYTES`]. Nobody needs them, and each
    /// chunk of one octet could carry some.
    extensions: usize,
}

/// Where the next octet stands.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a connection has one, and a box would be an allocation for each body"
)]
enum Place {
    Size { digits: u8 },
    Extension(Extension),
    SizeFeed,
    Data,
    DataReturn,
    DataFeed,
    Trailer(Head),
}

impl Chunks {
    pub(super) const fn new() -> Self {
        Self { place: Place::Size { digits: 0 }, size: 0, extensions: 0 }
    }

    fn receive(&mut self, octets: &[u8]) -> (usize, Result<bool, ScreenError>) {
        let mut taken = 0;
        while let Some(rest @ [octet, ..]) = octets.get(taken..) {
            match &mut self.place {
                Place::Data => {
                    taken += skip(&mut self.size, rest);
                    if self.size == 0 {
                        self.place = Place::DataReturn;
                    }
                }
                Place::Trailer(head) => {
                    let (more, end) = head.receive(rest);
                    return (taken + more, end.map(|whole| whole.is_some()));
                }
                Place::Size { .. }
                | Place::Extension(_)
                | Place::SizeFeed
                | Place::DataReturn
                | Place::DataFeed => match self.take(*octet) {
                    Ok(next) => {
                        self.place = next;
                        taken += 1;
                    }
                    Err(error) => return (taken, Err(error)),
                },
            }
        }
        (taken, Ok(false))
    }

    fn take(&mut self, octet: u8) -> Result<Place, ScreenError> {
        match (&self.place, octet) {
            (Place::Size { digits }, octet) if octet.is_ascii_hexdigit() => self.digit(*digits, octet),
            (Place::Size { digits: 1.. }, b'\r') => Ok(Place::SizeFeed),
            (Place::Size { digits: 1.. }, b';') => Ok(Place::Extension(Extension::NameBegins)),
            (Place::Extension(extension), b'\r') if extension.may_end() => Ok(Place::SizeFeed),
            (Place::Extension(extension), octet) => self.extension(extension.next(octet)),
            (Place::SizeFeed, b'\n') if self.size == 0 => Ok(Place::Trailer(Head::trailer(TRAILER))),
            (Place::SizeFeed, b'\n') => Ok(Place::Data),
            (Place::DataReturn, b'\r') => Ok(Place::DataFeed),
            (Place::DataFeed, b'\n') => Ok(Place::Size { digits: 0 }),
            _ => Err(ScreenError::Chunk {}),
        }
    }

    fn digit(&mut self, digits: u8, octet: u8) -> Result<Place, ScreenError> {
        if digits == MAX_SIZE_DIGITS {
            return Err(ScreenError::Chunk {});
        }
        let digit = match octet {
            b'0'..=b'9' => octet - b'0',
            // The guard of `take` leaves a to f, in either case.
            _ => octet.to_ascii_lowercase() - b'a' + 10,
        };
        self.size = self.size << 4 | u64::from(digit);
        Ok(Place::Size { digits: digits + 1 })
    }

    fn extension(&mut self, next: Option<Extension>) -> Result<Place, ScreenError> {
        self.extensions += 1;
        let next = next.filter(|_| self.extensions <= MAX_EXTENSION_BYTES);
        next.map(Place::Extension).ok_or(ScreenError::Chunk {})
    }
}

/// Takes octets off `left`, as many as there are.
fn skip(left: &mut u64, octets: &[u8]) -> usize {
    let here = u64::try_from(octets.len()).unwrap_or(u64::MAX).min(*left);
    *left -= here;
    // No more than the length of the slice.
    usize::try_from(here).unwrap_or(octets.len())
}

/// A size below 2⁶⁰, and no room for leading zeros without end.
const MAX_SIZE_DIGITS: u8 = 15;

const MAX_EXTENSION_BYTES: usize = 4 * 1024;

/// What may follow the last chunk.
const TRAILER: Limits = Limits { target_bytes: 0, head_bytes: 8 * 1024, fields: 32 };
