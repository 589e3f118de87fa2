//! rkt under systemd: services as they are written in the wild, transient units, and the scope of what is typed; for pods in
//! containers and in machines.

use crate::eventually;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use testkit::flavour::{Can, each};
use testkit::program::{run, tool};
use testkit::sandbox::dist;
use testkit::{Flavour, Image, KVM, NSPAWN, Output, Rkt, Running, wait};

const LIMIT: &str = "--memory=32Mi";
const SHOW: &str = "cat /proc/self/cgroup";

/// A service; dropped, it is stopped and unknown again.
struct Service {
    name: String,
    file: PathBuf,
}

impl Service {
    fn new(name: &str, lines: &[String]) -> Self {
        let name = format!("{name}-{}.service", std::process::id());
        let file = PathBuf::from("/run/systemd/system").join(&name);
        fs::write(&file, format!("[Service]\n{}\n", lines.join("\n"))).unwrap();
        tool(&["systemctl", "daemon-reload"]);
        Self { name, file }
    }

    fn start(&self) {
        tool(&["systemctl", "start", &self.name]);
    }

    fn show(&self, property: &str) -> String {
        let option = format!("--property={property}");
        tool(&["systemctl", "show", "--value", &option, &self.name]).trim().to_owned()
    }

    fn main_pid(&self) -> i32 {
        self.show("MainPID").parse().unwrap()
    }

    fn group(&self) -> PathBuf {
        PathBuf::from(format!("/sys/fs/cgroup{}", self.show("ControlGroup")))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        run(Command::new("systemctl").args(["stop", &self.name]));
        drop(fs::remove_file(&self.file));
        run(Command::new("systemctl").args(["daemon-reload"]));
        run(Command::new("systemctl").args(["reset-failed", &self.name]));
    }
}

/// The program and its data folder, as a unit calls it.
fn rkt_line(rkt: &Rkt, words: &str) -> String {
    format!("{} --dir={} {words}", dist("rkt").display(), rkt.data.display())
}

/// The limit of the only app of the pod in a unit's group.
fn limit_in(unit: &Service, uuid: &str) -> String {
    let file = unit.group().join(format!("rkt-{uuid}/app-shell/memory.max"));
    fs::read_to_string(file).unwrap().trim().to_owned()
}

/// `run` in a flavour, as one line of a unit.
fn run_line(rkt: &Rkt, flavour: &Flavour, words: &str) -> String {
    let chosen = [flavour.select, flavour.net].concat().join(" ");
    rkt_line(rkt, &format!("--insecure-options=image run {chosen} {words}"))
}

/// Where a process of the host's is.
fn group_of(pid: &str) -> String {
    fs::read_to_string(format!("/proc/{}/cgroup", pid.trim())).unwrap()
}

fn running_pods(rkt: &Rkt) -> Vec<String> {
    let output = rkt.run(&["list", "--full", "--no-legend"]).ok();
    let rows = output.lines();
    let running = rows.iter().filter(|row| row.contains("\trunning\t"));
    running.map(|row| row.split('\t').next().unwrap().to_owned()).collect()
}

fn started(rkt: &Rkt) -> String {
    eventually("a pod runs", || !running_pods(rkt).is_empty());
    rkt.note();
    running_pods(rkt).remove(0)
}

#[test]
#[ignore = "runs in the lab"]
fn a_classic_service_keeps_its_pod() {
    each(&[Can::Namespaces], classic);
}

