//! What an app may not do, and how much it may use.

use serde_json::json;
use std::fs;
use std::path::PathBuf;
use testkit::flavour::{Can, each};
use testkit::leaks::groups_of;
use testkit::sandbox::dist;
use testkit::{FLY, Image, NSPAWN, Rkt};

/// The default set: AUDIT_WRITE, CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, MKNOD, NET_BIND_SERVICE, NET_RAW, SETFCAP,
/// SETGID, SETPCAP, SETUID, SYS_CHROOT.
const DEFAULT_SET: u64 = 0xa804_25fb;
const CHOWN: u64 = 1;
const KILL: u64 = 1 << 5;

/// The files of this name in the control groups of a pod.
fn group_files(uuid: &str, name: &str) -> Vec<PathBuf> {
    let groups = groups_of(&[uuid.to_owned()]);
    let below = groups.iter().flat_map(|group| {
        let apps = fs::read_dir(group).into_iter().flatten().flatten().map(|entry| entry.path());
        std::iter::once(group.clone()).chain(apps)
    });
    let mut files: Vec<_> =
        below.map(|group| group.join(name)).filter(|path| path.exists()).collect();
    files.sort();
    files.dedup();
    files
}

fn values(uuid: &str, name: &str) -> Vec<String> {
    let read = |path: PathBuf| fs::read_to_string(path).unwrap().trim().to_owned();
    group_files(uuid, name).into_iter().map(read).collect()
}

#[test]
fn memory_is_limited() {
    each(&[Can::Limit], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.shell();
        if flavour.can(Can::HostGroups) {
            let words = [&*image, "--memory=32M", "--", "echo up; exec sleep 1000"];
            let (running, uuid) = rkt.start_pod(flavour, &words);
            let mut limits = values(&uuid, "memory.limit_in_bytes");
            limits.extend(values(&uuid, "memory.max"));
            // Decimal, in whole pages.
            assert!(limits.contains(&(32_000_000 / 4096 * 4096).to_string()), "{limits:?}");
            drop(running);
        }
        // What tail keeps of a file without lines is all of it.
        rkt.pod(flavour, &[&image, "--memory=32M", "--", "exec tail /dev/zero"]).code(9);
        rkt.pod(flavour, &[&image, "--memory=16m", "--", "true"]).refuses(
            "memory limit of 1 bytes too low. Try a reasonable value, such as --memory=16M",
        );
    });
}

#[test]
fn processor_time_is_limited_and_weighed() {
    each(&[Can::HostGroups], |flavour| {
        let rkt = Rkt::new();
        let words =
            [&*rkt.shell(), "--cpu=500m", "--cpu-shares=512", "--", "echo up; exec sleep 1000"];
        let (running, uuid) = rkt.start_pod(flavour, &words);
        let quota =
            |file: &PathBuf| fs::read_to_string(file).unwrap().trim().parse::<i64>().unwrap();
        let halves = group_files(&uuid, "cpu.cfs_quota_us").into_iter().filter(|file| {
            let period = quota(&file.with_file_name("cpu.cfs_period_us"));
            quota(file) * 2 == period
        });
        let both = values(&uuid, "cpu.max").into_iter().filter(|text| text == "50000 100000");
        assert_eq!(halves.count() + both.count(), 1);
        let mut weights = values(&uuid, "cpu.shares");
        weights.extend(values(&uuid, "cpu.weight"));
        // Version 2 has a scale of its own: 20 of 1 to 10000 is 512 of 2 to 262144.
        assert!(weights.iter().any(|weight| weight == "512" || weight == "20"), "{weights:?}");
        drop(running);
        for flag in ["--cpu-shares=1", "--cpu=fast"] {
            rkt.pod(flavour, &[&rkt.shell(), flag, "--", "true"]).code(254);
        }
    });
}

#[test]
fn the_oom_score_has_two_spellings() {
    each(&[Can::Restrict], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.shell();
        for flag in ["--oom-score-adj=333", "--oom-score-adjust=333"] {
            let words = [&*image, flag, "--", "cat /proc/self/oom_score_adj"];
            assert_eq!(rkt.pod(flavour, &words).ok().stdout, "333\n");
        }
        rkt.pod(flavour, &[&image, "--oom-score-adj=2000", "--", "true"]).code(254);
    });
}

/// The bounding set of an app of this image with these flags.
fn bounding(rkt: &Rkt, image: &str, before: &[&str], after: &[&str]) -> u64 {
    let script = "sed -n 's/CapBnd:[[:space:]]*//p' /proc/self/status";
    let mut words = vec![];
    words.extend(before);
    words.push(image);
    words.extend(after);
    words.extend(["--", script]);
    let output = rkt.pod(&NSPAWN, &words).ok();
    u64::from_str_radix(output.text(), 16).unwrap()
}

