use crate::reader::Reader;

/// One element of DER (ITU-T X.690), header checked.
///
/// ```text
///  +-----+--------------------------+-----------+
///  | tag | length: 1 byte below 128 | content   |
///  |     | else 0x81 xx, 0x82 xx xx |           |
///  +-----+--------------------------+-----------+
/// ```
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    /// Header and content.
    pub(crate) raw: &'a [u8],
}

impl<'a> Element<'a> {
    /// Reads one element; `None` if the bytes are not DER: long tags, indefinite, cut or wasteful lengths.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let start = reader.rest();
        let tag = reader.u8().filter(|tag| tag & LONG_TAG != LONG_TAG)?;
        let length = read_length(reader)?;
        let content = reader.take(length)?;
        let raw = start.get(..start.len() - reader.rest().len())?;
        Some(Self { tag, content, raw })
    }

    /// The elements inside, if they are exactly `N` and this one has `tag`.
    pub(crate) fn children<const N: usize>(self, tag: u8) -> Option<[Self; N]> {
        if self.tag != tag {
            return None;
        }
        let mut reader = Reader::new(self.content);
        let mut children = [self; N];
        for child in &mut children {
            *child = Self::read(&mut reader)?;
        }
        reader.is_empty().then_some(children)
    }
}

/// Whether `bytes` are exactly one element of strict DER, all the way down: no wasteful number, no BOOLEAN that
/// encodes a default, primitive and constructed tags where they belong, nesting within [`MAX_DEPTH`].
///
/// Parsers that read BER where DER is due disagree about what was signed.
pub(crate) fn is_strict(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    Element::read(&mut reader)
        .is_some_and(|element| reader.is_empty() && is_strict_element(element, MAX_DEPTH))
}

/// The recursion ends: each level takes one off `depth_left`.
fn is_strict_element(element: Element<'_>, depth_left: usize) -> bool {
    match element.tag {
        // Every BOOLEAN in a request is DEFAULT FALSE, so that only TRUE may be written (X.690 §11.1, §11.5).
        BOOLEAN => element.content == [0xff],
        INTEGER => is_minimal_integer(element.content),
        BIT_STRING => element.content.first().is_some_and(|unused_bits| *unused_bits < 8),
        NULL => element.content.is_empty(),
        OBJECT_IDENTIFIER => !element.content.is_empty(),
        SEQUENCE | SET => are_strict(element.content, depth_left),
        tag if tag & CLASS == UNIVERSAL => tag & CONSTRUCTED == 0,
        tag if tag & CONSTRUCTED != 0 => are_strict(element.content, depth_left),
        _ => true,
    }
}

fn are_strict(content: &[u8], depth_left: usize) -> bool {
    let Some(depth_left) = depth_left.checked_sub(1) else {
        return false;
    };
    let mut reader = Reader::new(content);
    while !reader.is_empty() {
        let is_strict = Element::read(&mut reader).is_some_and(|child| is_strict_element(child, depth_left));
        if !is_strict {
            return false;
        }
    }
    true
}

fn is_minimal_integer(content: &[u8]) -> bool {
    match content {
        [] | [0x00, 0x00..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => false,
        [_, ..] => true,
    }
}

/// Lengths up to 65,535; nothing longer fits into what is taken.
fn read_length(reader: &mut Reader<'_>) -> Option<usize> {
    match reader.u8()? {
        short @ 0..=0x7f => Some(short.into()),
        0x81 => reader.u8().filter(|length| *length >= 0x80).map(usize::from),
        0x82 => reader.u16().filter(|length| *length > 0xff).map(usize::from),
        _ => None,
    }
}

pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
/// `[0]`, constructed.
pub(crate) const CONTEXT_0: u8 = 0xa0;
const BOOLEAN: u8 = 0x01;
const NULL: u8 = 0x05;
const OBJECT_IDENTIFIER: u8 = 0x06;

const CLASS: u8 = 0xc0;
const UNIVERSAL: u8 = 0x00;
const CONSTRUCTED: u8 = 0x20;
const LONG_TAG: u8 = 0x1f;

/// A request with extensions nests to 8; the stack is safe far beyond this.
const MAX_DEPTH: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shortest_form_is_strict() {
        for (bytes, expected) in [
            (&[0x30, 0x00][..], true),
            (&[0x30, 0x80, 0x00, 0x00], false),
            (&[0x30, 0x81, 0x00], false),
            (&[0x04, 0x81, 0x01, 0x00], false),
            (&[0x02, 0x01, 0x00], true),
            (&[0x02, 0x02, 0x00, 0x01], false),
            (&[0x02, 0x02, 0x00, 0x80], true),
            (&[0x02, 0x02, 0xff, 0x80], false),
            (&[0x02, 0x00], false),
            (&[0x01, 0x01, 0xff], true),
            (&[0x01, 0x01, 0x00], false),
            (&[0x01, 0x01, 0x01], false),
            (&[0x03, 0x01, 0x08], false),
            (&[0x24, 0x00], false),
            (&[0x1f, 0x01, 0x00], false),
            (&[0x05, 0x00, 0x00], false),
            (&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], false),
            (&[], false),
        ] {
            assert_eq!(is_strict(bytes), expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn c33_depth_is_bounded() {
        let mut nested = vec![0x05, 0x00];
        for _ in 0..60 {
            let length = u8::try_from(nested.len()).unwrap();
            nested.splice(0..0, if length < 0x80 { vec![0x30, length] } else { vec![0x30, 0x81, length] });
        }
        assert!(!is_strict(&nested));
    }
}