fn classic(flavour: &Flavour) {
    let rkt = Rkt::new();
    let folder = rkt.folder("volume");
    // What an app says while it is stopped is no failure of its pod.
    let script = "trap \"exit 5\" TERM; echo up > /v/up; sleep 1000 & wait";
    let words = format!(
        "--volume mnt,kind=host,source={folder},readOnly=false {} --mount volume=mnt,target=/v -- '{script}'",
        rkt.shell()
    );
    let service = Service::new(
        "classic",
        &[
            "Slice=machine.slice".to_owned(),
            "MemoryLimit=1G".to_owned(),
            format!("ExecStart={}", run_line(&rkt, flavour, &words)),
            format!("ExecStopPost={}", rkt_line(&rkt, "gc --mark-only")),
            "KillMode=mixed".to_owned(),
            "Restart=always".to_owned(),
            "RestartSec=1".to_owned(),
        ],
    );
    service.start();
    let first = started(&rkt);
    wait::file(&rkt.path("volume/up"));
    let main = service.main_pid();
    let line = fs::read_to_string(format!("/proc/{main}/cmdline")).unwrap();
    assert!(line.contains(&first), "{line:?}");
    assert_eq!(fs::read_to_string(service.group().join("memory.max")).unwrap(), "1073741824\n");
    let subcgroup = fs::read_to_string(rkt.pod_folder(&first).join("subcgroup")).unwrap();
    assert_eq!(subcgroup.lines().next(), Some(&*format!("machine.slice/{}", service.name)));
    // All of the pod is in the unit's group, or in the pod's inside.
    let pid = fs::read_to_string(rkt.pod_folder(&first).join("pid")).unwrap();
    let unit = format!("0::/machine.slice/{}", service.name);
    assert!(group_of(&pid).starts_with(&unit), "{}", group_of(&pid));
    for child in children(main) {
        assert!(group_of(&child).starts_with(&unit), "{}", group_of(&child));
    }

    fs::remove_file(rkt.path("volume/up")).unwrap();
    sys::process::kill(rustix::process::Pid::from_raw(main).unwrap(), 9).unwrap();
    eventually("systemd has started another", || {
        service.show("NRestarts") == "1" && running_pods(&rkt).iter().any(|pod| *pod != first)
    });
    let second = started(&rkt);
    assert!(rkt.run(&["list", "--full"]).ok().stdout.contains("exited garbage"));
    assert_ne!(first, second);
    wait::file(&rkt.path("volume/up"));

    tool(&["systemctl", "stop", &service.name]);
    // A failure would be remembered, a success is not.
    assert_eq!(service.show("ActiveState"), "inactive");
    assert_eq!(service.show("ExecMainStatus"), "0");
    assert!(running_pods(&rkt).is_empty());
}

