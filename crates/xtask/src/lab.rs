//! `lab`: a command on an emulated machine (`tests/lab`) that has what this one may lack: control groups of version 2
//! alone, systemd as its init, a KVM that runs any kernel. It reads all of this machine's files and writes to none.

use crate::error::TaskError;
use crate::say;
use crate::workspace::{Workspace, call, read, watch};
use std::collections::BTreeMap;
use std::process::Command;

const USAGE: &str = "usage: cargo xtask lab [OPTIONS of tests/lab/lab.sh] -- COMMAND";
/// Tests below these names run on control groups of version 2, too.
const ON_VERSION_2: [&str; 3] = ["isolation::", "end_of_pods::", "networks::kinds_of_interfaces"];
/// Tests below these names run on pods with a kernel of their own, too, of those that any flavour must pass.
const ON_MACHINES: [&str; 9] = [
    "exit_codes::",
    "lifecycle::",
    "volumes::",
    "end_of_pods::",
    "networks::the_default_network",
    "networks::ports_are_reached_from_everywhere",
    "networks::both_versions",
    "networks::kinds_of_interfaces",
    "leases::a_pod_leases",
];
/// Has tests run on pods with a kernel of their own.
const ON_KVM: &str = "RKT_TEST_FLAVOURS=kvm";
/// Memory for ten machines, in MiB.
const ROOM: &str = "8192";
/// A kernel of the distribution's, for guests.
const GUEST: &str = "linux-image-cloud-amd64";
/// A machine that has room for others.
const WITH_ROOM: [&str; 2] = ["--mem", ROOM];
/// How long one machine may run, in seconds.
const TIMEOUT: &str = "900";
/// The same for all of a suite.
const LONG_TIMEOUT: &str = "5400";

/// `cargo xtask lab [OPTIONS] -- COMMAND`
pub(crate) fn run(workspace: &Workspace, words: &[String]) -> Result<(), TaskError> {
    if words.is_empty() {
        return Err(TaskError::Usage(USAGE.to_owned()));
    }
    call(machine(workspace).args(words))
}

/// The tests that need such a machine. What they run must have been built. A machine on which tests fail does not keep
/// the others from being run.
pub(crate) fn suite(workspace: &Workspace) -> Result<(), TaskError> {
    let programs = tests(workspace)?;
    let program = |name| find(&programs, name);
    let (lab, acceptance) = (program("lab")?, program("acceptance")?);
    let mut failed = Vec::new();

    let groups = passed(&format!("{lab} --ignored --test-threads=1 groups::"));
    let suite = passed(&format!("{acceptance} --test-threads=2 {}", ON_VERSION_2.join(" ")));
    let call = on(workspace, TIMEOUT, &[], &[groups, suite]);
    failed.extend(judged("control groups of version 2", call)?);

    let kinds = passed(&format!("{} --test-threads=1 links:: traffic::", program("kernel")?));
    let call = on(workspace, TIMEOUT, &[], &[kinds]);
    failed.extend(judged("kinds of links and queues that not every kernel has", call)?);

    let systemd = passed(&format!("{lab} --ignored --test-threads=1 systemd::"));
    let systemd = own_kernel(&format!("export RKT_TEST_FLAVOURS=nspawn,kvm && {systemd}"));
    let call = on(workspace, TIMEOUT, &["--systemd", "--mem", ROOM], &[systemd]);
    failed.extend(judged("systemd", call)?);

    let kernel = read(machine(workspace).args(["kernel", GUEST]))?;
    let kernel = kernel.trim();
    let calls = [
        // It is read over and over; the machine's own files come through a slow door.
        format!("cp {kernel}/boot/vmlinux /mnt/vmlinux"),
        "export RKT_GUEST_KERNEL=/mnt/vmlinux".to_owned(),
        format!("export RKT_GUEST_MODULES=$(echo {kernel}/lib/modules/*)"),
        passed(&format!("{} --ignored --test-threads=1", program("boot")?)),
        format!("export RKT_FILE_SERVER={}", program("fs-server")?),
        passed(&format!("{} --ignored --test-threads=1", program("misuse")?)),
        format!("export RKT_MACHINE={}", program("kvm-boot")?),
        passed(&format!(
            "{} --ignored --test-threads=1 machine:: volumes:: network::",
            program("pods")?
        )),
    ];
    let call = on(workspace, TIMEOUT, &["--modprobe", "vhost_vsock"], &calls);
    failed.extend(judged("a machine in the machine", call)?);

    let machines = passed(&format!("{lab} --ignored --test-threads=1 machines::"));
    let call = on(workspace, TIMEOUT, &WITH_ROOM, &[own_kernel(&machines)]);
    failed.extend(judged("pods with a kernel of their own", call)?);

    let chosen = on_machines(&acceptance, &ON_MACHINES);
    let call = on(workspace, TIMEOUT, &WITH_ROOM, &[own_kernel(&chosen)]);
    failed.extend(judged("the suite on pods with a kernel of their own", call)?);
    if failed.is_empty() { Ok(()) } else { Err(TaskError::Parts(failed)) }
}

