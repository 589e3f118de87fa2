//! A guest without a kernel: a few instructions that follow a script of writes, kicks and expectations, so that it can do to
//! devices what no kernel would.
#![expect(unsafe_code, reason = "the guest's instructions are a symbol of this program")]

use std::arch::global_asm;
use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use sys::namespace::{Kinds, inside_network, unshare};
use testkit::Rkt;

const MACHINE: &str = env!("CARGO_BIN_EXE_kvm-boot");
/// Where the guest's instructions lie, and its script.
const CODE: u32 = 0x10_0000;
const SCRIPT: u32 = 0x11_0000;
/// How often an expectation is looked at before it is given up.
const PATIENCE: u32 = 20_000;

// What a step is: a number of what to do and three words for it.
//   1 write a word     2 write half a word   3 write a byte   4 expect under a mask   5 say a letter
//   6 count down, and go on elsewhere until it is zero        others: end by a triple fault
global_asm!(
    ".pushsection .rodata",
    ".code32",
    "guest_begin:",
    "    mov esi, 0x110000",
    "2:  mov eax, [esi]",
    "    mov edi, [esi + 4]",
    "    mov ecx, [esi + 8]",
    "    mov ebp, [esi + 12]",
    "    add esi, 16",
    "    dec eax",
    "    jz 10f",
    "    dec eax",
    "    jz 11f",
    "    dec eax",
    "    jz 12f",
    "    dec eax",
    "    jz 13f",
    "    dec eax",
    "    jz 14f",
    "    dec eax",
    "    jz 15f",
    // Nothing is written there.
    "3:  lidt [0x1e0000]",
    "    int3",
    "10: mov [edi], ecx",
    "    jmp 2b",
    "11: mov [edi], cx",
    "    jmp 2b",
    "12: mov [edi], cl",
    "    jmp 2b",
    "13: mov ebx, {patience}",
    // An exit, so that the host's threads have their turn.
    "5:  in al, 0x80",
    "    mov eax, [edi]",
    "    and eax, ebp",
    "    cmp eax, ecx",
    "    je 2b",
    "    dec ebx",
    "    jnz 5b",
    // The letter of a guest that waited in vain.
    "    mov al, 0x3f",
    "    mov dx, 0x3f8",
    "    out dx, al",
    "    jmp 3b",
    "14: mov al, cl",
    "    mov dx, 0x3f8",
    "    out dx, al",
    "    jmp 2b",
    "15: dec dword ptr [edi]",
    "    jz 2b",
    "    mov esi, ecx",
    "    jmp 2b",
    "guest_end:",
    ".code64",
    ".popsection",
    patience = const PATIENCE,
);

unsafe extern "C" {
    static guest_begin: u8;
    static guest_end: u8;
}

/// The instructions.
fn code() -> Vec<u8> {
    let (begin, end) = (&raw const guest_begin, &raw const guest_end);
    let length = end as usize - begin as usize;
    // SAFETY: both symbols lie in one read-only section, the second behind the first, and all between them is initialised.
    unsafe { std::slice::from_raw_parts(begin, length) }.to_vec()
}

/// A guest: its script.
#[derive(Default)]
pub(crate) struct Guest {
    script: Vec<[u32; 4]>,
    /// Whether its network is never silent.
    pub(crate) flooded: bool,
}

/// How a machine ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) well: bool,
    /// What the guest said.
    pub(crate) said: String,
    /// What the host said.
    pub(crate) told: Vec<String>,
}

impl Guest {
    /// Writes a word.
    pub(crate) fn write(&mut self, address: u32, value: u32) {
        self.script.push([1, address, value, 0]);
    }

    /// Writes half a word.
    pub(crate) fn write_half(&mut self, address: u32, value: u16) {
        self.script.push([2, address, value.into(), 0]);
    }

    /// Writes a byte.
    pub(crate) fn write_byte(&mut self, address: u32, value: u8) {
        self.script.push([3, address, value.into(), 0]);
    }

    /// Waits until a word has this value under a mask.
    pub(crate) fn expect(&mut self, address: u32, mask: u32, value: u32) {
        self.script.push([4, address, value, mask]);
    }

    /// Says a letter.
    pub(crate) fn say(&mut self, letter: char) {
        self.script.push([5, 0, letter as u32, 0]);
    }

    /// Does this so often; the count lies at an address.
    pub(crate) fn repeat(&mut self, counter: u32, count: u32, steps: impl FnOnce(&mut Self)) {
        self.write(counter, count);
        let here = SCRIPT + 16 * u32::try_from(self.script.len()).unwrap();
        steps(self);
        self.script.push([6, counter, here, 0]);
    }

    /// Lives in a machine with a disk, random numbers, sockets and a network, and ends it.
    pub(crate) fn live(self) -> Outcome {
        self.live_with(None)
    }

