//! The `stop` entrypoint: ends a running pod.

use std::process::ExitCode;

fn main() -> ExitCode {
    stage1_abi::entry::main(stage1_fly::stop::stop)
}
