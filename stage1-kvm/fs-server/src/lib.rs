//! What serves the files: the half of the program `fs-server` that hears the guest, so that whoever looks for mistakes in
//! it can drive it without a machine. The jail and the root are the program's.

pub mod backend;
pub mod log;
