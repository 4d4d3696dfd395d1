use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::code::Code;
use crate::refusal::Refusal;

/// Reads a JSON request body strictly: what two readers could understand differently is refused.
///
/// Refused are: more than `limit_bytes` (413 [`Code::PAYLOAD_TOO_LARGE`]; ask the `Content-Length` first, so that it
/// never gets into memory); bytes behind the value, NaN and infinity, more than 127 levels, a member named twice in any
/// object, and whatever `T` does not take (400 [`Code::VALIDATION_FAILED`]). The message says where, by line and column,
/// and never quotes the body. Members unknown to `T` are its own business: see serde's `deny_unknown_fields`.
///
/// ```
/// #[derive(serde::Deserialize)]
/// struct Create {
///     subdomain: String,
/// }
///
/// let create: Create = adit_errors::read_request(br#"{"subdomain":"my-app"}"#, 64 * 1024)?;
/// assert_eq!(create.subdomain, "my-app");
///
/// let twice = br#"{"subdomain":"my-app","subdomain":"admin"}"#;
/// let refusal = adit_errors::read_request::<Create>(twice, 64 * 1024).map(drop).unwrap_err();
/// assert_eq!(refusal.message(), "the body names a member twice, at line 1 column 33");
/// # Ok::<(), adit_errors::Refusal>(())
/// ```
///
/// # Errors
/// The refusal to answer with.
pub fn read_request<T: DeserializeOwned>(body: &[u8], limit_bytes: usize) -> Result<T, Refusal> {
    check_request_length(u64::try_from(body.len()).unwrap_or(u64::MAX), limit_bytes)?;
    let mut reader = serde_json::Deserializer::from_slice(body);
    let unique = Unique.deserialize(&mut reader).and_then(|()| reader.end());
    unique.map_err(|error| refuse(&error, true))?;
    serde_json::from_slice(body).map_err(|error| refuse(&error, false))
}

/// Refuses a body by its announced length, before a byte of it is read.
///
/// # Errors
/// 413 [`Code::PAYLOAD_TOO_LARGE`] above `limit_bytes`.
pub fn check_request_length(content_length: u64, limit_bytes: usize) -> Result<(), Refusal> {
    if content_length <= u64::try_from(limit_bytes).unwrap_or(u64::MAX) {
        return Ok(());
    }
    Err(Refusal::new(Code::PAYLOAD_TOO_LARGE, format!("the body may have at most {limit_bytes} bytes")))
}

/// Serde's own messages quote the body: only the kind and the place may pass.
fn refuse(error: &serde_json::Error, while_scanning: bool) -> Refusal {
    let what = match error.classify() {
        serde_json::error::Category::Data if while_scanning => "names a member twice",
        serde_json::error::Category::Data => "does not have the members or types that are asked for",
        serde_json::error::Category::Eof => "ends too early",
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => {
            "is not JSON, or is nested too deeply"
        }
    };
    let (line, column) = (error.line(), error.column());
    Refusal::new(Code::VALIDATION_FAILED, format!("the body {what}, at line {line} column {column}"))
}

/// Walks any JSON value and fails on the second member of one name in one object; keeps nothing.
struct Unique;

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        // Names are compared as decoded: "a" and "\u0061" are one. As many as the body, already bounded, holds.
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if !names.insert(name) {
                return Err(A::Error::custom("a member is named twice"));
            }
            members.next_value_seed(Self)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const LIMIT: usize = 64 * 1024;

    #[test]
    fn x11_ten_mebibytes_are_413_by_length_alone() {
        let refusal = check_request_length(10 << 20, LIMIT).unwrap_err();
        assert_eq!((refusal.status(), refusal.code()), (413, &Code::PAYLOAD_TOO_LARGE));
        assert_eq!(read::<Value>(&vec![b' '; 10 << 20]).0, 413);
        assert_eq!(check_request_length(u64::MAX, usize::MAX).is_ok(), usize::BITS == 64);
        assert_eq!(check_request_length(65_536, LIMIT), Ok(()));
        assert!(check_request_length(65_537, LIMIT).is_err());
    }

    #[test]
    fn x11_ambiguous_bodies_are_400() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let deep_objects = format!("{}1{}", r#"{"a":"#.repeat(5_000), "}".repeat(5_000));
        let cases: [&[u8]; 17] = [
            deep.as_bytes(),
            deep_objects.as_bytes(),
            br#"{"a":1,"a":2}"#,
            br#"{"a":1,"\u0061":2}"#,
            br#"[{"x":{"a":1,"b":2,"a":1}}]"#,
            b"NaN",
            br#"{"a":NaN}"#,
            br#"{"a":Infinity}"#,
            br#"{"a":1e999}"#,
            b"{} x",
            b"{}{}",
            b"{}\0",
            b"",
            b"{",
            b"\"\xff\"",
            b"\xef\xbb\xbf{}",
            b"// c\n{}",
        ];
        for body in cases {
            let (status, code, message) = read::<Value>(body);
            assert_eq!((status, code), (400, Code::VALIDATION_FAILED), "{}", body.escape_ascii());
            assert!(message.starts_with("the body "), "{message}");
        }
    }

    #[test]
    fn x06_x11_messages_never_quote_the_body() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Strict {
            #[expect(dead_code, reason = "only its type matters")]
            a: u8,
        }
        let bodies: [&[u8]; 4] =
            [br#"{"canary":1}"#, br#"{"a":"canary"}"#, br#"{"a":1,"canary":1,"canary":2}"#, b"canary"];
        for body in bodies {
            let refusal = read_request::<Strict>(body, LIMIT).unwrap_err();
            assert!(!format!("{refusal:?} {refusal}").contains("canary"));
        }
    }

    #[test]
    fn good_bodies_pass() {
        for body in ["{}", " [1,2.5,\"x\",null,true,-3] ", r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}"#] {
            let value: Value = read_request(body.as_bytes(), LIMIT).unwrap();
            assert_eq!(value, serde_json::from_str::<Value>(body).unwrap());
        }
        let deep = format!("{}{}", "[".repeat(127), "]".repeat(127));
        assert!(read_request::<Value>(deep.as_bytes(), LIMIT).is_ok());
    }

    fn read<T: DeserializeOwned + fmt::Debug>(body: &[u8]) -> (u16, Code, String) {
        let refusal = read_request::<T>(body, LIMIT).unwrap_err();
        (refusal.status(), refusal.code().clone(), refusal.message().to_owned())
    }
}