#[test]
fn apps_have_fourteen_capabilities() {
    let rkt = Rkt::new();
    let set = bounding(&rkt, &rkt.shell(), &[], &[]);
    assert_eq!(set, DEFAULT_SET, "{set:x}");
    assert_eq!(set.count_ones(), 14);
}

#[test]
fn capabilities_come_from_the_image_or_from_flags() {
    each(&[Can::Restrict], |flavour| {
        let rkt = Rkt::new();
        let plain = rkt.shell();
        let isolator = |kind: &str| json!([{ "name": format!("os/linux/capabilities-{kind}-set"), "value": { "set": ["CAP_CHOWN"] } }]);
        let retaining = rkt.image(&Image::shell("retaining").app("isolators", isolator("retain")));
        let removing = rkt.image(&Image::shell("removing").app("isolators", isolator("remove")));
        let without = DEFAULT_SET & !CHOWN;
        for (image, flags, wanted) in [
            (&retaining, &[][..], CHOWN),
            (&removing, &[], without),
            (&plain, &["--caps-retain=CAP_CHOWN,CAP_KILL"], CHOWN | KILL),
            (&plain, &["--caps-remove=CAP_CHOWN"], without),
            (&retaining, &["--caps-retain=CAP_KILL"], KILL),
            (&retaining, &["--caps-remove=CAP_CHOWN"], without),
            (&plain, &["--caps-retain=CAP_CHOWN", "--caps-retain=CAP_KILL"], KILL),
            (&plain, &["--cap-retain=CAP_KILL"], KILL),
        ] {
            let set = bounding(&rkt, image, &[], flags);
            assert_eq!(set, wanted, "{image} {flags:?}: {set:x}");
        }
        let both = [&*plain, "--caps-retain=CAP_CHOWN", "--caps-remove=CAP_KILL", "--", "true"];
        rkt.pod(flavour, &both).refuses("cannot use both --caps-retain and --caps-remove");
    });
}

#[test]
fn the_capabilities_option_gives_all() {
    let rkt = Rkt::new();
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let all = own.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap().trim();
    let all = u64::from_str_radix(all, 16).unwrap();
    let option = "--insecure-options=image,capabilities";
    // Whatever somebody else would take away.
    for flags in [&[][..], &["--caps-retain=CAP_CHOWN"], &["--caps-remove=CAP_CHOWN"]] {
        let set = bounding(&rkt, &rkt.shell(), &[option], flags);
        assert_eq!(set, all, "{flags:?}: {set:x}");
    }
}

#[test]
fn apps_of_other_users_have_no_effective_capabilities() {
    each(&[Can::Restrict], |flavour| {
        let rkt = Rkt::new();
        let script = "sed -n 's/Cap\\(Eff\\|Bnd\\|Amb\\):[[:space:]]*/\\1 /p' /proc/self/status";
        let output = rkt.pod(flavour, &[&rkt.shell(), "--user=9000", "--group=9000", "--", script]);
        let wanted = format!("Eff {:016x}\nBnd {DEFAULT_SET:016x}\nAmb {:016x}\n", 0, 0);
        assert_eq!(output.ok().stdout, wanted);
    });
}

#[test]
fn new_privileges_can_be_ruled_out() {
    each(&[Can::Restrict], |flavour| {
        let rkt = Rkt::new();
        // A static program that tells whether it has become root: rkt itself, which collects nothing for others.
        let itself = fs::read(dist("rkt")).unwrap();
        let image = |name: &str| Image::shell(name).file_of_mode("bin/rkt", &itself, 0o4755);
        let forbid = json!([{ "name": "os/linux/no-new-privileges", "value": true }]);
        let free = rkt.image(&image("free"));
        let bound = rkt.image(&image("bound").app("isolators", forbid));
        let script = "sed -n 's/NoNewPrivs:[[:space:]]*//p' /proc/self/status; /bin/rkt --dir=/tmp/d rm zz 2>&1";
        let words = |image: &str| {
            [image.to_owned(), "--user=33".into(), "--group=34".into(), "--".into(), script.into()]
        };
        let run = |image: &str| {
            let words = words(image);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            rkt.pod(flavour, &words)
        };
        let output = run(&bound);
        assert!(output.stdout.starts_with("1\n"), "{output:#?}");
        assert!(output.stdout.contains("cannot run as unprivileged user"), "{output:#?}");
        let output = run(&free);
        assert!(output.stdout.starts_with("0\n"), "{output:#?}");
        assert!(!output.stdout.contains("cannot run as unprivileged user"), "{output:#?}");
    });
}

