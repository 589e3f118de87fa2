//! Boots a kernel with an initial file system and nothing else: what the machine itself costs, without a pod. Its serial
//! line is the standard output.
//!
//! `kvm-boot MIB PROCESSORS KERNEL INITIAL COMMAND-LINE [FILE…]`: with files, it has a disk with a partition of each, and a
//! source of random bytes.
//!
//! The environment gives it more: `RKT_WIRE` is a socket that streams of the guest's lead to; `RKT_FILE_SERVER` is the
//! program that serves `RKT_VOLUMES`, a line each: `rw` or `ro`, `all` or `one` (with or without mounts below it), a path.

use stage1_kvm::boot::Payload;
use stage1_kvm::devices::blk::Blk;
use stage1_kvm::devices::disk::Disk;
use stage1_kvm::devices::fs::Fs;
use stage1_kvm::devices::rng::Rng;
use stage1_kvm::devices::virtio::Device;
use stage1_kvm::devices::vsock::Vsock;
use stage1_kvm::shares::{Shares, TAG};
use stage1_kvm::vmm::{Ending, Machine};
use stage2::mounts::{Access, Source};
use stage2::{MountPlan, MountStep};
use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use sys::mount::Depth;

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
        Ok(Ending::Panicked) => complain("the guest's kernel panicked"),
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

fn devices(files: &[String]) -> Result<Vec<Box<dyn Device>>, Box<dyn Error>> {
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
    if let Some(program) = std::env::var_os("RKT_FILE_SERVER") {
        let volumes = std::env::var("RKT_VOLUMES")?;
        let steps = volumes.lines().map(volume).collect::<Option<Vec<_>>>();
        let steps = steps.ok_or("RKT_VOLUMES has a line that is no volume")?;
        let plan = MountPlan { steps, implicit: Vec::new() };
        if let (Some(shares), _) = Shares::take(&[plan])? {
            // Where there is no pod there is no lock of one, either.
            let lock = File::open("/dev/null")?;
            let server = shares.serve(Path::new(&program), lock.as_fd(), None)?;
            devices.push(Box::new(Fs::new(TAG, server.machine)?));
        }
    }
    Ok(devices)
}

/// `rw all /path`
fn volume(line: &str) -> Option<MountStep> {
    let (access, rest) = line.split_once(' ')?;
    let (depth, path) = rest.split_once(' ')?;
    let access = match access {
        "rw" => Access::ReadWrite,
        "ro" => Access::ReadOnly,
        _ => return None,
    };
    let depth = match depth {
        "all" => Depth::Recursive,
        "one" => Depth::Single,
        _ => return None,
    };
    Some(MountStep { source: Source::Host(path.into()), target: "/".into(), access, depth })
}
