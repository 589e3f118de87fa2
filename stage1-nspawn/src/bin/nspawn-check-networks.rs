//! The `check-networks` entrypoint: whether a running pod's networks are as they were left.

use std::process::ExitCode;

fn main() -> ExitCode {
    stage1_abi::entry::main(pod_host::network::check)
}
