//! What the jail is, as seen from outside: what a process has and what it has not.

use crate::Test;
use crate::cell::{Guard, LIMITS, Prisoner, Shared, jailed};
use jail::{Jail, Parent, Rights, Role, Root};
use rustix::event::{PollFd, PollFlags, Timespec};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use sys::process::{self, Cloned, End};

/// A prisoner that says it is there, and waits for its end.
fn waiting(guard: Guard, shared: &Shared) -> Prisoner {
    let prisoner = jailed(guard, shared, &|_, output| {
        let _ = rustix::io::write(output, b"i");
        loop {
            std::thread::park();
        }
    });
    let mut byte = [0; 1];
    assert_eq!(rustix::io::read(&prisoner.said, &mut byte).unwrap(), 1);
    if byte != *b"i" {
        let (_, rest) = prisoner.end();
        panic!("{}{rest}", String::from_utf8_lossy(&byte));
    }
    prisoner
}

fn of(prisoner: &Prisoner) -> PathBuf {
    PathBuf::from(format!("/proc/{}", prisoner.pid.as_raw_nonzero()))
}

/// What its status says under a heading.
fn status(prisoner: &Prisoner, heading: &str) -> String {
    let text = fs::read_to_string(of(prisoner).join("status")).unwrap();
    let found = text.lines().find_map(|line| line.strip_prefix(heading)?.strip_prefix(':'));
    found.unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

const SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

fn a_machine_has_nothing() {
    let shared = Shared::new();
    let prisoner = waiting(Guard::JailOf(Role::Machine), &shared);
    for set in SETS {
        assert_eq!(status(&prisoner, set), "0000000000000000", "{set}");
    }
    let user = status(&prisoner, "Uid");
    let number: u32 = user.split(' ').next().unwrap().parse().unwrap();
    assert!(number >= 0x8000_0000, "{user}");
    assert_eq!(user, vec![number.to_string(); 4].join(" "));
    assert_eq!(status(&prisoner, "Gid"), user);
    let other = waiting(Guard::JailOf(Role::Machine), &shared);
    assert_ne!(status(&other, "Uid"), user, "another machine is the same user");
    // It has no number of its own and no parent inside.
    assert!(status(&prisoner, "NSpid").ends_with(" 1"));
    assert_eq!(fs::read_dir(of(&prisoner).join("root")).unwrap().count(), 0);
    prisoner.kill();
    other.kill();
}

fn a_file_server_has_its_tree_and_a_few_rights_inside() {
    let shared = Shared::new();
    let prisoner = waiting(Guard::JailOf(Role::Files), &shared);
    // By the kernel's numbers: 0, 1, 3, 4, 6, 7, 31.
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(status(&prisoner, set), "00000000800000db", "{set}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(status(&prisoner, set), "0000000000000000", "{set}");
    }
    let map = fs::read_to_string(of(&prisoner).join("uid_map")).unwrap();
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "0", "4294967295"]);
    let own = of(&prisoner).join("ns/user");
    assert_ne!(fs::read_link(own).unwrap(), fs::read_link("/proc/self/ns/user").unwrap());
    let mut seen: Vec<_> = fs::read_dir(of(&prisoner).join("root")).unwrap().flatten().collect();
    seen.sort_by_key(fs::DirEntry::file_name);
    let seen: Vec<_> = seen.iter().map(fs::DirEntry::file_name).collect();
    assert_eq!(seen, ["link", "own"]);
    prisoner.kill();
}

fn all_of_them_are_apart() {
    let shared = Shared::new();
    for role in [Role::Machine, Role::Files] {
        let prisoner = waiting(Guard::Full(role), &shared);
        for kind in ["mnt", "ipc", "uts", "net", "cgroup", "pid"] {
            let its = |process: PathBuf| fs::read_link(process.join("ns").join(kind)).unwrap();
            assert_ne!(its(of(&prisoner)), its("/proc/self".into()), "{role:?} {kind}");
        }
        let network = fs::read_to_string(of(&prisoner).join("net/dev")).unwrap();
        assert_eq!(network.lines().skip(2).count(), 1, "{network}");
        let mounts = fs::read_to_string(of(&prisoner).join("mountinfo")).unwrap();
        assert_eq!(mounts.lines().count(), 1, "{mounts}");
        for (heading, value) in [("NoNewPrivs", "1"), ("Seccomp", "2"), ("Threads", "1")] {
            assert_eq!(status(&prisoner, heading), value, "{role:?} {heading}");
        }
        for heading in ["Groups", "SigBlk", "ShdPnd"] {
            let value = status(&prisoner, heading);
            assert!(value.chars().all(|c| c == '0'), "{role:?} {heading} {value}");
        }
        // Its files in procfs are root's, unless it could be dumped.
        let owner = std::os::unix::fs::MetadataExt::uid(
            &fs::metadata(of(&prisoner).join("environ")).unwrap(),
        );
        assert_eq!(owner, 0, "{role:?}");
        let limits = fs::read_to_string(of(&prisoner).join("limits")).unwrap();
        let limit = |name: &str| {
            let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
        };
        for (name, most) in [
            ("Max open files", LIMITS.files),
            ("Max file size", LIMITS.file_size),
            ("Max core file size", 0),
            ("Max locked memory", 0),
            ("Max msgqueue size", 0),
        ] {
            assert_eq!(limit(name), [most.to_string(), most.to_string()], "{role:?} {name}");
        }
        let open = fs::read_dir(of(&prisoner).join("fd")).unwrap().count();
        assert_eq!(open, 2, "{role:?}");
        prisoner.kill();
    }
}

