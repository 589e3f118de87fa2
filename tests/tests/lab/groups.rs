//! Where the groups of pods stand in version 2, where a group with processes passes no controller on.

use crate::eventually;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use testkit::leaks::groups_of;
use testkit::{FLY, NSPAWN, Output, Rkt, Running};

const LIMIT: &str = "--memory=32Mi";

/// A group for a test to start rkt in; dropped, it is gone with all that is in it.
struct Own {
    path: PathBuf,
}

impl Own {
    fn make(name: &str) -> Self {
        let path = PathBuf::from(format!("/sys/fs/cgroup/{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self { path }
    }

    /// A group that has a limit of its own.
    fn limited(name: &str, file: &str, value: &str) -> Self {
        fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory +cpu +pids").unwrap();
        let own = Self::make(name);
        fs::write(own.path.join(file), value).unwrap();
        own
    }

    fn name(&self) -> String {
        self.path.file_name().unwrap().to_str().unwrap().to_owned()
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.path.join(file)).unwrap()
    }

    /// A script in this group, whose `"$@"` is rkt with these words.
    fn script(&self, rkt: &Rkt, script: &str, words: &[&str]) -> Command {
        let inner = rkt.command(&Rkt::run_words(&NSPAWN, words));
        let mut outer = Command::new("/bin/sh");
        outer.args([
            "-c",
            &format!("echo 0 > {}/cgroup.procs; {script}", self.path.display()),
            "sh",
        ]);
        outer.arg(inner.get_program()).args(inner.get_args()).env_clear();
        for (key, value) in inner.get_envs() {
            outer.env(key, value.unwrap());
        }
        outer.current_dir(&rkt.top);
        outer
    }

    /// rkt as the only process of this group.
    fn alone(&self, rkt: &Rkt, words: &[&str]) -> Output {
        rkt.finish(&mut self.script(rkt, "exec \"$@\"", words))
    }

    /// rkt beside the shell that waits for it.
    fn shared(&self, rkt: &Rkt, words: &[&str]) -> Output {
        rkt.finish(&mut self.script(rkt, "\"$@\"; exit $?", words))
    }

    fn is_as_before(&self) {
        let inside: Vec<_> = fs::read_dir(&self.path)
            .unwrap()
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .map(|entry| entry.path())
            .collect();
        assert!(inside.is_empty(), "{inside:?}");
        assert_eq!(self.text("cgroup.subtree_control"), "");
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        drop(sys::cgroup::kill(&self.path));
        drop(sys::cgroup::remove(&self.path));
    }
}

const SHOW: &str = "cat /proc/self/cgroup";

#[test]
#[ignore = "runs in the lab"]
fn a_pod_has_a_group_below_its_caller() {
    let rkt = Rkt::new();
    let own = Own::make("plain");
    let shown = own.shared(&rkt, &[&rkt.shell(), "--", SHOW]).ok();
    assert_eq!(shown.stdout, format!("0::/{}/rkt-{}\n", own.name(), rkt.only_pod()));
    own.is_as_before();
}

#[test]
#[ignore = "runs in the lab"]
fn a_limit_is_kept_below_a_caller_that_is_alone() {
    let rkt = Rkt::new();
    let own = Own::make("alone");
    let shown = own.alone(&rkt, &[&rkt.shell(), LIMIT, "--", SHOW]).ok();
    let pod = rkt.only_pod();
    assert_eq!(shown.stdout, format!("0::/{}/rkt-{pod}/app-shell\n", own.name()));
    own.is_as_before();
    // The caller's own limit holds as well.
    let own = Own::limited("bounded", "memory.max", "16M");
    own.alone(&rkt, &[&rkt.shell(), LIMIT, "--", "exec tail /dev/zero"]).code(9);
    own.is_as_before();
}

#[test]
#[ignore = "runs in the lab"]
fn a_limit_is_kept_beside_a_caller_that_is_not() {
    let rkt = Rkt::new();
    let own = Own::make("shared");
    let shown = own.shared(&rkt, &[&rkt.shell(), LIMIT, "--", SHOW]).ok();
    assert_eq!(shown.stdout, format!("0::/rkt-{}/app-shell\n", rkt.only_pod()));
    own.is_as_before();
}

#[test]
#[ignore = "runs in the lab"]
fn no_limit_of_the_caller_is_escaped() {
    let rkt = Rkt::new();
    for (file, value) in [("memory.max", "100M"), ("cpu.max", "50000"), ("pids.max", "100")] {
        let own = Own::limited("limited", file, value);
        let refused = own.shared(&rkt, &[&rkt.shell(), LIMIT, "--", "true"]);
        let text = format!("other processes share the control group \"/{}\" with rkt", own.name());
        refused.refuses(&text);
        own.is_as_before();
    }
}

#[test]
#[ignore = "runs in the lab"]
fn whoever_enters_shares_the_limit() {
    let rkt = Rkt::new();
    let words = [&*rkt.shell(), LIMIT, "--", "echo up; exec sleep 1000"];
    let (running, uuid) = rkt.start_pod(&NSPAWN, &words);
    let shown = rkt.run(&["enter", &uuid, "/bin/cat", "/proc/self/cgroup"]).ok();
    assert_eq!(shown.stdout, format!("0::/rkt-{uuid}/app-shell\n"));
    drop(running);
}

#[test]
#[ignore = "runs in the lab"]
fn a_killed_pod_leaves_its_group_to_gc() {
    let rkt = Rkt::new();
    let own = Own::make("killed");
    let words = [&*rkt.shell(), LIMIT, "--", "echo up; exec sleep 1000"];
    let running = Running::start(&mut own.script(&rkt, "exec \"$@\"", &words));
    running.says("up");
    rkt.note();
    running.signal(9);
    running.wait();
    let pods = [rkt.only_pod()];
    eventually("the pod's processes are gone", || {
        groups_of(&pods).iter().all(|group| sys::cgroup::members(group).is_empty())
    });
    assert!(!groups_of(&pods).is_empty());
    rkt.collect();
    own.is_as_before();
}

#[test]
#[ignore = "runs in the lab"]
fn all_that_a_fly_pod_started_is_in_its_group() {
    let rkt = Rkt::new();
    let script = "setsid sleep 1000 & echo up; exec sleep 1000";
    let (running, uuid) = rkt.start_pod(&FLY, &[&rkt.shell(), "--", script]);
    let groups = groups_of(std::slice::from_ref(&uuid));
    assert_eq!(groups, [PathBuf::from(format!("/sys/fs/cgroup/rkt-{uuid}"))]);
    assert_eq!(sys::cgroup::members(&groups[0]).len(), 2);
    rkt.run(&["stop", "--force", &uuid]).ok();
    eventually("all are gone", || sys::cgroup::members(&groups[0]).is_empty());
    running.wait();
}
