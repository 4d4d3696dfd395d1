//! Answers of any status and body, as a client reads them.
#![cfg_attr(fuzzing, no_main)]

adit_fuzz::target!(adit_fuzz::errors::envelope);
