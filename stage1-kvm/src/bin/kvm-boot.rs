//! Boots a kernel with an initial file system and nothing else: what the machine itself costs, without a pod. Its serial
//! line is the standard output.
//!
//! `kvm-boot MIB PROCESSORS KERNEL INITIAL COMMAND-LINE [FILE…]`: with files, it has a disk with a partition of each, and a
//! source of random bytes.

use stage1_kvm::boot::Payload;
use stage1_kvm::devices::blk::Blk;
use stage1_kvm::devices::disk::Disk;
use stage1_kvm::devices::rng::Rng;
use stage1_kvm::devices::virtio::Device;
use stage1_kvm::devices::vsock::Vsock;
use stage1_kvm::vmm::{Ending, Machine};
use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

/// The guest's number: the first that is free, as in every machine.
const GUEST: u32 = 3;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match words.as_slice() {
        [memory, processors, kernel, initial, line, files @ ..] => {
            boot([memory, processors, line], kernel, initial, files)
        }
        _ => Err("usage: kvm-boot MIB PROCESSORS KERNEL INITIAL COMMAND-LINE [FILE...]".into()),
    };
    match outcome {
        Ok(Ending::Reset) => ExitCode::SUCCESS,
        Ok(Ending::Broken(why)) => complain(&why),
        Err(error) => complain(&sys::cause::chain(&*error)),
    }
}

fn complain(text: &str) -> ExitCode {
    drop(writeln!(io::stderr(), "kvm-boot: {text}"));
    ExitCode::FAILURE
}

fn boot(
    [memory, processors, line]: [&str; 3],
    kernel: &str,
    initial: &str,
    files: &[String],
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
        devices: devices(files)?,
    };
    Ok(machine.start()?.wait())
}

fn devices(files: &[String]) -> io::Result<Vec<Box<dyn Device>>> {
    let mut devices: Vec<Box<dyn Device>> = Vec::new();
    if !files.is_empty() {
        let files = files.iter().map(File::open).collect::<io::Result<_>>()?;
        devices.push(Box::new(Blk::new(Disk::new(files)?)));
        devices.push(Box::new(Rng));
    }
    if let Some(path) = std::env::var_os("RKT_WIRE") {
        let open = move |_| UnixStream::connect(&path);
        devices.push(Box::new(Vsock::new(GUEST, Box::new(open))?));
    }
    Ok(devices)
}
