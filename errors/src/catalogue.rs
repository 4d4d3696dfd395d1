use std::fmt::Write;

use serde_json::{Value, json};

use crate::action::NextAction;
use crate::message::MAX_MESSAGE_BYTES;
use crate::registry::{Entry, REGISTRY};
use crate::retry_after::RetryAfter;

/// The JSON Schema (2020-12) of the envelope, with our codes and these further ones as known values.
///
/// `errors/schema/envelope.schema.json` in the source tree is this with no further ones. Codes and actions are open:
/// the schema takes unknown ones too, and lists the known ones for generators of client code.
#[must_use]
pub fn envelope_schema(further: &[Entry]) -> String {
    let codes: Vec<&str> = all(further).map(|entry| entry.code().as_str()).collect();
    let mut actions: Vec<&str> = NextAction::known().iter().map(|entry| entry.action().as_str()).collect();
    for entry in further {
        let action = entry.next_action().as_str();
        if !actions.contains(&action) {
            actions.push(action);
        }
    }
    // Members in alphabetical order, as serde_json keeps them, or doesn't when another crate sets `preserve_order`.
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "additionalProperties": false,
        "description": "The body of every refusal. Branch on error and next_action, never on message.",
        "properties": {
            "error": open_value("What went wrong.", &codes),
            "message": {
                "description": "What went wrong, for people; may change at any time.",
                "maxLength": MAX_MESSAGE_BYTES,
                "type": "string"
            },
            "next_action": open_value("What to do next; treat an unknown one as NO_ACTION_POSSIBLE.", &actions),
            "request_id": {
                "description": "The name of the request, for finding it in logs.",
                "pattern": "^[A-Za-z0-9._~:+/=@-]{1,128}$",
                "type": "string"
            },
            "retry_after_ms": {
                "description": "How long to wait before the next try; always there with status 429 and 500.",
                "maximum": RetryAfter::MAX.as_millis(),
                "minimum": RetryAfter::MIN.as_millis(),
                "type": "integer"
            }
        },
        "required": ["error", "message", "next_action", "request_id"],
        "title": "Envelope",
        "type": "object"
    });
    format!("{schema:#}\n")
}

/// A page about all codes and actions in Markdown, with these further codes after ours of the same status.
///
/// `errors/CODES.md` in the source tree is this with no further ones.
#[must_use]
pub fn codes_page(further: &[Entry]) -> String {
    let mut page = String::from(INTRODUCTION);
    let mut entries: Vec<&Entry> = all(further).collect();
    entries.sort_by_key(|entry| entry.status());
    for entry in entries {
        let _ = writeln!(page, "{}", line(entry));
    }
    page.push_str(ACTIONS);
    for action in NextAction::known() {
        let _ = writeln!(page, "| `{}` | {} |", action.action(), action.meaning());
    }
    page
}

fn line(entry: &Entry) -> String {
    let aliases: Vec<String> = entry.aliases().iter().map(|alias| format!("`{alias}`")).collect();
    let also =
        if aliases.is_empty() { String::new() } else { format!(" Also read: {}.", aliases.join(", ")) };
    format!(
        "| `{}` | {} | `{}` | {} | {} | {} | {} | {}{also} |",
        entry.code(),
        entry.status(),
        entry.next_action(),
        entry.fixer(),
        entry.source(),
        entry.repeat().as_str(),
        entry.effect().as_str(),
        entry.summary(),
    )
}

fn all(further: &[Entry]) -> impl Iterator<Item = &Entry> {
    REGISTRY.iter().chain(further)
}

fn open_value(description: &str, known: &[&str]) -> Value {
    json!({
        "anyOf": [{ "enum": known }, { "description": "A value added later." }],
        "description": description,
        "pattern": "^[A-Za-z][A-Za-z0-9._-]{0,63}$",
        "type": "string"
    })
}

const INTRODUCTION: &str = "\
# Codes

Generated from the table in `src/registry.rs`; a test compares the two.

Branch on `error` and `next_action`, never on `message`. *Repeat* says whether the same request, unchanged, may succeed \
later; *effect* whether the refused request may have been carried out all the same, so that only an idempotent one may \
be repeated. Status 429 and 500 always come with `retry_after_ms`.

| `error` | HTTP | `next_action` | who may fix it | source | repeat | effect | meaning |
| --- | --- | --- | --- | --- | --- | --- | --- |
";

const ACTIONS: &str = "
# Next actions

A client that meets an action it does not know treats it as `NO_ACTION_POSSIBLE`.

| `next_action` | what to do |
| --- | --- |
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Code, Refusal, RequestId};

    #[test]
    fn codes_md_is_the_table() {
        check("CODES.md", &codes_page(&[]));
    }

    #[test]
    fn the_schema_is_the_table() {
        check("schema/envelope.schema.json", &envelope_schema(&[]));
    }

    #[test]
    fn x01_every_code_makes_exactly_the_envelope() {
        let mut lines = String::new();
        for entry in REGISTRY {
            let id = RequestId::parse("9a3f-11").unwrap();
            let envelope = Refusal::from(entry.code().clone()).with_request_id(id);
            let json = String::from_utf8(envelope.to_json()).unwrap();
            let hint = if [429, 500].contains(&entry.status()) { r#","retry_after_ms":1000"# } else { "" };
            let expected = format!(
                r#"{{"error":"{}","message":"{}","next_action":"{}","request_id":"9a3f-11"{hint}}}"#,
                entry.code(),
                entry.summary(),
                entry.next_action()
            );
            assert_eq!(json, expected);
            let _ = writeln!(lines, "{} {json}", entry.status());
        }
        check("tests/envelopes.txt", &lines);
    }

    #[test]
    fn the_schema_names_the_fields_of_the_envelope_and_no_other() {
        let schema: Value = serde_json::from_str(&envelope_schema(&[])).unwrap();
        let envelope = Refusal::internal().with_request_id(RequestId::from_random(1));
        let body: Value = serde_json::from_slice(&envelope.to_json()).unwrap();
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&schema["properties"]), names(&body));
        assert_eq!(schema["additionalProperties"], Value::Bool(false));
    }

    #[test]
    fn further_codes_join_both() {
        const OWN: &[Entry] = &[Entry::new(
            Code::from_static("PHONE_LIMIT"),
            409,
            NextAction::from_static("RELEASE_A_PHONE"),
            "No more phones.",
        )];
        assert!(codes_page(OWN).contains("| `PHONE_LIMIT` | 409 | `RELEASE_A_PHONE` |"));
        assert!(
            envelope_schema(OWN).contains("PHONE_LIMIT") && envelope_schema(OWN).contains("RELEASE_A_PHONE")
        );
    }

    /// Compares a generated file with the one in the tree; with `ADIT_BLESS=1` writes it instead.
    fn check(path: &str, generated: &str) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        if std::env::var_os("ADIT_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, generated).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == generated, "{} has drifted: run the tests with ADIT_BLESS=1", path.display());
    }
}
