//! Answers of HTTP proxies, in pieces.
#![cfg_attr(fuzzing, no_main)]

adit_fuzz::target!(adit_fuzz::connect_proxy::proxy_answer);
