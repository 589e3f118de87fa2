//! What is left after kills, reboots and half-written folders, and that it goes away.

use std::fs;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use testkit::flavour::each;
use testkit::{NSPAWN, Rkt, Running, leaks, wait};

/// Kills a command after ever longer times, until it ends by itself; insists each time that all can be collected.
fn kill_at_many_points(words: &[&str], rkt: &Rkt) {
    let mut delay = Duration::ZERO;
    for _ in 0..200 {
        let running = rkt.start(words);
        let process = wait::pidfd(running.pid()).unwrap();
        let by_itself = wait::readable(process.as_fd(), Instant::now() + delay);
        rkt.note();
        if !by_itself {
            running.signal(9);
        }
        drop(running.wait());
        for (_, uuid) in rkt.pods().into_iter().filter(|(phase, _)| *phase == "run") {
            wait::unlocked(&rkt.pod_folder(&uuid));
        }
        rkt.collect();
        rkt.is_clean();
        if by_itself {
            return;
        }
        delay += Duration::from_millis(2).max(delay / 8);
    }
    panic!("{words:?} does not end");
}

#[test]
fn kills_of_run_leave_nothing() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.shell();
        rkt.fetch(&image);
        let words = Rkt::run_words(flavour, &[&image, "--", "true"]);
        kill_at_many_points(&words, &rkt);
        rkt.run(&words).ok();
    });
}

#[test]
fn kills_of_prepare_leave_nothing() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    for more in [&[][..], &["--no-overlay"]] {
        let words = [&["--insecure-options=image", "prepare"], more, &[&*image]].concat();
        kill_at_many_points(&words, &rkt);
        rkt.run(&words).ok();
        rkt.collect();
    }
}

#[test]
fn embryos_are_collected() {
    let rkt = Rkt::new();
    rkt.script(&NSPAWN, "true").ok();
    let embryo = rkt.data.join("pods/embryo/11111111-2222-4333-8444-555555555555");
    fs::create_dir(&embryo).unwrap();
    rkt.run(&["list"]).ok();
    rkt.collect();
    assert!(!embryo.exists());
}

#[test]
fn gc_copes_with_what_a_reboot_takes_away() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let (running, uuid) = rkt.sleeper(flavour);
        running.signal(9);
        running.wait();
        wait::unlocked(&rkt.pod_folder(&uuid));
        for point in leaks::mounts_below(&rkt.top).iter().rev() {
            rustix::mount::unmount(point.as_str(), rustix::mount::UnmountFlags::DETACH).unwrap();
        }
        for group in leaks::groups_of(std::slice::from_ref(&uuid)).iter().rev() {
            // A reboot takes them away with those of the apps in them; here what is dying still has to be gone.
            wait::eventually("the end of a control group", || {
                for inner in fs::read_dir(group).into_iter().flatten().flatten() {
                    drop(fs::remove_dir(inner.path()));
                }
                fs::remove_dir(group).is_ok()
            });
        }
        rkt.run(&["list"]).ok();
        let output = rkt.run(&["gc", "--grace-period=0s"]).ok();
        assert_eq!(output.stderr, format!("gc: moving pod \"{uuid}\" to garbage\n"));
        rkt.is_clean();
    });
}

#[test]
fn mount_namespaces_of_others_hold_nothing_up() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let (running, uuid) = rkt.sleeper(flavour);
        let mut other = Command::new("unshare");
        other.args(["--mount", "--propagation=private", "sh", "-c", "echo up; read x"]);
        let mut other = Running::start(other.stdin(Stdio::piped()));
        other.says("up");
        rkt.run(&["stop", &uuid]).ok();
        running.wait();
        let output = rkt.run(&["rm", &uuid]).ok();
        assert_eq!(output.stderr, "");
        rkt.is_clean();
        other.write("end\n");
        other.wait();
    });
}

#[test]
fn half_written_pods_disturb_nobody() {
    let rkt = Rkt::new();
    rkt.script(&NSPAWN, "true").ok();
    for (number, phase) in testkit::sandbox::PHASES.iter().enumerate() {
        let name = format!("{number}1111111-2222-4333-8444-555555555555");
        fs::create_dir(rkt.data.join("pods").join(phase).join(name)).unwrap();
    }
    let list = rkt.run(&["list", "--no-legend"]).ok();
    assert!(list.stdout.contains("example.com/shell:1.0"), "{list:#?}");
    rkt.run(&["gc"]).ok();
    assert_eq!(rkt.script(&NSPAWN, "echo still").ok().stdout, "still\n");
    rkt.collect();
    rkt.is_clean();
}

#[test]
fn there_may_be_more_pods_than_a_process_may_open() {
    let rkt = Rkt::new();
    rkt.script(&NSPAWN, "true").ok();
    for number in 0..60 {
        let name = format!("111111{number:02}-2222-4333-8444-555555555555");
        fs::create_dir(rkt.data.join("pods").join("prepare").join(name)).unwrap();
    }
    let few_files = |words: &[&str]| {
        let inner = rkt.command(words);
        let mut command = rkt.program("sh");
        command.args(["-c", "ulimit -n 40; exec \"$0\" \"$@\""]).arg(inner.get_program());
        rkt.finish(command.args(inner.get_args())).ok()
    };
    let list = few_files(&["list", "--no-legend"]);
    assert_eq!(list.lines().len(), 61);
    assert_eq!(list.stderr, "");
    few_files(&["gc", "--grace-period=0s"]);
    rkt.is_clean();
}

#[test]
fn states_follow_from_folder_and_lock() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    let uuid = rkt.prepare(&NSPAWN, &[&image, "--", "true"]);
    let pods = rkt.data.join("pods");
    let state = || rkt.run(&["status", &uuid]);
    for (phase, free, held) in [
        ("prepared", Some("prepared"), None),
        ("prepare", Some("aborted prepare"), Some("preparing")),
        ("run", Some("exited"), Some("running")),
        ("exited-garbage", Some("exited garbage"), Some("exited deleting")),
        ("garbage", None, None),
        ("embryo", None, None),
    ] {
        let folder = pods.join(phase).join(&uuid);
        fs::rename(rkt.pod_folder(&uuid), &folder).unwrap();
        let shows = |wanted: Option<&str>| match wanted {
            Some(wanted) => assert_eq!(state().ok().lines()[0], format!("state={wanted}")),
            None => drop(state().refuses("no matches found")),
        };
        shows(free);
        if held.is_some() || free.is_none() {
            let open = fs::File::open(&folder).unwrap();
            let lock = sys::lock::LockFd::wait(open.into(), sys::lock::Mode::Exclusive).unwrap();
            shows(held);
            // What somebody holds is left alone.
            rkt.run(&["gc", "--grace-period=0s", "--expire-prepared=0s"]).ok();
            assert!(folder.exists(), "{phase}");
            drop(lock);
            // A program that another test of this process is about to start may have a copy for a moment.
            wait::unlocked(&folder);
        }
    }
    rkt.collect();
    rkt.is_clean();
}