#[test]
fn kernel_paths_are_masked() {
    each(&[Can::Restrict], |flavour| {
        let rkt = Rkt::new();
        let script = r"
            for path in /proc/sysrq-trigger /proc/sys/kernel/core_pattern; do
                if (: >>$path) 2>/dev/null; then echo $path writable; fi
            done
            stat -c '%a' /sys/firmware; ls -A /sys/firmware | wc -l
            head -c 1 /proc/kcore | wc -c
            touch /sys/kernel/x 2>/dev/null || echo sys is read-only
        ";
        let output = rkt.script(flavour, script).ok();
        assert_eq!(output.stdout, "0\n0\n0\nsys is read-only\n", "{output:#?}");
        let script = "if (: >>/proc/sys/kernel/core_pattern); then echo writable; fi; stat -c %a /sys/firmware";
        let words = ["--insecure-options=image,paths", &*rkt.shell(), "--", script];
        let output = rkt.pod(flavour, &words).ok();
        assert_eq!(output.stdout, "writable\n755\n", "{output:#?}");
    });
}

#[test]
fn pods_do_not_see_processes_of_the_host() {
    each(&[Can::Namespaces], |flavour| {
        let rkt = Rkt::new();
        let script = "ls -d /proc/[0-9]*; cat /proc/[0-9]*/comm; kill -0 $PPID && echo parent";
        let output = rkt.script(flavour, script).ok();
        let seen = output.lines().iter().filter(|line| line.starts_with("/proc/")).count();
        // A kernel of the pod's own has threads of its own.
        assert!((1..=4).contains(&seen) || !flavour.can(Can::HostGroups), "{output:#?}");
        assert!(output.lines().contains(&"/proc/1"));
        // This test is a process of the host's.
        let own = fs::read_to_string("/proc/self/comm").unwrap();
        assert!(!output.lines().contains(&own.trim()), "{output:#?}");
    });
}

#[test]
fn the_ipc_namespace_can_be_shared() {
    each(&[Can::Namespaces, Can::ShareWithHost], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.shell();
        let host = fs::read_link("/proc/self/ns/ipc").unwrap().display().to_string();
        for (flag, shared) in
            [("--ipc=private", false), ("--ipc=auto", false), ("--ipc=parent", true)]
        {
            let words = [flag, &*image, "--", "readlink /proc/self/ns/ipc"];
            let output = rkt.pod(flavour, &words).ok();
            assert_eq!(output.text() == host, shared, "{flag}: {output:#?} {host}");
        }
        let output = rkt.pod(flavour, &["--ipc=foo", &image, "--", "true"]).code(254);
        assert!(output.stderr.contains("foo"), "{output:#?}");
    });
}

#[test]
fn apps_cannot_write_to_control_groups() {
    each(&[Can::Limit], |flavour| {
        let rkt = Rkt::new();
        let script = r"
            find / -name cgroup.procs 2>/dev/null | while read file; do
                echo 0 2>/dev/null >$file && echo written $file
            done
            mkdir /tmp/c; mount -t cgroup -o memory c /tmp/c 2>/dev/null && echo mounted
            mount -t cgroup2 c /tmp/c 2>/dev/null && echo mounted
            echo done
        ";
        let output = rkt.pod(flavour, &[&rkt.shell(), "--memory=64M", "--", script]).ok();
        assert_eq!(output.stdout, "done\n");
    });
}

const OWN_STATUS: &str = "grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/self/status; cat /proc/self/cgroup; \
                          sed 's/.* - //' /proc/self/mountinfo | sort";

#[test]
fn entering_keeps_the_isolation_of_the_app() {
    each(&[Can::Restrict], |flavour| {
        let rkt = Rkt::new();
        let script = format!("{OWN_STATUS}; echo up; exec sleep 1000");
        let words = [&*rkt.shell(), "--caps-retain=CAP_KILL", "--memory=64M", "--", &*script];
        let (running, uuid) = rkt.start_pod(flavour, &words);
        let own = running.says("up\n").trim_end_matches("up\n").to_owned();
        let entered = rkt.run(&["enter", &uuid, "/bin/sh", "-c", OWN_STATUS]).ok();
        assert_eq!(entered.stdout, own);
        assert!(own.contains(&format!("CapBnd:\t{KILL:016x}")), "{own}");
    });
}

#[test]
fn fly_isolates_nothing() {
    let rkt = Rkt::new();
    let output =
        rkt.script(&FLY, "for n in net pid ipc uts; do readlink /proc/self/ns/$n; done").ok();
    let host: Vec<String> = ["net", "pid", "ipc", "uts"]
        .iter()
        .map(|name| fs::read_link(format!("/proc/self/ns/{name}")).unwrap().display().to_string())
        .collect();
    assert_eq!(output.lines(), host);
}
