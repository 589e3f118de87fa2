//! The cases of step `run`: an image whose app, or whose files, reach for what is not the pod's. Each is run in throw-away
//! namespaces (`tests/corpus/try-hostile.sh`), where the exit code has to be the one that its table says and nothing
//! outside may change; what else must hold is looked at from the inside.

use crate::set::{Set, script};
use rustix::mount::{MountPropagationFlags, mount_change};
use std::fs;
use std::process::Command;
use testkit::flavour::each;
use testkit::{FLY, Flavour, NSPAWN, Output, Rkt, needs};

/// Which flavour the child below is told to try.
const FLAVOUR: &str = "RKT_TEST_HOSTILE";
/// KiB of address space that each program may have.
const MEMORY: &str = "1200000";
/// Names and addresses, which have to be written somewhere.
const NAMES: [&str; 2] = ["--dns=192.0.2.1", "--hosts-entry=192.0.2.2=other"];
/// What a program that lists descriptors sees of its own: the usual three, and the folder that it reads.
const DESCRIPTORS: &str = "0 1 2 3";

#[test]
fn hostile_images_run_without_harm() {
    needs!(Root);
    let set = Set::make();
    each(&[], |flavour| {
        let said = set.0.join("said");
        // More than the first line of what a case says, where it fails.
        let around = "exec 9>>\"$1\"; shift; exec bash \"$@\"";
        let child = "exec /mnt/set/tool --exact apps::child --ignored --nocapture >&9 2>&9";
        let output = Command::new("bash")
            .args(["-c", around, "bash"])
            .args([&said, &script("try-hostile.sh"), &set.0])
            .args(["run", child])
            .env(FLAVOUR, flavour.name)
            .env("RKT_TEST_DIST", "/mnt/set")
            .env("TIME", "200")
            .env("MEM", MEMORY)
            .env("RUST_BACKTRACE", "0")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let bad: Vec<&str> = text.lines().filter(|line| !line.starts_with("ok ")).collect();
        let said = fs::read_to_string(said).unwrap();
        let bad = bad.join("\n");
        assert!(bad.is_empty() && output.status.success(), "{}: {bad}\n{said}", flavour.name);
        assert!(text.lines().count() >= 25, "{text}");
    });
}

#[test]
#[ignore = "the child of the test above, which starts it"]
#[expect(clippy::exit, reason = "its status is its answer, and a failed test's is another")]
fn child() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let name = variable(FLAVOUR);
    let flavour = [NSPAWN, FLY].into_iter().find(|flavour| flavour.name == name).unwrap();
    // As on most hosts: what is mounted on something of the host's by mistake is seen by everybody.
    mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC).unwrap();
    let (before, around) = (mounts(), outside());
    let rkt = Rkt::new();
    let case =
        Case { rkt: &rkt, flavour: &flavour, image: format!("oci:{}:hostile", variable("IMAGE")) };
    let output = case.run(&[]);
    case.holds(&variable("NAME"), &output);
    rkt.collect();
    rkt.is_clean();
    drop(rkt);
    assert_eq!(mounts(), before);
    assert_eq!(outside(), around);
    std::process::exit(output.code.unwrap_or(1))
}

/// All mounts: where, what of which file system, how.
fn mounts() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table
        .lines()
        .map(|line| line.split(' ').skip(2).take(4).collect::<Vec<_>>().join(" "))
        .collect()
}

/// The names in the host's folders that the set reaches for.
fn outside() -> Vec<String> {
    let names = |folder: &str| -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| path.display().to_string()).collect()
    };
    let mut all = ["/", "/tmp", "/dev", "/dev/shm"].map(names).concat();
    all.sort();
    all
}

struct Case<'a> {
    rkt: &'a Rkt,
    flavour: &'a Flavour,
    image: String,
}

