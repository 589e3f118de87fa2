//! The `gc` entrypoint: cleans up after a dead pod.

use std::process::ExitCode;

fn main() -> ExitCode {
    stage1_abi::entry::main(stage1_kvm::gc::gc)
}
