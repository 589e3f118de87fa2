//! Pods with a kernel of their own: what they refuse, how large they are, and how they end when something breaks.

use crate::eventually;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use testkit::{KVM, NSPAWN, Output, Rkt, Running};

/// An app with all rights that there are inside.
const ALL_RIGHTS: &str = "--insecure-options=image,all-run";

/// Runs a script with all rights.
fn unconfined(rkt: &Rkt, script: &str) -> Output {
    let mut words = Rkt::run_words(&KVM, &[]);
    words[0] = ALL_RIGHTS;
    let image = rkt.shell();
    words.extend([image.as_str(), "--", script]);
    rkt.run(&words)
}

/// The processes of the machine of a supervisor: those that it started.
fn children(supervisor: i32) -> Vec<i32> {
    let path = format!("/proc/{supervisor}/task/{supervisor}/children");
    let text = fs::read_to_string(path).unwrap();
    text.split_whitespace().map(|word| word.parse().unwrap()).collect()
}

fn signal(pid: i32, number: i32) {
    sys::process::kill(rustix::process::Pid::from_raw(pid).unwrap(), number).unwrap();
}

fn supervisor(rkt: &Rkt, uuid: &str) -> i32 {
    fs::read_to_string(rkt.pod_folder(uuid).join("pid")).unwrap().trim().parse().unwrap()
}

/// Insists that the pod has ended with this reason, said and kept.
#[track_caller]
fn failed(rkt: &Rkt, output: Output, uuid: &str, why: &str) {
    let output = output.code(254);
    let said = output.stderr.lines().filter(|line| line.starts_with("stage1: "));
    assert_eq!(said.count(), 1, "{output:#?}");
    assert!(output.stderr.contains(why), "{output:#?}");
    let status = rkt.run(&["status", uuid]).ok();
    assert!(status.stdout.contains("state=exited\n"), "{status:#?}");
    let kept = status.lines().into_iter().find(|line| line.starts_with("failure="));
    assert!(kept.is_some_and(|line| line.contains(why)), "{status:#?}");
    assert!(rkt.status(uuid)["failure"].as_str().unwrap().contains(why));
    rkt.collect();
    rkt.is_clean();
}

#[test]
#[ignore = "runs in the lab"]
fn what_a_machine_cannot_have_leaves_no_pod() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    let run = |words: &[&str]| {
        let mut all = vec!["--insecure-options=image", "run", "--stage1-name=kvm"];
        all.extend(words);
        all.extend([image.as_str(), "--", "true"]);
        rkt.run(&all)
    };
    let own_kernel = "a pod in a virtual machine has a kernel of its own";
    run(&["--net=host"]).refuses(own_kernel);
    run(&["--net=none", "--ipc=parent"]).refuses(own_kernel);
    run(&["--net=mine"]).refuses("networks not found: [mine]");
    assert_eq!(rkt.pods(), []);
    // A prepared pod that is refused stays prepared.
    let uuid = rkt.prepare(&KVM, &[&image, "--", "exit 4"]);
    rkt.run(&["run-prepared", "--net=host", &uuid]).refuses(own_kernel);
    assert_eq!(rkt.pods(), [("prepared", uuid.clone())]);
    rkt.run_prepared(&KVM, &[&uuid]).code(4);

    let volume = "--volume=d,kind=host,source=/dev/null";
    let output = rkt.pod(&KVM, &[volume, &image, "--mount=volume=d,target=/d", "--", "true"]);
    output.refuses("volume /dev/null is a device node");
    rkt.collect();
    rkt.is_clean();
}

#[test]
#[ignore = "runs in the lab"]
fn a_host_without_kvm_is_told_so_before_there_is_a_pod() {
    let rkt = Rkt::new();
    let (image, hidden) = (rkt.shell(), rkt.word("hidden"));
    fs::write(&hidden, "").unwrap();
    let inner = rkt.command(&Rkt::run_words(&KVM, &[&image, "--", "true"]));
    let run = |hide: &str| {
        let mut outer = Command::new("unshare");
        outer.args(["--mount", "/bin/sh", "-e", "-c", &format!("{hide}; exec \"$@\""), "sh"]);
        outer.arg(inner.get_program()).args(inner.get_args()).env_clear();
        for (key, value) in inner.get_envs() {
            outer.env(key, value.unwrap());
        }
        rkt.finish(outer.current_dir(&rkt.top))
    };
    let without = "mkdir /mnt/dev-below; mount -t tmpfs tmpfs /mnt/dev-below; \
        for one in null zero urandom random; do touch /mnt/dev-below/$one; mount --bind /dev/$one /mnt/dev-below/$one; done; \
        mount --move /mnt/dev-below /dev";
    run(without).refuses("this host has no /dev/kvm");
    // Something of that name that is none.
    run(&format!("mount --bind {hidden} /dev/kvm")).code(254);
    assert_eq!(rkt.pods().iter().filter(|(phase, _)| *phase == "prepare").count(), 0);
    drop(fs::remove_dir("/mnt/dev-below"));
}

