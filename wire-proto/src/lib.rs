#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod code;
pub use code::CloseCode;

pub mod frame;
