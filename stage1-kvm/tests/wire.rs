//! The supervisor against guests of all kinds: the test speaks for the guest, over connections as a monitor hands them out.

#![expect(
    clippy::zombie_processes,
    reason = "whoever supervises it waits for what stands for the monitor"
)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test program: what fails here fails the test"
)]

use pod_host::{Leases, Log, Outputs};
use pod_proto::config::Dialogue;
use pod_proto::frame::{Decoder, Message as _};
use pod_proto::message::End;
use pod_proto::{Config, FromGuest, FromHost, Preamble, Process, Stream, Token};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use stage1_abi::PodDir;
use stage1_kvm::error::{GuestError, MachineError};
use stage1_kvm::host::line::{self, Teller};
use stage1_kvm::supervise::{Monitor, Supervisor};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A pod folder that goes with the test.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn config() -> Config {
    let golden = include_str!("../../crates/pod-proto/src/golden/configure.json");
    let mut config: Config = serde_json::from_str(golden).unwrap();
    config.apps[0].dialogue = Dialogue::Silent;
    config
}

/// What became of a pod whose guest does this; the folder, too.
fn pod(guest: impl FnOnce(Guest) + Send + 'static) -> (Result<u8, MachineError>, Folder) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder =
        Folder(std::env::temp_dir().join(format!("kvm-wire-{}-{count}", std::process::id())));
    fs::create_dir(&folder.0).unwrap();
    let dir = PodDir::open(&folder.0).unwrap();
    dir.ensure_state().unwrap();
    // What stands for the monitor ends when it is told to, as a machine does that resets.
    let mut child = Command::new("cat");
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let machine = child.stdin.take().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    let (listener, teller) = line::pair().unwrap();
    let log = Log::new(File::open(&folder.0).unwrap().into(), "logs", "web");
    let outputs = Outputs::new(vec![log], None);
    let monitor = Monitor { pid, pidfd };
    let mut leases = Leases::default();
    let supervisor = Supervisor::new(&dir, config(), (monitor, listener), (outputs, &mut leases));
    let mut supervisor = supervisor.unwrap();
    let guest = std::thread::spawn(move || guest(Guest { teller, machine, monitor: pid }));
    let result = supervisor.attend();
    guest.join().unwrap();
    drop(supervisor);
    drop(dir);
    (result, folder)
}

/// The guest, with its monitor.
struct Guest {
    teller: Teller,
    /// Dropped, the machine is over.
    machine: std::process::ChildStdin,
    monitor: Pid,
}

impl Guest {
    fn call(&self, preamble: Preamble) -> UnixStream {
        let mut stream = self.teller.call().unwrap();
        stream.write_all(&preamble.encode()).unwrap();
        stream
    }

    /// A guest whose apps have started: its wire, and the token.
    fn started(&self) -> (UnixStream, Token) {
        let mut wire = self.call(Preamble::Control);
        let mut decoder = Decoder::default();
        let FromHost::Configure(config) = hear(&mut wire, &mut decoder) else { panic!("no pod") };
        say(&mut wire, &FromGuest::Ready);
        assert_eq!(hear(&mut wire, &mut decoder), FromHost::Start);
        say(&mut wire, &FromGuest::Started(Process::App(0), 7));
        (wire, config.token)
    }
}

fn say(wire: &mut UnixStream, message: &FromGuest) {
    wire.write_all(&message.encode().unwrap()).unwrap();
}

fn hear(wire: &mut UnixStream, decoder: &mut Decoder<FromHost>) -> FromHost {
    loop {
        let mut byte = [0; 1];
        wire.read_exact(&mut byte).unwrap();
        if let Some(message) = decoder.feed(&mut byte.as_slice()).unwrap() {
            return message;
        }
    }
}

/// Waits until the host has closed.
fn closed(wire: &mut UnixStream) {
    drop(wire.read_to_end(&mut Vec::new()));
}

fn output(token: Token) -> Preamble {
    Preamble::Stream { process: Process::App(0), stream: Stream::Output, token }
}

#[track_caller]
fn breaks(guest: impl FnOnce(Guest) + Send + 'static, saying: &str) {
    let (result, _folder) = pod(guest);
    let error = result.unwrap_err();
    let said = sys::cause::chain(&error);
    assert!(matches!(error, MachineError::Guest(_)) && said.contains(saying), "{said}");
}