#[test]
#[ignore = "runs in the lab"]
fn a_machine_is_as_large_as_its_apps_and_128_mib() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    let script = "uname -r; nproc; grep MemTotal /proc/meminfo";
    for (flags, least, most, processors) in [
        (vec![], 430, 512, None),
        (vec!["--memory=600M", "--cpu=1"], 640, 728, Some("1")),
        (vec!["--cpu=4000"], 430, 512, None),
    ] {
        let mut words = vec![image.as_str()];
        words.extend(flags);
        words.extend(["--", script]);
        let output = rkt.pod(&KVM, &words).ok();
        let lines = output.lines();
        let own = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_ne!(lines[0], own.trim(), "{output:#?}");
        let host = std::thread::available_parallelism().unwrap().to_string();
        assert_eq!(lines[1], processors.unwrap_or(&host), "{output:#?}");
        let kib: u64 = lines[2].split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!((least..most).contains(&(kib >> 10)), "{output:#?}");
    }
}

#[test]
#[ignore = "runs in the lab"]
fn a_guest_that_resets_its_machine_ends_the_pod_and_no_other() {
    let rkt = Rkt::new();
    let (other, uuid) = rkt.sleeper(&KVM);
    let bystander = Rkt::new();
    let output = unconfined(&bystander, "reboot -f; sleep 1000");
    failed(&bystander, output, &bystander_pod(&bystander), "reset its machine");
    assert_eq!(rkt.status(&uuid)["state"], "running");
    rkt.run(&["stop", &uuid]).ok();
    other.wait();
}

/// The only pod of a sandbox.
fn bystander_pod(rkt: &Rkt) -> String {
    rkt.only_pod()
}

#[test]
#[ignore = "runs in the lab"]
fn a_machine_that_is_killed_ends_its_pod_with_the_reason() {
    let rkt = Rkt::new();
    let (running, uuid) = rkt.sleeper(&KVM);
    let [monitor] = children(supervisor(&rkt, &uuid)).try_into().unwrap();
    signal(monitor, 9);
    failed(&rkt, running.wait(), &uuid, "the virtual machine was killed by signal 9");
}

#[test]
#[ignore = "runs in the lab"]
fn a_file_server_that_is_killed_ends_its_pod_with_the_reason() {
    let rkt = Rkt::new();
    let volume = format!("--volume=v,kind=host,source={}", rkt.folder("shared"));
    let image = rkt.shell();
    let words = [&volume, &image, "--mount=volume=v,target=/v", "--", "echo up; sleep 1000"];
    let (running, uuid) = rkt.start_pod(&KVM, &words);
    let all = children(supervisor(&rkt, &uuid));
    let server = all
        .into_iter()
        .find(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().trim() == "fs-server");
    signal(server.unwrap(), 9);
    failed(&rkt, running.wait(), &uuid, "file server");
}

#[test]
#[ignore = "runs in the lab"]
fn a_supervisor_that_is_killed_takes_everything_with_it() {
    let rkt = Rkt::new();
    let volume = format!("--volume=v,kind=host,source={}", rkt.folder("shared"));
    let image = rkt.shell();
    let words = [&volume, &image, "--mount=volume=v,target=/v", "--", "echo up; sleep 1000"];
    let (running, uuid) = rkt.start_pod(&KVM, &words);
    let own = supervisor(&rkt, &uuid);
    let all = children(own);
    assert_eq!(all.len(), 2);
    signal(own, 9);
    assert_eq!(running.wait().signal, Some(9));
    for pid in all {
        testkit::wait::gone(pid);
    }
    eventually("the pod is over", || rkt.status(&uuid)["state"] == "exited");
    rkt.collect();
    rkt.is_clean();
}

#[test]
#[ignore = "runs in the lab"]
fn a_machine_that_hangs_is_killed_in_time() {
    let rkt = Rkt::new();
    let (running, uuid) = rkt.sleeper(&KVM);
    let [monitor] = children(supervisor(&rkt, &uuid)).try_into().unwrap();
    signal(monitor, 19);
    rkt.run(&["stop", &uuid]).ok();
    failed(&rkt, running.wait(), &uuid, "did not stop in time");
}

