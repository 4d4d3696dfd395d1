//! JSON request bodies, read strictly.
#![cfg_attr(fuzzing, no_main)]

adit_fuzz::target!(adit_fuzz::errors::request_body);
