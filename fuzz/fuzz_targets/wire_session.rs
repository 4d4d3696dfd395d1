//! Whole control sessions with a stranger in between.
#![cfg_attr(fuzzing, no_main)]
adit_fuzz::target!(adit_fuzz::wire::wire_session);
