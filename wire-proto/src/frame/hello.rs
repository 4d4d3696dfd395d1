//! The first frame of either side.

use super::MAX_DATA_BYTES;
use crate::CloseCode;
use bytes::BufMut;

/// The first four octets of a HELLO's body: `ADIT`.
pub const MAGIC: [u8; 4] = *b"ADIT";

/// A version of the frame layer. This crate speaks [`Version::V1`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u16);

impl Version {
    /// The version that this crate implements.
    pub const V1: Self = Self(1);

    /// The version with this number.
    pub const fn from_u16(number: u16) -> Self {
        Self(number)
    }

    /// The number as it stands on the wire.
    pub const fn as_u16(self) -> u16 {
        self.0
    }
}

/// The versions that one side speaks, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    least: Version,
    most: Version,
}

impl VersionRange {
    /// What this crate speaks.
    pub const OURS: Self = Self { least: Version::V1, most: Version::V1 };

    /// A range; `None` if `least` is above `most`.
    pub const fn new(least: Version, most: Version) -> Option<Self> {
        if least.0 > most.0 { None } else { Some(Self { least, most }) }
    }

    /// The lowest version in it.
    pub const fn least(self) -> Version {
        self.least
    }

    /// The highest version in it.
    pub const fn most(self) -> Version {
        self.most
    }

    /// The highest version that both ranges hold; both sides come to the same answer.
    pub fn common(self, theirs: Self) -> Option<Version> {
        let highest = self.most.min(theirs.most);
        (highest >= self.least.max(theirs.least)).then_some(highest)
    }
}

/// A feature of the frame layer that both sides must name before either uses it.
///
/// An open value: features that this version doesn't know survive, and are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Feature(u16);

impl Feature {
    /// DATAGRAM frames.
    pub const DATAGRAM: Self = Self(1);

    /// One of the sixteen features that exist only so that ignoring stays true: `0xfff0` and above; of `which` the
    /// lowest four bits count. Nobody ever gives them a meaning.
    pub const fn reserved(which: u8) -> Self {
        Self(u16::from_be_bytes([0xff, 0xf0 | (which & 0x0f)]))
    }

    /// The feature with this number, known or not.
    pub const fn from_u16(number: u16) -> Self {
        Self(number)
    }

    /// The number as it stands on the wire.
    pub const fn as_u16(self) -> u16 {
        self.0
    }
}

/// What one side says of itself before anything else.
///
/// ```text
/// +-------------------------------+---------------+---------------+
/// | magic "ADIT" (4)              | least (2)     | most (2)      |   versions
/// +---------------+---------------+---------------+---------------+
/// | parameter (2) | length (2)    | value (length)                |   repeated, parameters strictly ascending
/// +---------------+---------------+-------------------------------+
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hello {
    /// The versions that the sender speaks.
    pub versions: VersionRange,
    /// How many streams the receiver of this HELLO may open before a STREAMS says more; 0 if absent.
    pub max_streams: u32,
    /// Credit that each stream opened by the receiver of this HELLO starts with, in octets; 0 if absent.
    pub stream_window: u32,
    /// The longest DATAGRAM body that the sender takes, in octets; 0 (the default) for none, at most
    /// [`MAX_DATA_BYTES`].
    pub max_datagram: u16,
    /// Features offered, ascending, none twice; at most [`Hello::MAX_FEATURES`].
    pub features: Vec<Feature>,
}

impl Hello {
    /// The most features that fit: more are refused.
    pub const MAX_FEATURES: usize = 64;

    const MAX_STREAMS: u16 = 1;
    const STREAM_WINDOW: u16 = 2;
    const MAX_DATAGRAM: u16 = 3;
    const FEATURES: u16 = 4;

    /// A HELLO with the versions of this crate and no limits granted yet.
    pub const fn new() -> Self {
        Self {
            versions: VersionRange::OURS,
            max_streams: 0,
            stream_window: 0,
            max_datagram: 0,
            features: Vec::new(),
        }
    }