/// A call of the lab with these options, which ends after `timeout` seconds.
///
/// One processor, always. Two of them wait for each other whenever this machine has other work, and now and then the
/// emulation keeps a breakpoint that the kernel has taken out of its code again (each machine's first and last pod with a
/// kernel of its own change code): both then take that breakpoint for ever.
fn on(workspace: &Workspace, timeout: &str, options: &[&str], calls: &[String]) -> Command {
    let mut command = machine(workspace);
    command
        .args(["--smp", "1"])
        .args(options)
        .args(["--timeout", timeout, "--"])
        .args(script(calls));
    command
}

/// Makes a call of the lab and watches its tests; what is to be said of it unless all is well.
fn judged(name: &str, mut call: Command) -> Result<Option<String>, TaskError> {
    say::title(&format!("in the lab: {name}"));
    let mut tests = Vec::new();
    let ended = watch(&mut call, |line| tests.extend(failed_test(line).map(str::to_owned)));
    match ended {
        Ok(()) => Ok(None),
        Err(TaskError::Program { status, .. }) => Ok(Some(verdict(name, status.code(), &tests))),
        Err(other) => Err(other),
    }
}

/// The test whose failure the test runner reports in this line.
fn failed_test(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

/// What is said of a call that failed.
fn verdict(name: &str, code: Option<i32>, tests: &[String]) -> String {
    match (code, tests) {
        // The status that the lab documents.
        (Some(124), _) => format!("{name}: not over in its time"),
        (_, []) => format!("{name}: no test is known to have failed, but not all ran"),
        _ => format!("{name}: {}", tests.join(", ")),
    }
}

fn find(programs: &BTreeMap<String, String>, name: &str) -> Result<String, TaskError> {
    let found = programs.get(name).cloned();
    found.ok_or_else(|| TaskError::Missing(format!("cargo built no test program {name:?}")))
}

/// A part of what is too long for every change: a test program, whether its tests are ignored elsewhere, and their names.
struct Part {
    name: &'static str,
    program: &'static str,
    ignored: bool,
    tests: &'static str,
}

/// All of them on pods with a kernel of their own.
const PARTS: [Part; 5] = [
    Part { name: "life", program: "lab", ignored: true, tests: "machines::" },
    Part { name: "row", program: "lab", ignored: true, tests: "long::" },
    // Networks apart: each of the two takes most of an hour.
    Part {
        name: "suite",
        program: "acceptance",
        ignored: false,
        tests: "--skip networks:: --skip plugins:: --skip leases:: --skip parity:: --skip crowds::",
    },
    Part {
        name: "networks",
        program: "acceptance",
        ignored: false,
        tests: "networks:: plugins:: leases:: parity:: crowds::",
    },
    // The store lies on a tmpfs there, and that of the lab's kernel cannot have what the layers of `edge` hold.
    Part {
        name: "images",
        program: "corpus",
        ignored: false,
        tests: "real_images:: root:: --skip only_the_changed_layer_is_sent",
    },
];

/// The names of the parts.
pub(crate) fn parts() -> String {
    PARTS.map(|part| part.name).join(", ")
}

/// Whether there is such a part.
pub(crate) fn is_part(name: &str) -> bool {
    PARTS.iter().any(|part| part.name == name)
}

/// All tests that any flavour must pass, on pods with a kernel of their own, and what shows only after many; or one part of
/// it. A part that fails does not keep the others from being run.
pub(crate) fn machines(workspace: &Workspace, only: Option<&str>) -> Result<(), TaskError> {
    let programs = tests(workspace)?;
    let mut failed = Vec::new();
    for part in PARTS.iter().filter(|part| only.is_none_or(|name| name == part.name)) {
        let program = find(&programs, part.program)?;
        let ignored = if part.ignored { "--ignored" } else { "" };
        let tests = passed(&format!("{program} --test-threads=1 {ignored} {}", part.tests));
        let script = own_kernel(&format!("export {ON_KVM} && {tests}"));
        let call = on(workspace, LONG_TIMEOUT, &WITH_ROOM, &[script]);
        failed.extend(judged(part.name, call)?);
    }
    if failed.is_empty() { Ok(()) } else { Err(TaskError::Parts(failed)) }
}

/// This program with these words in the lab, on a machine that has room for others.
pub(crate) fn own_program(workspace: &Workspace, words: &[&str]) -> Result<(), TaskError> {
    let own = std::env::current_exe();
    let own = own.map_err(|source| TaskError::Start { program: "xtask".to_owned(), source })?;
    let manifest = workspace.path("crates/xtask");
    let call_of_it = format!(
        "exec env CARGO_MANIFEST_DIR={} {} {}",
        manifest.display(),
        own.display(),
        words.join(" ")
    );
    call(&mut on(workspace, LONG_TIMEOUT, &WITH_ROOM, &[call_of_it]))
}

/// Tests of the suite on pods with a kernel of their own.
fn on_machines(acceptance: &str, names: &[&str]) -> String {
    let call = passed(&format!("{acceptance} --test-threads=1 {}", names.join(" ")));
    format!("export {ON_KVM} && {call}")
}

/// The call with what is installed on a file system that is fast here.
fn own_kernel(call: &str) -> String {
    let installed =
        "mkdir -p /mnt/dist && cp target/dist/* /mnt/dist && export RKT_TEST_DIST=/mnt/dist";
    format!("{installed} && {call}")
}

/// A call of a test program that ends well only if tests ran, all passed, and none skipped itself.
fn passed(call: &str) -> String {
    let told = "/mnt/told";
    let judged = format!("grep -q '^test result: ok. [1-9]' {told} && test ! -s /mnt/skips");
    format!("{{ RKT_TEST_SKIPS=/mnt/skips {call} | tee {told}; {judged}; }}")
}

/// A call of the lab.
pub(crate) fn machine(workspace: &Workspace) -> Command {
    let mut command = Command::new("bash");
    command.arg(workspace.path("tests/lab/lab.sh")).current_dir(workspace.root());
    command
}

/// A shell that calls these one after the other, with room on a file system that can hold an overlay's upper layer.
fn script(calls: &[String]) -> [String; 3] {
    let room = "mount -t tmpfs tmpfs /mnt && export TMPDIR=/mnt".to_owned();
    let all: Vec<String> = std::iter::once(room).chain(calls.iter().cloned()).collect();
    ["sh".to_owned(), "-c".to_owned(), all.join(" && ")]
}

/// Builds the tests that run there; where each program of them lies.
fn tests(workspace: &Workspace) -> Result<BTreeMap<String, String>, TaskError> {
    let words = ["test", "--locked", "--no-run", "--message-format=json"];
    let of = [
        "--package=tests",
        "--test=lab",
        "--test=acceptance",
        "--test=corpus",
        "--package=stage1-kvm",
        "--test=boot",
        "--package=fs-server",
        "--test=requests",
        "--test=misuse",
        "--package=guest-init",
        "--package=netlink",
        "--test=kernel",
        "--test=pods",
    ];
    Ok(programs(&read(workspace.cargo(&words).args(of))?))
}

/// The programs that cargo's messages tell of, by name.
fn programs(messages: &str) -> BTreeMap<String, String> {
    messages
        .lines()
        .filter_map(|line| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            let name = message.pointer("/target/name")?.as_str()?.to_owned();
            Some((name, message.get("executable")?.as_str()?.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod own_tests {
    use super::*;

    #[test]
    fn programs_are_found_in_what_cargo_says() {
        let messages = "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"lab\"},\"executable\":\"/t/lab-1\"}\n\
            {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"kit\"},\"executable\":null}\n\
            {\"reason\":\"build-finished\",\"success\":true}\nnoise\n";
        assert_eq!(programs(messages), BTreeMap::from([("lab".to_owned(), "/t/lab-1".to_owned())]));
    }

    #[test]
    fn a_test_program_must_have_run_a_test() {
        let judge = |said: &str| {
            let call = passed(&format!("printf '{said}'")).replace("/mnt/", "/proc/self/cwd/x/");
            let folder = std::env::temp_dir().join(format!("xtask-lab-{}", std::process::id()));
            std::fs::create_dir_all(folder.join("x")).unwrap();
            let shell = Command::new("sh").args(["-c", &call]).current_dir(&folder).output();
            std::fs::remove_dir_all(&folder).unwrap();
            shell.unwrap().status.success()
        };
        assert!(judge("running\ntest result: ok. 3 passed; 0 failed\n"));
        assert!(!judge("test result: ok. 0 passed; 0 failed\n"));
        assert!(!judge("test result: FAILED. 3 passed; 1 failed\n"));
        assert!(!judge(""));
    }

    #[test]
    fn a_failure_names_the_tests() {
        let told =
            ["test a::b ... FAILED", "---- a::b stdout ----", "---- x", "---- c stdout ----"];
        let tests: Vec<String> =
            told.iter().filter_map(|line| failed_test(line)).map(str::to_owned).collect();
        assert_eq!(verdict("kvm", Some(101), &tests), "kvm: a::b, c");
        assert_eq!(verdict("kvm", Some(124), &[]), "kvm: not over in its time");
    }

    #[test]
    fn a_call_that_fails_ends_the_script() {
        let [.., text] = script(&["a b".to_owned(), "c".to_owned()]);
        assert!(text.ends_with("TMPDIR=/mnt && a b && c"), "{text}");
    }
}