#[test]
fn a_guest_that_keeps_the_rules_has_its_code_status_and_log() {
    let (result, folder) = pod(|guest| {
        let (mut wire, token) = guest.started();
        let mut stream = guest.call(output(token));
        stream.write_all(b"a line\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        say(&mut wire, &FromGuest::Exited(Process::App(0), End::Code(3)));
        say(&mut wire, &FromGuest::Stopped(3));
        closed(&mut wire);
    });
    assert_eq!(result.unwrap(), 3);
    let status = fs::read_to_string(folder.0.join("rkt/status/web")).unwrap();
    assert_eq!(status.trim(), "3");
    let log = fs::read_to_string(folder.0.join("logs/web")).unwrap();
    assert!(log.ends_with(" stdout a line\n"), "{log}");
}

#[test]
fn garbage_on_the_wire_ends_the_pod() {
    breaks(
        |guest| {
            let mut stream = guest.teller.call().unwrap();
            stream.write_all(&[0xff; 48]).unwrap();
            closed(&mut stream);
        },
        "does not speak the pod protocol",
    );
    breaks(
        |guest| {
            let (mut wire, _) = guest.started();
            wire.write_all(&[0xff, 0xff, 0xff, 0xff, 133]).unwrap();
            closed(&mut wire);
        },
        "message exited of 4294967295 bytes",
    );
    breaks(
        |guest| {
            let (mut wire, _) = guest.started();
            wire.write_all(&[0; 5]).unwrap();
            closed(&mut wire);
        },
        "unknown kind 0",
    );
    breaks(
        |guest| {
            let (mut wire, _) = guest.started();
            say(&mut wire, &FromGuest::Ready);
            closed(&mut wire);
        },
        "ready out of turn",
    );
    breaks(
        |guest| {
            let mut wire = guest.call(Preamble::Control);
            say(&mut wire, &FromGuest::Failed(pod_proto::text::Sentence::new("no \u{1b}[2J root")));
            closed(&mut wire);
        },
        "cannot be set up in the guest: no ?[2J root",
    );
}

#[test]
fn a_guest_that_ends_too_early_is_told_from_one_that_is_killed() {
    let (result, _folder) = pod(|guest| {
        drop(guest.started());
        drop(guest.machine);
    });
    assert!(matches!(result, Err(MachineError::Guest(GuestError::Ended(0)))), "{result:?}");
    let (result, _folder) = pod(|guest| {
        let (wire, _) = guest.started();
        guest.teller.ended(&stage1_kvm::vmm::Ending::Panicked).unwrap();
        drop(wire);
        drop(guest.machine);
    });
    assert!(matches!(result, Err(MachineError::Guest(GuestError::Panicked))), "{result:?}");
    for (signal, saying) in [(9, "was killed by signal 9"), (31, "broke out of its role")] {
        breaks(
            move |guest| {
                let (mut wire, _) = guest.started();
                sys::process::kill(guest.monitor, signal).unwrap();
                closed(&mut wire);
            },
            saying,
        );
    }
}

#[test]
fn who_calls_without_the_right_to_is_dropped_and_the_pod_goes_on() {
    let (result, _folder) = pod(|guest| {
        let (mut wire, token) = guest.started();
        // Apps can call, too. They know no token; and of those that say nothing only so many are kept.
        let mut strangers: Vec<UnixStream> = Vec::new();
        let mut wrong = guest.call(output(Token::new([0; 32])));
        closed(&mut wrong);
        let mut again = guest.call(Preamble::Control);
        closed(&mut again);
        while strangers.len() < 500 {
            match guest.teller.call() {
                Ok(stream) => strangers.push(stream),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
        }
        let mut half = strangers.pop().unwrap();
        half.write_all(&output(token).encode()[..20]).unwrap();
        half.shutdown(Shutdown::Write).unwrap();
        closed(&mut half);
        for stranger in strangers.drain(..200) {
            let mut stranger = stranger;
            closed(&mut stranger);
        }
        let stream = guest.call(output(token));
        stream.shutdown(Shutdown::Write).unwrap();
        say(&mut wire, &FromGuest::Stopped(0));
        closed(&mut wire);
    });
    assert_eq!(result.unwrap(), 0);
}