    /// Writes the body. Parameters at their defaults are left out, so that each value has one encoding.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&MAGIC);
        out.put_u16(self.versions.least.0);
        out.put_u16(self.versions.most.0);
        if self.max_streams != 0 {
            parameter(out, Self::MAX_STREAMS, &self.max_streams.to_be_bytes());
        }
        if self.stream_window != 0 {
            parameter(out, Self::STREAM_WINDOW, &self.stream_window.to_be_bytes());
        }
        if self.max_datagram != 0 {
            parameter(out, Self::MAX_DATAGRAM, &self.max_datagram.to_be_bytes());
        }
        if !self.features.is_empty() {
            let mut sorted = self.features.clone();
            sorted.sort_unstable();
            sorted.dedup();
            sorted.truncate(Self::MAX_FEATURES);
            let octets: Vec<u8> = sorted.iter().flat_map(|feature| feature.0.to_be_bytes()).collect();
            parameter(out, Self::FEATURES, &octets);
        }
    }

    /// Reads a body whose length the header has already bounded to 1,024 octets.
    ///
    /// # Errors
    /// [`HelloError`]; the session is to be closed.
    pub fn decode(body: &[u8]) -> Result<Self, HelloError> {
        let (magic, rest) = body.split_first_chunk::<4>().ok_or(HelloError::Truncated)?;
        if *magic != MAGIC {
            return Err(HelloError::NotAdit);
        }
        let (least, rest) = u16_of(rest)?;
        let (most, mut rest) = u16_of(rest)?;
        let versions = VersionRange::new(Version(least), Version(most)).ok_or(HelloError::EmptyRange)?;
        let mut hello = Self { versions, ..Self::new() };
        let mut above = None;
        while !rest.is_empty() {
            let (number, tail) = u16_of(rest)?;
            let (length, tail) = u16_of(tail)?;
            let (value, tail) = tail.split_at_checked(usize::from(length)).ok_or(HelloError::Truncated)?;
            if above.is_some_and(|above| number <= above) {
                return Err(HelloError::Order { parameter: number });
            }
            hello.set(number, value)?;
            above = Some(number);
            rest = tail;
        }
        Ok(hello)
    }

    fn set(&mut self, number: u16, value: &[u8]) -> Result<(), HelloError> {
        let bad = HelloError::Value { parameter: number };
        if (Self::MAX_STREAMS..=Self::MAX_DATAGRAM).contains(&number) && value.iter().all(|octet| *octet == 0)
        {
            // The default is said by silence: each value has one encoding.
            return Err(bad);
        }
        match number {
            Self::MAX_STREAMS => self.max_streams = u32::from_be_bytes(value.try_into().map_err(|_| bad)?),
            Self::STREAM_WINDOW => {
                self.stream_window = u32::from_be_bytes(value.try_into().map_err(|_| bad)?)
            }
            Self::MAX_DATAGRAM => {
                self.max_datagram = u16::from_be_bytes(value.try_into().map_err(|_| bad.clone())?);
                if self.max_datagram > MAX_DATA_BYTES {
                    return Err(bad);
                }
            }
            Self::FEATURES => self.features = features(value).ok_or(bad)?,
            _ => {}
        }
        Ok(())
    }
}

impl Default for Hello {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a HELLO can't be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HelloError {
    /// The magic is another: the peer doesn't speak this protocol.
    #[error("not the Adit protocol")]
    NotAdit,
    /// The body ends inside a field.
    #[error("the body ends inside a field")]
    Truncated,
    /// The lowest version is above the highest.
    #[error("the range of versions is empty")]
    EmptyRange,
    /// Parameters that don't ascend, or one twice.
    #[error("parameter {parameter} is out of order")]
    Order {
        /// The parameter.
        parameter: u16,
    },
    /// A value of the wrong length, or outside its range.
    #[error("parameter {parameter} has an impossible value")]
    Value {
        /// The parameter.
        parameter: u16,
    },
}

impl HelloError {
    /// The code to close the session with.
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::NotAdit => CloseCode::PROTOCOL,
            Self::Truncated | Self::EmptyRange | Self::Order { .. } | Self::Value { .. } => {
                CloseCode::MALFORMED
            }
        }
    }
}

fn parameter(out: &mut impl BufMut, number: u16, value: &[u8]) {
    // Invariant: values are at most 128 octets, so the length fits.
    let Ok(length) = u16::try_from(value.len()) else { return };
    out.put_u16(number);
    out.put_u16(length);
    out.put_slice(value);
}

fn u16_of(octets: &[u8]) -> Result<(u16, &[u8]), HelloError> {
    let (value, rest) = octets.split_first_chunk::<2>().ok_or(HelloError::Truncated)?;
    Ok((u16::from_be_bytes(*value), rest))
}

/// Ascending features of two octets each.
fn features(value: &[u8]) -> Option<Vec<Feature>> {
    let (pairs, rest) = value.as_chunks::<2>();
    let features: Vec<Feature> = pairs.iter().map(|pair| Feature(u16::from_be_bytes(*pair))).collect();
    let ascending = features.is_sorted_by(|low, high| low < high);
    (rest.is_empty() && ascending && !features.is_empty() && features.len() <= Hello::MAX_FEATURES)
        .then_some(features)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(parameters: &[u8]) -> Result<Hello, HelloError> {
        let mut body = b"ADIT\x00\x01\x00\x01".to_vec();
        body.extend(parameters);
        Hello::decode(&body)
    }

    #[test]
    fn w01_each_hello_has_one_encoding() {
        let zero = decode(&[0, 1, 0, 4, 0, 0, 0, 0]);
        assert_eq!(zero, Err(HelloError::Value { parameter: 1 }));
        let twice = decode(&[0, 1, 0, 4, 0, 0, 0, 7, 0, 1, 0, 4, 0, 0, 0, 7]);
        assert_eq!(twice, Err(HelloError::Order { parameter: 1 }));
        let features = decode(&[0, 4, 0, 4, 0, 2, 0, 1]);
        assert_eq!(features, Err(HelloError::Value { parameter: 4 }));
        assert_eq!(decode(&[0, 4, 0, 0]), Err(HelloError::Value { parameter: 4 }));
    }

    #[test]
    fn w05_unknown_parameters_and_features_are_ignored() {
        let hello = decode(&[0, 4, 0, 4, 0, 1, 0xff, 0xf3, 0x7f, 0xff, 0, 2, 9, 9]).unwrap();
        assert_eq!(hello.features, [Feature::DATAGRAM, Feature::reserved(3)]);
    }

    #[test]
    fn w12_octets_after_the_last_parameter_are_malformed() {
        for tail in [&[0][..], &[0, 9, 0], &[0, 9, 0, 1]] {
            assert_eq!(decode(tail), Err(HelloError::Truncated));
        }
    }

    #[test]
    fn w16_another_magic_and_an_empty_range_are_refused() {
        assert_eq!(Hello::decode(b"HTTP/1.1 200 OK"), Err(HelloError::NotAdit));
        assert_eq!(Hello::decode(b"ADIT\x00\x02\x00\x01"), Err(HelloError::EmptyRange));
    }
}
