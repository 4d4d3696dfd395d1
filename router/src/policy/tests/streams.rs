//! Streams that outlive the decision that let them in.

use super::*;
use crate::lifecycle::Command;

#[test]
fn a09_a_stream_by_a_revoked_token_ends_and_by_one_that_is_rotated_in_goes_on() {
    let (old, new) = (VisitorToken::from_random([7; 32]), VisitorToken::from_random([8; 32]));
    let with = |tokens: &[&VisitorToken]| {
        Policy::new().auth(AuthMode::authenticated(tokens.iter().map(|token| token.digest())).unwrap())
    };
    let request = get(&[("x-adit-authorization", &bearer(&old))]);
    let pass = *forward(decide(&with(&[&old]), &request)).pass();
    assert_eq!(with(&[&new, &old]).recheck(&record(), &pass, at(0)), Ok(()));
    assert_eq!(with(&[&new]).recheck(&record(), &pass, at(0)).unwrap_err().code(), &Code::AUTH_FAILED);
    assert_eq!(Policy::new().recheck(&record(), &pass, at(0)), Ok(()), "now open to all");
}

#[test]
fn a_stream_ends_when_its_tunnel_is_deleted_or_over_and_not_when_it_is_paused() {
    let pass = *forward(decide(&Policy::new(), &get(&[]))).pass();
    let recheck =
        |record: &Record, now| Policy::new().recheck(record, &pass, now).map_err(|end| end.status());
    let mut paused = record();
    paused.apply(Command::Pause, WALL).unwrap();
    assert_eq!(recheck(&paused, at(0)), Ok(()));
    let mut deleted = record();
    deleted.apply(Command::Delete, WALL).unwrap();
    assert_eq!(recheck(&deleted, at(0)), Err(404));
    deleted.apply(Command::Restore, WALL).unwrap();
    assert_eq!(recheck(&deleted, at(0)), Ok(()));
    let name = TunnelName::parse("my-app").unwrap();
    let short = NewRecord::new(TunnelId::from_u128(1), name).time_to_live(Duration::from_secs(1));
    let short = Record::create(short, WALL).0;
    assert_eq!((recheck(&short, at(999)), recheck(&short, at(1000))), (Ok(()), Err(404)));
}

#[test]
fn a_stream_ends_when_its_source_is_denied_or_a_credential_is_asked_for() {
    let pass = *forward(decide(&Policy::new(), &get(&[]))).pass();
    let denying = Policy::new().source(SourceRules::new().deny("192.0.2.0/24").unwrap());
    assert_eq!(denying.recheck(&record(), &pass, at(0)).unwrap_err().code(), &Code::ACCESS_DENIED);
    let closed = Policy::new().auth(AuthMode::Shares);
    assert_eq!(closed.recheck(&record(), &pass, at(0)).unwrap_err().code(), &Code::AUTH_FAILED);
}
