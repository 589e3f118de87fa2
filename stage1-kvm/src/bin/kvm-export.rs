//! The `export` entrypoint.

use std::process::ExitCode;

fn main() -> ExitCode {
    stage1_abi::entry::main(stage1_kvm::export::export)
}
