//! Boots a kernel with an initial file system and nothing else: what the machine itself costs, jail and all, without a pod.
//! Its serial line is the standard output.
//!
//! `kvm-boot MIB PROCESSORS KERNEL INITIAL COMMAND-LINE [FILE…]`: with files, it has a disk with a partition of each, and a
//! source of random bytes.
//!
//! The environment gives it more: `RKT_WIRE` is a socket that streams of the guest's lead to; `RKT_FILE_SERVER` is the
//! program that serves `RKT_VOLUMES`, a line each: `rw` or `ro`, `all` or `one` (with or without mounts below it), a path;
//! `RKT_NETWORK` is a network namespace's file, of which the machine has the interfaces `RKT_INTERFACES`, a word each.

use jail::Parent;
use rustix::event::{PollFd, PollFlags};
use stage1_kvm::devices::net::Nic;
use stage1_kvm::host::line::{self, Listener, Word};
use stage1_kvm::machine::{self, PORT, Parts, Ties};
use stage1_kvm::network;
use stage1_kvm::shares::{self, Line, Shares};
use stage1_kvm::size::Size;
use stage1_kvm::vmm::{Ending, STACK};
use stage2::mounts::{Access, Source};
use stage2::{MountPlan, MountStep};
use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use sys::mount::Depth;
use sys::process::Cloned;

fn main() -> ExitCode {
    stage1_abi::entry::start_log(false);
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
    let images = files.iter().map(File::open).collect::<io::Result<Vec<_>>>()?;
    let wire = std::env::var_os("RKT_WIRE").map(PathBuf::from);
    let parts = Parts {
        kvm: OwnedFd::from(File::options().read(true).write(true).open("/dev/kvm")?),
        size: Size { memory: memory.parse::<u64>()? << 20, processors: processors.parse()? },
        kernel: File::open(kernel)?,
        initial: File::open(initial)?,
        command_line: line.to_owned(),
        images: (!images.is_empty()).then_some(images),
        log: serial.transpose()?,
        port: wire.as_ref().map(|_| port(line)).transpose()?,
        files: volumes()?,
        nics: nics()?,
    };
    let (listener, teller) = line::pair()?;
    let parent = Parent::myself()?;
    match sys::process::clone(jail::CLONED_INTO)? {
        Cloned::Child => machine::live(parts, Ties { parent, teller, lock: None }),
        Cloned::Parent { pid, .. } => {
            drop((parts, parent, teller));
            hear(&listener, wire.as_deref(), pid)
        }
    }
}

/// The port that the guest is told to call.
fn port(line: &str) -> Result<u32, std::num::ParseIntError> {
    let told = line.split(' ').find_map(|word| word.strip_prefix("rkt.port="));
    told.map_or(Ok(PORT), str::parse)
}

/// Does what the supervisor of a pod would: connects the guest's streams, and says how the machine ended.
fn hear(
    listener: &Listener,
    wire: Option<&Path>,
    pid: rustix::process::Pid,
) -> Result<Ending, Box<dyn Error>> {
    let mut ending = None;
    loop {
        rustix::event::poll(&mut [PollFd::new(listener, PollFlags::IN)], None)?;
        match (listener.hear(), wire) {
            (Ok(Some(Word::Call(guest))), Some(path)) => {
                connect(guest, UnixStream::connect(path)?)?;
            }
            (Ok(Some(Word::Call(_)) | None), _) => {}
            (Ok(Some(Word::Ended(how))), _) => ending = Some(how),
            (Err(_), _) => break,
        }
    }
    let end = sys::process::wait_for(pid)?;
    ending.ok_or_else(|| format!("the machine ended without a word: {end:?}").into())
}

/// Lets two streams speak to each other for as long as they have something to say.
fn connect(one: UnixStream, other: UnixStream) -> io::Result<()> {
    let (from, to) = (one.try_clone()?, other.try_clone()?);
    for (mut from, mut to) in [(from, to), (other, one)] {
        std::thread::Builder::new().stack_size(STACK).spawn(move || {
            let copied = io::copy(&mut from, &mut to);
            drop((copied, to.shutdown(Shutdown::Write), from.shutdown(Shutdown::Read)));
        })?;
    }
    Ok(())
}

/// The ways to a server of the volumes that are asked for, if any are.
fn volumes() -> Result<Vec<Line>, Box<dyn Error>> {
    let Some(program) = std::env::var_os("RKT_FILE_SERVER") else { return Ok(Vec::new()) };
    let volumes = std::env::var("RKT_VOLUMES")?;
    let steps = volumes.lines().map(volume).collect::<Option<Vec<_>>>();
    let steps = steps.ok_or("RKT_VOLUMES has a line that is no volume")?;
    let plan = MountPlan { steps, implicit: Vec::new() };
    let (Some(shares), _) = Shares::take(&[plan], shares::DEVICES)? else { return Ok(Vec::new()) };
    // Where there is no pod there is no lock of one, either.
    let lock = File::open("/dev/null")?;
    Ok(shares.serve(Path::new(&program), lock.as_fd(), None)?.lines)
}

/// The interfaces that are asked for, if any are.
fn nics() -> Result<Vec<Nic>, Box<dyn Error>> {
    let Some(namespace) = std::env::var_os("RKT_NETWORK") else { return Ok(Vec::new()) };
    let names = std::env::var("RKT_INTERFACES")?;
    let namespace = File::open(namespace)?;
    let interfaces = network::look(namespace.as_fd(), names.split_whitespace())?;
    Ok(network::attach(namespace.as_fd(), &interfaces)?)
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