#[test]
#[ignore = "runs in the lab"]
fn a_stop_does_not_wait_for_who_does_not_read() {
    let rkt = Rkt::new();
    let file = rkt.word("uuid");
    let save = format!("--uuid-file-save={file}");
    let image = rkt.shell();
    let words = Rkt::run_words(&KVM, &[&save, &image, "--", "exec yes"]);
    let mut command = rkt.command(&words);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let output = child.stdout.take().unwrap();
    eventually("nothing more fits into the pipe", || {
        rustix::io::ioctl_fionread(&output).unwrap() >= 60 << 10
    });
    rkt.note();
    rkt.run(&["stop", &fs::read_to_string(file).unwrap()]).ok();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{status}");
    drop(output);
    rkt.collect();
    rkt.is_clean();
}

#[test]
#[ignore = "runs in the lab"]
fn an_app_that_takes_all_it_can_ends_alone() {
    let rkt = Rkt::new();
    // All memory: the kernel of the guest ends who takes it.
    rkt.script(&KVM, "exec tail /dev/zero").code(9);
    // All room for files.
    let script = "dd if=/dev/zero of=/file bs=1M 2>/dev/null; echo $?; rm /file; echo gone > /other; cat /other";
    let output = rkt.script(&KVM, script).ok();
    assert_eq!(output.lines(), ["1", "gone"]);
    // All processes: the pod stops in time all the same.
    let script = "echo up; bomb() { bomb & bomb & wait; }; bomb";
    let image = rkt.shell();
    let (running, uuid) = rkt.start_pod(&KVM, &[&image, "--", script]);
    rkt.run(&["stop", &uuid]).ok();
    running.wait().ok();
    rkt.collect();
    rkt.is_clean();
}

#[test]
#[ignore = "runs in the lab"]
fn ten_machines_run_at_once() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    rkt.fetch(&image);
    let start = |number: usize| -> (Running, String) {
        let file = rkt.word(&format!("uuid-{number}"));
        let save = format!("--uuid-file-save={file}");
        let script = format!("echo up {number}; exec sleep 1000");
        let words = Rkt::run_words(&KVM, &[&save, &image, "--", &script]);
        (rkt.start(&words), file)
    };
    let all: Vec<(Running, String)> = (0..10).map(start).collect();
    for (number, (running, _)) in all.iter().enumerate() {
        // They boot side by side on one emulated processor.
        running.says_within(&format!("up {number}"), Duration::from_mins(5));
    }
    rkt.note();
    for (_, file) in &all {
        rkt.run(&["stop", fs::read_to_string(file).unwrap().trim()]).ok();
    }
    for (running, _) in all {
        running.wait();
    }
    rkt.collect();
    rkt.is_clean();
}

#[test]
#[ignore = "runs in the lab"]
fn the_operator_speaks_to_the_guests_kernel() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    let mut command = rkt.command(&Rkt::run_words(&KVM, &[&image, "--", "cat /proc/cmdline"]));
    command.env("RKT_HYPERVISOR_EXTRA_KERNEL_PARAMS", "rkt.nothing=1 panic=-1");
    let output = rkt.finish(&mut command).ok();
    assert!(output.stdout.trim_end().ends_with(" rkt.nothing=1 panic=-1"), "{output:#?}");
    let mut words = vec!["--debug"];
    words.extend(Rkt::run_words(&KVM, &[&image, "--", "true"]));
    let output = rkt.run(&words).ok();
    assert!(output.stderr.contains("Linux version "), "{output:#?}");
}

#[test]
#[ignore = "runs in the lab"]
fn returns_are_guarded_where_the_processor_needs_it() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    let script = "cat /sys/devices/system/cpu/vulnerabilities/retbleed";
    let mut command = rkt.command(&Rkt::run_words(&KVM, &[&image, "--", script]));
    command.env("RKT_HYPERVISOR_EXTRA_KERNEL_PARAMS", "retbleed=unret,force");
    let output = rkt.finish(&mut command).ok();
    assert!(output.stdout.contains("untrained return thunk"), "{output:#?}");
}

#[test]
#[ignore = "runs in the lab"]
fn a_container_and_a_machine_share_what_they_run_on() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    let script = "id -u; pwd; ls /; hostname | cut -c1-4";
    let [container, machine] =
        [NSPAWN, KVM].map(|flavour| rkt.pod(&flavour, &[&image, "--", script]).ok().stdout);
    assert_eq!(container, machine);
    let derived = rkt.data.join("cas/derived");
    let count = |path: &Path| fs::read_dir(path).unwrap().count();
    let before = count(&derived);
    rkt.pod(&KVM, &[&image, "--", "true"]).ok();
    assert_eq!((before, count(&derived)), (1, 1));
}