    /// The same in a machine that has this folder of the host's, too, served by the program that `RKT_FILE_SERVER` names.
    pub(crate) fn live_with(mut self, folder: Option<&Path>) -> Outcome {
        self.script.push([0; 4]);
        assert!(self.script.len() < 0xe000, "its script reaches into its counters");
        let script = self.script.iter().flatten().flat_map(|word| word.to_le_bytes()).collect();
        let sandbox = Rkt::new();
        let kernel = sandbox.path("kernel");
        std::fs::write(&kernel, executable(&[(CODE, code()), (SCRIPT, script)])).unwrap();
        let nothing = sandbox.file("nothing", "");
        let disk = sandbox.file("disk", "the disk");
        let wire = sandbox.path("wire");
        let _listener = std::os::unix::net::UnixListener::bind(&wire).unwrap();
        let [outside, pod] = networks();
        let mut machine = Command::new(MACHINE);
        machine.args(["32", "1"]).arg(&kernel).args([&nothing, "console=ttyS0", &disk]);
        machine.env("RKT_NETWORK", path(&pod)).env("RKT_INTERFACES", "eth0");
        machine.env("RKT_WIRE", wire);
        match folder {
            Some(folder) => {
                assert!(std::env::var_os("RKT_FILE_SERVER").is_some(), "no file server is named");
                machine.env("RKT_VOLUMES", format!("rw all {}", folder.display()));
            }
            None => {
                machine.env_remove("RKT_FILE_SERVER");
            }
        }
        let end = AtomicBool::new(!self.flooded);
        std::thread::scope(|scope| {
            scope.spawn(|| flood(&outside, &end));
            let outcome = run(&mut machine);
            end.store(true, Ordering::Relaxed);
            outcome
        })
    }
}

/// Two network namespaces that end with these, with an interface each and nothing but a wire between them.
fn networks() -> [File; 2] {
    let spaces = [(); 2].map(|()| {
        let made = std::thread::spawn(|| {
            unshare(Kinds::NET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        made.join().unwrap()
    });
    let [outside, pod] = &spaces;
    let ip = |words: &str| {
        let done = inside_network(outside.as_fd(), || {
            Command::new("ip").args(words.split(' ')).output().unwrap()
        });
        let done = done.unwrap();
        assert!(done.status.success(), "{words}: {}", String::from_utf8_lossy(&done.stderr));
    };
    ip(&format!("link add out type veth peer name eth0 netns {}", path(pod)));
    ip("address add 10.9.0.1/24 dev out");
    ip("link set out up");
    spaces
}

fn path(space: &File) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), space.as_raw_fd())
}

/// Says something to everybody until the end.
fn flood(outside: &File, end: &AtomicBool) {
    let socket = inside_network(outside.as_fd(), || UdpSocket::bind("10.9.0.1:0").unwrap());
    let socket = socket.unwrap();
    socket.set_broadcast(true).unwrap();
    while !end.load(Ordering::Relaxed) {
        // Before the other end is up nothing arrives.
        drop(socket.send_to(&[7; 1000], "10.9.0.255:9"));
    }
}

fn run(machine: &mut Command) -> Outcome {
    let output = machine.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Outcome {
        well: output.status.success(),
        said: text(&output.stdout),
        told: text(&output.stderr).lines().map(str::to_owned).collect(),
    }
}

/// An ELF file of these pieces, whose first one is entered by the PVH protocol.
fn executable(pieces: &[(u32, Vec<u8>)]) -> Vec<u8> {
    const HEADER: usize = 64;
    const ENTRY: usize = 56;
    let count = pieces.len() + 1;
    let mut note = Vec::new();
    for word in [4_u32, 8, 18] {
        note.extend(word.to_le_bytes());
    }
    note.extend(b"Xen\0");
    note.extend(u64::from(CODE).to_le_bytes());
    let mut bodies = vec![(4_u32, 0_u32, note)];
    bodies.extend(pieces.iter().map(|(address, bytes)| (1, *address, bytes.clone())));
    let mut at = (HEADER + ENTRY * count).next_multiple_of(16);
    let (mut table, mut content) = (Vec::new(), Vec::new());
    for (kind, address, bytes) in bodies {
        let (offset, length) = (at as u64, bytes.len() as u64);
        table.extend(kind.to_le_bytes());
        table.extend(7_u32.to_le_bytes());
        for value in [offset, address.into(), address.into(), length, length, 4] {
            table.extend(value.to_le_bytes());
        }
        content.push((at, bytes));
        at = (at + length as usize).next_multiple_of(16);
    }
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    for half in [2_u16, 62] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1_u32.to_le_bytes());
    for long in [u64::from(CODE), HEADER as u64, 0] {
        file.extend(long.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for half in [HEADER, ENTRY, count, 64, 0, 0] {
        file.extend(u16::try_from(half).unwrap().to_le_bytes());
    }
    file.extend(table);
    for (at, bytes) in content {
        file.resize(at, 0);
        file.extend(bytes);
    }
    file
}