/// The children of a process, as numbers.
fn children(pid: i32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
#[ignore = "runs in the lab"]
fn the_exit_code_of_an_app_is_its_services() {
    each(&[Can::Namespaces], |flavour| {
        let rkt = Rkt::new();
        let line = run_line(&rkt, flavour, &format!("{} -- 'exit 7'", rkt.shell()));
        let service = Service::new("seven", &[format!("ExecStart={line}")]);
        service.start();
        eventually("it has failed", || service.show("ActiveState") == "failed");
        rkt.note();
        assert_eq!(service.show("ExecMainStatus"), "7");
    });
}

/// `systemd-run` with these options and rkt's words behind.
fn transient(rkt: &Rkt, flavour: &Flavour, options: &[&str], words: &[&str]) -> Output {
    let inner = rkt.command(&Rkt::run_words(flavour, words));
    let mut outer = Command::new("systemd-run");
    outer.args(["--quiet", "--collect"]).args(options);
    outer.arg(inner.get_program()).args(inner.get_args());
    rkt.finish(&mut outer)
}

#[test]
#[ignore = "runs in the lab"]
fn a_transient_service_is_where_it_was_put() {
    let rkt = Rkt::new();
    let script = format!("{SHOW}; exit 7");
    let options = ["--wait", "--pipe", "--slice=machine"];
    let output = transient(&rkt, &NSPAWN, &options, &[&rkt.shell(), "--", &script]).code(7);
    assert!(output.stdout.starts_with("0::/machine.slice/run-"), "{output:#?}");
}

#[test]
#[ignore = "runs in the lab"]
fn a_transient_service_in_a_slice_ends_as_its_machine_does() {
    let rkt = Rkt::new();
    let options = ["--wait", "--pipe", "--slice=machine"];
    let output = transient(&rkt, &KVM, &options, &[&rkt.shell(), "--", "echo said; exit 7"]);
    assert_eq!(output.code(7).stdout, "said\n");
}

#[test]
#[ignore = "runs in the lab"]
fn the_memory_of_a_unit_is_all_that_a_machine_gets() {
    let rkt = Rkt::new();
    // It believes to have half a GiB.
    let script = "dd if=/dev/zero of=/dev/shm/all bs=1M count=300 2>/dev/null; echo survived";
    let run = |limit: &str| {
        let limit = format!("--property=MemoryMax={limit}");
        // Or systemd would end what is left before it can say why.
        let options =
            ["--wait", "--pipe", "--slice=machine", "--property=OOMPolicy=continue", &limit];
        transient(&rkt, &KVM, &options, &[&rkt.shell(), "--", script])
    };
    let output = run("200M").code(254);
    assert_eq!(output.stdout, "");
    assert!(output.stderr.contains("the virtual machine was killed by signal 9"), "{output:#?}");
    assert_eq!(run("1G").ok().stdout, "survived\n");
}

#[test]
#[ignore = "runs in the lab"]
fn an_app_limit_needs_a_unit_that_was_delegated() {
    let rkt = Rkt::new();
    let shell = rkt.shell();
    let words = [&*shell, LIMIT, "--", SHOW];
    let options = ["--wait", "--pipe", "--unit=undelegated", "--property=MemoryMax=1G"];
    let refused = transient(&rkt, &NSPAWN, &options, &words);
    refused.refuses("set Delegate=yes in the unit");
    // Without a limit of its own the app has the unit's.
    let output = transient(&rkt, &NSPAWN, &options, &[&shell, "--", SHOW]).ok();
    assert!(output.stdout.starts_with("0::/system.slice/undelegated.service/rkt-"), "{output:#?}");
    let options = ["--wait", "--pipe", "--unit=delegated", "--property=Delegate=yes"];
    let output = transient(&rkt, &NSPAWN, &options, &words).ok();
    assert!(output.stdout.ends_with("/app-shell\n"), "{output:#?}");
    // A scope that somebody made on purpose is left alone, with its limits.
    let options = ["--scope", "--unit=on-purpose.scope", "--property=MemoryMax=1G"];
    let output = transient(&rkt, &NSPAWN, &options, &[&shell, "--", SHOW]).ok();
    assert!(output.stdout.starts_with("0::/system.slice/on-purpose.scope/rkt-"), "{output:#?}");
}

#[test]
#[ignore = "runs in the lab"]
fn an_app_limit_survives_a_reload() {
    let rkt = Rkt::new();
    let script = "trap \"exit 0\" TERM; sleep 1000 & wait";
    let run =
        format!("--insecure-options=image run --net=none {} {LIMIT} -- '{script}'", rkt.shell());
    let service = Service::new(
        "limited",
        &[
            "Slice=machine.slice".to_owned(),
            "Delegate=yes".to_owned(),
            "KillMode=mixed".to_owned(),
            format!("ExecStart={}", rkt_line(&rkt, &run)),
        ],
    );
    service.start();
    let uuid = started(&rkt);
    wait::file(&rkt.pod_folder(&uuid).join("pid"));
    assert_eq!(limit_in(&service, &uuid), "33554432");
    tool(&["systemctl", "daemon-reload"]);
    assert_eq!(limit_in(&service, &uuid), "33554432");
    tool(&["systemctl", "stop", &service.name]);
    // A failure would be remembered, a success is not.
    assert_eq!(service.show("ActiveState"), "inactive");
}

#[test]
#[ignore = "runs in the lab"]
fn what_is_typed_in_a_session_gets_a_scope() {
    let rkt = Rkt::new();
    let script = "cat /proc/self/cgroup; echo up; read line; exit 3";
    let inner = rkt
        .command(&Rkt::run_words(&NSPAWN, &["--interactive", &rkt.shell(), LIMIT, "--", script]));
    let mut outer = Command::new("systemd-run");
    outer.args(["--quiet", "--collect", "--scope", "--unit=session-77.scope"]);
    outer.arg(inner.get_program()).args(inner.get_args());
    let mut running = Running::start(outer.stdin(std::process::Stdio::piped()));
    let shown = running.says("up");
    let uuid = started(&rkt);
    let scope = format!("machine-rkt\\x2d{}.scope", uuid.replace('-', "\\x2d"));
    assert!(
        shown.contains(&format!("0::/machine.slice/{scope}/rkt-{uuid}/app-shell\n")),
        "{shown}"
    );
    let subcgroup = fs::read_to_string(rkt.pod_folder(&uuid).join("subcgroup")).unwrap();
    assert_eq!(subcgroup.lines().next(), Some(&*format!("machine.slice/{scope}")));
    assert_eq!(tool(&["systemctl", "show", "--value", "--property=Delegate", &scope]), "yes\n");
    running.write("go\n");
    running.wait().code(3);
    eventually("the scope is gone", || {
        tool(&["systemctl", "list-units", "--all", "--no-legend", &scope]).is_empty()
    });
}

#[test]
#[ignore = "runs in the lab"]
fn a_machine_that_is_started_in_a_session_gets_a_scope() {
    let rkt = Rkt::new();
    let inner = rkt.command(&Rkt::run_words(
        &KVM,
        &["--interactive", &rkt.shell(), "--", "echo up; read line; exit 3"],
    ));
    let mut outer = Command::new("systemd-run");
    outer.args(["--quiet", "--collect", "--scope", "--unit=session-78.scope"]);
    outer.arg(inner.get_program()).args(inner.get_args());
    let mut running = Running::start(outer.stdin(std::process::Stdio::piped()));
    running.says("up");
    let uuid = started(&rkt);
    let scope = format!("machine-rkt\\x2d{}.scope", uuid.replace('-', "\\x2d"));
    let place = format!("0::/machine.slice/{scope}");
    let pid = fs::read_to_string(rkt.pod_folder(&uuid).join("pid")).unwrap();
    let all = children(pid.trim().parse().unwrap());
    assert_eq!(all.len(), 1);
    assert!(group_of(&pid).starts_with(&place), "{}", group_of(&pid));
    // What the guest can reach is in the pod's group.
    let inside = format!("{place}/rkt-{uuid}");
    assert!(group_of(&all[0]).starts_with(&inside), "{}", group_of(&all[0]));
    running.write("go\n");
    running.wait().code(3);
    eventually("the scope is gone", || {
        tool(&["systemctl", "list-units", "--all", "--no-legend", &scope]).is_empty()
    });
}

/// An image with perl, which can speak to a socket, and the libraries it loads.
fn perl() -> Image {
    let mut image = Image::empty("perl").exec(&["/usr/bin/perl", "-e"]);
    let listed = tool(&["ldd", "/usr/bin/perl"]);
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
    for path in std::iter::once("/usr/bin/perl").chain(libraries) {
        let content = fs::read(path).unwrap();
        let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
        image = image.file_of_mode(path.trim_start_matches('/'), &content, mode);
    }
    image
}

#[test]
#[ignore = "runs in the lab"]
fn a_fly_service_says_itself_that_it_is_ready() {
    let rkt = Rkt::new();
    let image = rkt.image(&perl());
    // The main process itself must send it: anything else is not listened to.
    let script = "socket(S, 1, 2, 0); connect(S, pack(\"Sa*\", 1, $ENV{NOTIFY_SOCKET})) or die; send(S, \"READY=1\", 0); sleep 1000";
    let words = format!(
        "--insecure-options=image run --stage1-name=fly --uuid-file-save={} --volume \
         coreos-notify,kind=host,source=/run/systemd/notify --mount volume=coreos-notify,target=/run/systemd/notify \
         --set-env=NOTIFY_SOCKET=/run/systemd/notify --inherit-env {image} -- '{}'",
        rkt.word("uuid"),
        script.replace('$', "$$"),
    );
    let service = Service::new(
        "notify",
        &[
            "Type=notify".to_owned(),
            "LimitNOFILE=40000".to_owned(),
            "TimeoutStartSec=0".to_owned(),
            format!(
                "ExecStartPre=-{}",
                rkt_line(&rkt, &format!("rm --uuid-file={}", rkt.word("uuid")))
            ),
            format!("ExecStart={}", rkt_line(&rkt, &words)),
            format!(
                "ExecStop=-{}",
                rkt_line(&rkt, &format!("stop --uuid-file={}", rkt.word("uuid")))
            ),
        ],
    );
    // Returns when it is ready.
    service.start();
    assert_eq!(service.show("ActiveState"), "active");
    let uuid = started(&rkt);
    let pid = fs::read_to_string(rkt.pod_folder(&uuid).join("pid")).unwrap();
    assert_eq!(pid, service.show("MainPID"));
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    assert!(
        limits.lines().any(|l| l.starts_with("Max open files") && l.contains("40000")),
        "{limits}"
    );
    tool(&["systemctl", "stop", &service.name]);
    assert!(running_pods(&rkt).is_empty());
}
