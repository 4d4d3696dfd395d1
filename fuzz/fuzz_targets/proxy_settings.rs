//! Proxies, lists of exceptions and targets, as text.
#![cfg_attr(fuzzing, no_main)]

adit_fuzz::target!(adit_fuzz::connect_proxy::proxy_settings);
