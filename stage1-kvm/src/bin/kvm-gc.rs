//! The `gc` entrypoint: cleans up after a dead pod.

use std::process::ExitCode;

fn main() -> ExitCode {
    stage1_abi::entry::main(pod_host::gc::gc)
}