/// Whether a process is gone, or soon is.
fn ends(pidfd: BorrowedFd<'_>) -> bool {
    let patience = Timespec { tv_sec: 20, tv_nsec: 0 };
    rustix::event::poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&patience)).unwrap() == 1
}

fn it_dies_with_its_parent() {
    let shared = Shared::new();
    let (hear, tell) = rustix::pipe::pipe().unwrap();
    let (wait, go) = rustix::pipe::pipe().unwrap();
    match process::clone(sys::namespace::Kinds::NONE).unwrap() {
        Cloned::Child => {
            drop((hear, go));
            let prisoner = waiting(Guard::Full(Role::Machine), &shared);
            let pid = prisoner.pid.as_raw_nonzero().get();
            let _ = rustix::io::write(&tell, &pid.to_le_bytes());
            let _ = rustix::io::read(&wait, &mut [0; 1]);
            process::leave(0)
        }
        Cloned::Parent { pid, .. } => {
            let mut number = [0; 4];
            assert_eq!(rustix::io::read(&hear, &mut number).unwrap(), 4);
            let prisoner = rustix::process::Pid::from_raw(i32::from_le_bytes(number)).unwrap();
            let flags = rustix::process::PidfdFlags::empty();
            let prisoner = rustix::process::pidfd_open(prisoner, flags).unwrap();
            rustix::io::write(&go, b"x").unwrap();
            assert_eq!(process::wait_for(pid).unwrap(), End::Exited(0));
            assert!(ends(prisoner.as_fd()));
        }
    }
}

/// A jail that this process, which has not what it takes, is refused.
fn refused(parent: Parent) -> String {
    let limits = LIMITS;
    let jail = Jail { parent, root: Root::Empty, rights: Rights::None, limits };
    sys::cause::chain(&jail.enter().unwrap_err())
}

fn an_orphan_is_refused() {
    let (gone, said) = rustix::pipe::pipe().unwrap();
    let Cloned::Parent { pid, pidfd } = process::clone(sys::namespace::Kinds::NONE).unwrap() else {
        process::leave(0)
    };
    assert_eq!(process::wait_for(pid).unwrap(), End::Exited(0));
    match process::clone(jail::CLONED_INTO).unwrap() {
        Cloned::Child => {
            let text = refused(Parent::from(pidfd));
            let _ = rustix::io::write(&said, text.as_bytes());
            process::leave(0)
        }
        Cloned::Parent { pid, .. } => {
            drop(said);
            let text = std::io::read_to_string(fs::File::from(gone)).unwrap();
            assert_eq!(process::wait_for(pid).unwrap(), End::Exited(0));
            assert_eq!(
                text,
                "cannot jail this process: the parent is gone: No such process (os error 3)"
            );
        }
    }
}

fn who_shares_the_numbers_of_processes_is_refused() {
    let text = refused(Parent::myself().unwrap());
    assert!(text.starts_with("cannot jail this process: it has no pid namespace"), "{text}");
}

fn who_has_threads_is_refused() {
    let (gate, open) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || open.recv().is_err());
    let text = refused(Parent::myself().unwrap());
    drop(gate);
    assert!(thread.join().unwrap());
    assert!(text.starts_with("cannot jail this process: it has other threads"), "{text}");
}

/// Folders of somebody else, with links where a jail might look: it looks nowhere.
fn links_of_others_are_not_followed() {
    let shared = Shared::new();
    let trap = shared.0.join("trap");
    fs::create_dir(&trap).unwrap();
    std::os::unix::fs::chown(&trap, Some(1000), Some(1000)).unwrap();
    for name in ["root", "proc", "old", "dev", "tmp"] {
        std::os::unix::fs::symlink("/etc", trap.join(name)).unwrap();
    }
    let before = fs::read_dir("/etc").unwrap().count();
    for role in [Role::Machine, Role::Files] {
        // Its parent works there, and names there are all it could go by.
        let here = rustix::fs::open(".", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty());
        let here = here.unwrap();
        let there = rustix::fs::open(&trap, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty());
        rustix::process::fchdir(there.unwrap()).unwrap();
        let prisoner = waiting(Guard::JailOf(role), &shared);
        rustix::process::fchdir(here).unwrap();
        assert_eq!(fs::read_link(of(&prisoner).join("cwd")).unwrap(), PathBuf::from("/"));
        let root = fs::read_dir(of(&prisoner).join("root")).unwrap().count();
        assert_eq!(root, if role == Role::Files { 3 } else { 0 });
        prisoner.kill();
    }
    assert_eq!(fs::read_dir("/etc").unwrap().count(), before);
    assert_eq!(fs::read_dir(&trap).unwrap().count(), 5);
}

pub(crate) fn tests() -> Vec<Test> {
    let all: [(&str, fn()); 8] = [
        ("a_machine_has_nothing", a_machine_has_nothing),
        (
            "a_file_server_has_its_tree_and_a_few_rights_inside",
            a_file_server_has_its_tree_and_a_few_rights_inside,
        ),
        ("all_of_them_are_apart", all_of_them_are_apart),
        ("it_dies_with_its_parent", it_dies_with_its_parent),
        ("an_orphan_is_refused", an_orphan_is_refused),
        (
            "who_shares_the_numbers_of_processes_is_refused",
            who_shares_the_numbers_of_processes_is_refused,
        ),
        ("who_has_threads_is_refused", who_has_threads_is_refused),
        ("links_of_others_are_not_followed", links_of_others_are_not_followed),
    ];
    all.into_iter()
        .map(|(name, test)| (format!("inside::{name}"), Box::new(test) as Box<_>))
        .collect()
}
