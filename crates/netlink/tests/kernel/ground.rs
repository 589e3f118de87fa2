//! Where the tests stand: namespaces, and programs that are asked what they see.

use netlink::link::{self, Index, Name};
use netlink::{Errno, RequestError, Socket};
use serde_json::Value;
use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use sys::namespace::{Kinds, join, unshare};

/// Runs a test in a new network namespace, which is gone afterwards.
pub(crate) fn alone(test: impl FnOnce() + Send) {
    on_a_thread(|| {
        unshare(Kinds::NET).expect("root may");
        test();
    });
}

fn on_a_thread<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    let outcome = std::thread::scope(|scope| scope.spawn(run).join());
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A network namespace that lasts as long as its descriptor.
pub(crate) struct Namespace(pub(crate) File);

impl Namespace {
    pub(crate) fn new() -> Self {
        on_a_thread(|| {
            unshare(Kinds::NET).expect("root may");
            Self(File::open("/proc/thread-self/ns/net").expect("procfs is mounted"))
        })
    }

    /// Does something in it.
    pub(crate) fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        on_a_thread(|| {
            join(self.0.as_fd(), Kinds::NET).expect("root may");
            inside()
        })
    }
}

/// What a program says in JSON.
pub(crate) fn json(program: &str, words: &[&str]) -> Value {
    serde_json::from_str(&output(program, words)).expect("it speaks JSON")
}

pub(crate) fn output(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().expect("it is installed");
    let said = String::from_utf8(output.stdout).expect("a text");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words:?}: {error}");
    said
}

/// What `ip` says of a link.
pub(crate) fn shown(name: &str) -> Value {
    json("ip", &["-j", "-d", "link", "show", "dev", name])[0].clone()
}

pub(crate) fn name(name: &str) -> Name {
    name.parse().expect("a name")
}

/// The index of a link.
pub(crate) fn index(socket: &Socket, of: &str) -> Index {
    let found = socket.get(&link::Get::new(name(of))).expect("an answer");
    found.expect("it is there").index
}

/// Whether this failed since the kernel has no such kind of link, queue or filter; it is then said. The lab's kernel has all.
pub(crate) fn lacking(what: &str, outcome: Result<(), RequestError>) -> bool {
    match outcome {
        Ok(()) => false,
        Err(error)
            if matches!(error.errno(), Some(Errno::OPNOTSUPP | Errno::NOENT))
                && std::env::var_os("LAB").is_none() =>
        {
            println!("this kernel has no {what}: {}", sys::cause::chain(&error));
            true
        }
        Err(error) => panic!("{}", sys::cause::chain(&error)),
    }
}
