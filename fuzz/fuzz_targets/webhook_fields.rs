//! See [`adit_fuzz::policy::webhook_fields`].
#![cfg_attr(fuzzing, no_main)]
adit_fuzz::target!(adit_fuzz::policy::webhook_fields);