impl Case<'_> {
    /// The app of the image.
    fn run(&self, flags: &[&str]) -> Output {
        self.rkt.pod(self.flavour, &[&NAMES[..], flags, &[&self.image]].concat())
    }

    /// A script in the place of the app; `$b` is a busybox of the host's.
    fn script(&self, flags: &[&str], script: &str) -> Output {
        let folder = self.rkt.folder("probe");
        fs::copy("/bin/busybox", self.rkt.path("probe/busybox")).unwrap();
        let volume = format!("--volume=probe,kind=host,readOnly=true,source={folder}");
        let script = format!("b=/probe/busybox; {script}");
        let probe = ["--mount=volume=probe,target=/probe", "--exec=/probe/busybox", &volume];
        let words = ["--", "sh", "-c", &script];
        self.run_words(&[&probe[..], flags, &words].concat())
    }

    fn run_words(&self, words: &[&str]) -> Output {
        let (flags, rest) = words.split_at(words.iter().position(|word| *word == "--").unwrap());
        // Flags of an app follow its image.
        self.rkt.pod(self.flavour, &[&NAMES[..], &[&*self.image], flags, rest].concat())
    }

    /// What must hold beyond the exit code.
    fn holds(&self, name: &str, output: &Output) {
        let isolated = self.flavour.name == NSPAWN.name;
        match name {
            "control-plain" => self.sees_only_its_own(isolated),
            "fifo-as-manifest" | "passwd-is-symlink" | "passwd-huge-line" => {
                output.clone().refuses("cannot read /etc/passwd of the image");
            }
            // Its users lie in `/tmp`, over which fly has a folder of its own.
            "etc-is-symlink" if isolated => {
                let output = self.script(&[], "$b id -u; $b cat /tmp/passwd; $b ls /tmp").ok();
                let text = output.stdout;
                assert!(text.starts_with("1000\napp:x:1000:1000::/:/bin/sh\n"), "{text}");
                assert!(text.contains("hosts\n") && !text.contains("corpus-escape"), "{text}");
            }
            "etc-is-symlink" => drop(output.clone().refuses("\"app\" user not found")),
            "etc-files-are-symlinks" => {
                output.clone().ok();
                let output = self.script(&[], "$b cat /etc/hosts /etc/resolv.conf").ok();
                assert!(output.stdout.contains("other") && output.stdout.contains("192.0.2.1"));
            }
            "proc-is-symlink" => drop(output.clone().refuses("mount /dev: ")),
            "dev-nodes-are-symlinks" => {
                let script = "$b stat -c %t:%T /dev/null; echo x >/dev/null; $b readlink /dev/fd";
                let output = self.script(&[], script);
                assert_eq!(output.ok().stdout, "1:3\n/proc/self/fd\n");
            }
            "config-env-nul" | "config-env-huge" => {
                output.clone().refuses("contains a NUL byte or is longer than 128 KiB");
                assert_eq!(self.rkt.pods(), []);
            }
            "config-workdir-escape" => {
                let output = self.script(&[], "$b pwd; $b ls -a .").ok();
                assert_eq!(output.stdout, "/tmp\n.\n..\n");
            }
            "config-workdir-procfd" => self.starts_in_no_descriptor(),
            "config-volume-escape" => drop(output.clone().refuses("is not the path of a volume")),
            "config-user-weird" | "config-user-wrap" => {
                output.clone().refuses("is not a user and group");
            }
            "config-entrypoint-procexe" | "config-entrypoint-shebang" => {
                let words = "Too many levels of symbolic links\n";
                assert!(output.stdout.ends_with(words), "{output:?}");
            }
            "config-terminal-escapes" => self.shows_no_escapes(),
            // The exit code, and that nothing is mounted or made outside, is all.
            "dev-is-file"
            | "dev-leads-to-proc"
            | "tmp-is-symlink"
            | "etc-leads-to-dev"
            | "all-lead-to-procroot"
            | "config-workdir-dev"
            | "config-volume-dev" => {}
            other => panic!("nobody knows what must hold of {other}"),
        }
    }

    fn sees_only_its_own(&self, isolated: bool) {
        let script =
            "[ -d /proc/self ] && [ -d /sys/class ] && [ -c /dev/zero ] && [ -d /tmp ] && echo all
            for p in /proc/[0-9]*; do
                [ $p != /proc/$$ ] || continue
                for l in $p/exe $p/root $p/cwd $p/fd/*; do $b readlink $l; done
                (: >> $p/exe) && echo \"$p can be written\"
            done 2>/dev/null
            set -- $($b ls /proc/self/fd); echo $*";
        // Fly shows all of the host, and says so.
        let script = if isolated { script } else { script.split('\n').next().unwrap() };
        let output = self.script(&[], script).ok();
        let expected = if isolated { format!("all\n{DESCRIPTORS}\n") } else { "all\n".to_owned() };
        assert_eq!(output.stdout, expected);
    }

    /// Whatever number of a descriptor the working directory names.
    fn starts_in_no_descriptor(&self) {
        for number in 0..16 {
            let flag = format!("--working-dir=/proc/self/fd/{number}");
            let output = self.script(&[&flag], "$b pwd; $b ls -a .");
            assert_ne!(output.code, Some(0), "{output:?}");
            assert!(!output.stdout.contains("..\n"), "{output:?}");
        }
    }

    fn shows_no_escapes(&self) {
        let (rkt, uuid) = (self.rkt, self.rkt.only_pod());
        let id = rkt.fetch(&self.image);
        for words in [
            &["image", "list", "--full"][..],
            &["image", "list", "--format=json"],
            &["image", "cat-manifest", &id],
            &["cat-manifest", &uuid],
            &["list", "--full"],
            &["list", "--format=json"],
            &["status", &uuid],
            &["--debug", "fetch", &self.image],
        ] {
            let output = rkt.run(&[&["--insecure-options=image"], words].concat()).ok();
            let text = output.stdout + &output.stderr;
            let plain = |letter: char| !letter.is_control() || "\n\t".contains(letter);
            let odd: Vec<char> =
                text.chars().filter(|&letter| !plain(letter) || letter == '\u{202e}').collect();
            assert!(odd.is_empty(), "{odd:?} of {words:?}: {text:?}");
        }
    }
}

/// A volume in another one, and one in a folder of the host's, are the pod's alone: also in a flavour in which the host
/// sees what the app mounts.
#[test]
fn volumes_in_volumes_are_no_mounts_of_the_host() {
    needs!(Root);
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let mut words = Vec::new();
        for (name, target) in
            [("a", "/a"), ("b", "/a/below"), ("c", "/dev/shm"), ("d", "/a/below/d")]
        {
            fs::create_dir_all(rkt.path(name)).unwrap();
            fs::write(rkt.path(&format!("{name}/{name}")), "").unwrap();
            words.push(format!("--volume={name},kind=host,source={}", rkt.word(name)));
            words.push(format!("--mount=volume={name},target={target}"));
        }
        let words = words.iter().map(String::as_str);
        let shell = rkt.shell();
        let script = ["--", "ls /a/below /a/below/d /dev/shm"];
        let inner =
            Rkt::run_words(flavour, &words.chain([&*shell]).chain(script).collect::<Vec<_>>());
        let inner = rkt.command(&inner);
        // In namespaces of its own, where everything is shared, and what came to stay is listed afterwards.
        let around = "mount --make-rshared / && cp /proc/self/mountinfo \"$1\" && shift &&
            \"$@\" && cat /proc/self/mountinfo";
        let table = rkt.word("mounts");
        let mut outer = Command::new("unshare");
        outer.args(["--mount", "--propagation=private", "sh", "-c", around, "sh", &table]);
        outer.arg(inner.get_program()).args(inner.get_args());
        outer.env("RKT_TEST_SANDBOX", &rkt.top);
        let output = rkt.finish(&mut outer).ok();
        let below = ["a", "b", "c", "d"].map(|name| rkt.word(name));
        let (shown, after) = output.stdout.split_at(output.stdout.find("/dev/shm:\nc\n").unwrap());
        assert_eq!(shown, "/a/below:\nb\nd\n\n/a/below/d:\nd\n\n");
        for path in below {
            assert!(!after.contains(&path), "{path} is mounted: {after}");
        }
        assert!(!rkt.path("b/d").join("d").exists());
    });
}
