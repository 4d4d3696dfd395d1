//! Answers of a certificate authority.
#![cfg_attr(fuzzing, no_main)]

adit_fuzz::target!(adit_fuzz::acme::acme);
