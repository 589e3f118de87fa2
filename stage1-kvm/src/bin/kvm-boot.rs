//! Boots a kernel with an initial file system and nothing else: what the machine itself costs, without a pod. Its serial
//! line is the standard output.
//!
//! `kvm-boot MIB PROCESSORS KERNEL INITIAL COMMAND-LINE`

use stage1_kvm::boot::Payload;
use stage1_kvm::vmm::{Ending, Machine};
use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match words.as_slice() {
        [memory, processors, kernel, initial, line] => {
            boot(memory, processors, kernel, initial, line)
        }
        _ => Err("usage: kvm-boot MIB PROCESSORS KERNEL INITIAL COMMAND-LINE".into()),
    };
    match outcome {
        Ok(Ending::Reset) => ExitCode::SUCCESS,
        Ok(Ending::Broken(why)) => complain(&why),
        Err(error) => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                text.push_str(": ");
                text.push_str(&cause.to_string());
                source = cause.source();
            }
            complain(&text)
        }
    }
}

fn complain(text: &str) -> ExitCode {
    drop(writeln!(io::stderr(), "kvm-boot: {text}"));
    ExitCode::FAILURE
}

fn boot(
    memory: &str,
    processors: &str,
    kernel: &str,
    initial: &str,
    line: &str,
) -> Result<Ending, Box<dyn Error>> {
    let serial = line.contains("ttyS0").then(|| File::options().write(true).open("/dev/stdout"));
    let machine = Machine {
        kvm: OwnedFd::from(File::options().read(true).write(true).open("/dev/kvm")?),
        memory: memory.parse::<u64>()? << 20,
        processors: processors.parse()?,
        payload: Payload {
            kernel: File::open(kernel)?,
            initial: vec![File::open(initial)?],
            command_line: line.to_owned(),
        },
        serial: serial.transpose()?,
    };
    Ok(machine.start()?.wait())
}
