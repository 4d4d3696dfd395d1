//! `wire-proto/vectors/h2.json`, against what reads and writes these fields here.

use super::heads::{
    HeadError, Purpose, close_code, head, request, reset_code, reset_number, reset_trailers, response,
};
use adit_wire_proto::CloseCode;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

#[test]
fn the_vectors_of_http2_hold() {
    let vectors = crate::carrier::vectors::vectors("h2.json");
    for vector in &vectors {
        match vector["kind"].as_str().unwrap() {
            "request" => asks(vector),
            "answer" => answers(vector),
            "head" => reads(vector),
            "trailers" => ends(vector),
            "rst_stream" => resets(vector),
            kind => panic!("{kind}"),
        }
    }
    assert!(vectors.len() > 25, "{}", vectors.len());
}

fn octets(value: &Value) -> Option<Bytes> {
    let text = value.as_str()?;
    Some(data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap().into())
}

fn code(value: &Value) -> CloseCode {
    CloseCode::from_u32(u32::try_from(value.as_u64().unwrap()).unwrap())
}

/// The fields of a vector without those whose names begin with a colon.
fn fields(vector: &Value) -> HeaderMap {
    let pairs = vector["fields"].as_array().unwrap().iter();
    pairs
        .map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
        .filter(|(name, _)| !name.starts_with(':'))
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap()))
        .collect()
}

fn pseudo<'a>(vector: &'a Value, name: &str) -> Option<&'a str> {
    let mut pairs = vector["fields"].as_array().unwrap().iter();
    pairs.find(|pair| pair[0] == name)?[1].as_str()
}

fn asks(vector: &Value) {
    let purpose = match vector["purpose"].as_str().unwrap() {
        "control" => Purpose::Control,
        "stream" => Purpose::Stream,
        _ => Purpose::Invitation,
    };
    let wanted = octets(&vector["head"]);
    let made = request(purpose, wanted.as_ref());
    assert_eq!(pseudo(vector, ":method"), Some(made.method().as_str()), "{vector}");
    assert_eq!(pseudo(vector, ":scheme"), made.uri().scheme_str(), "{vector}");
    assert_eq!(pseudo(vector, ":authority"), made.uri().authority().map(|it| it.as_str()), "{vector}");
    assert_eq!(pseudo(vector, ":path"), Some(made.uri().path()), "{vector}");
    let protocol = made.extensions().get::<h2::ext::Protocol>().map(h2::ext::Protocol::as_str);
    assert_eq!(pseudo(vector, ":protocol"), protocol, "{vector}");
    assert_eq!(made.headers(), &fields(vector), "{vector}");
    assert_eq!(Purpose::of(protocol, &made), Some(purpose), "{vector}");
    assert_eq!(head(made.headers()).ok(), wanted, "{vector}");
}

fn answers(vector: &Value) {
    let wanted = octets(&vector["head"]);
    let made = response(wanted.as_ref());
    assert_eq!(pseudo(vector, ":status"), Some(made.status().as_str()), "{vector}");
    assert_eq!(made.headers(), &fields(vector), "{vector}");
    assert_eq!(head(made.headers()).ok(), wanted, "{vector}");
}

fn reads(vector: &Value) {
    let value = HeaderValue::from_str(vector["field"].as_str().unwrap()).unwrap();
    let found = head(&HeaderMap::from_iter([(HeaderName::from_static("adit-head"), value)]));
    match vector["error"].as_str() {
        None => assert_eq!(found.ok(), octets(&vector["head"]), "{vector}"),
        Some("MALFORMED") => assert_eq!(found, Err(HeadError::Malformed), "{vector}"),
        Some(_) => assert!(matches!(found, Err(HeadError::TooLarge { .. })), "{vector}"),
    }
}

fn ends(vector: &Value) {
    let wanted = (!vector["code"].is_null()).then(|| code(&vector["code"]));
    assert_eq!(reset_code(&fields(vector)), wanted, "{vector}");
    if vector["read_only"] != true {
        assert_eq!(reset_trailers(wanted.unwrap()), fields(vector), "{vector}");
    }
}

fn resets(vector: &Value) {
    let number = u32::try_from(vector["number"].as_u64().unwrap()).unwrap();
    let read = vector.get("read_code").unwrap_or_else(|| &vector["code"]);
    assert_eq!(close_code(number), code(read), "{vector}");
    if vector["read_only"] != true {
        assert_eq!(reset_number(code(&vector["code"])), number, "{vector}");
    }
}
