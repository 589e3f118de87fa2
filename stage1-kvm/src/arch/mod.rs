//! What depends on the processor's architecture: one folder each.

mod x86_64;

pub use x86_64::*;
