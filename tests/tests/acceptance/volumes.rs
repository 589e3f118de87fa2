//! Volumes and mounts.

use serde_json::json;
use std::fs;
use std::process::Command;
use testkit::flavour::{Can, each};
use testkit::{Flavour, Image, NSPAWN, Output, Rkt, needs};

/// Runs a script in an app where `source` is mounted at `/v`.
fn with_volume(rkt: &Rkt, flavour: &Flavour, source: &str, rest: &str, script: &str) -> Output {
    let volume = format!("--volume=v,kind=host,source={source}{rest}");
    rkt.pod(flavour, &[&volume, &rkt.shell(), "--mount=volume=v,target=/v", "--", script])
}

/// Runs `rkt run` in a mount namespace where a tmpfs with the file `deep` lies at `FOLDER/sub`.
fn above_a_submount(rkt: &Rkt, flavour: &Flavour, rest: &str, script: &str) -> Output {
    let folder = rkt.folder("above/sub").trim_end_matches("/sub").to_owned();
    let volume = format!("--volume=v,kind=host,source={folder}{rest}");
    let image = rkt.shell();
    let words = [&*volume, &image, "--mount=volume=v,target=/v", "--", script];
    let inner = rkt.command(&Rkt::run_words(flavour, &words));
    let set_up =
        format!("mount -t tmpfs sub {folder}/sub && touch {folder}/sub/deep && exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &set_up, "sh"]).arg(inner.get_program());
    command.args(inner.get_args()).env("RKT_TEST_SANDBOX", &rkt.top);
    rkt.finish(&mut command)
}

#[test]
fn a_host_volume_can_be_written() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let folder = rkt.folder("shared");
        fs::write(rkt.path("shared/in"), "from the host").unwrap();
        let script = "cat /v/in; echo from the pod >/v/out";
        let output = with_volume(&rkt, flavour, &folder, "", script).ok();
        assert_eq!(output.stdout, "from the host");
        assert_eq!(fs::read_to_string(rkt.path("shared/out")).unwrap(), "from the pod\n");
    });
}

#[test]
fn a_read_only_volume_cannot_be_written() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let folder = rkt.folder("shared");
        let script = "touch /v/x 2>/dev/null || echo refused";
        let output = with_volume(&rkt, flavour, &folder, ",readOnly=true", script).ok();
        assert_eq!(output.stdout, "refused\n");
        let script = "ls /v/sub; touch /v/sub/x 2>/dev/null || echo refused";
        let output = above_a_submount(&rkt, flavour, ",readOnly=true,recursive=true", script).ok();
        assert_eq!(output.stdout, "deep\nrefused\n");
        assert!(!rkt.path("shared/x").exists());
    });
}

#[test]
fn recursion_decides_about_submounts() {
    each(&[Can::Namespaces], |flavour| {
        for (flavour, rest, seen) in [
            (flavour, "", true),
            (flavour, ",recursive=false", false),
            (flavour, ",recursive=true", true),
            (&testkit::FLY, "", false),
            (&testkit::FLY, ",recursive=true", true),
        ] {
            let rkt = Rkt::new();
            let output = above_a_submount(&rkt, flavour, rest, "ls /v/sub").ok();
            let wanted = if seen { "deep\n" } else { "" };
            assert_eq!(output.stdout, wanted, "{} {rest}", flavour.name);
        }
    });
}

#[test]
fn two_apps_share_an_empty_volume() {
    each(&[Can::EmptyVolumes, Can::SeveralApps], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.shell();
        let mount = "--mount=volume=v,target=/v";
        let words = [
            "--volume=v,kind=empty",
            &*image,
            "--name=one",
            mount,
            "--",
            "echo word >/v/new; mv /v/new /v/word",
            "---",
            &image,
            "--name=two",
            mount,
            "--",
            "until [ -e /v/word ]; do usleep 1000; done; cat /v/word",
        ];
        let output = rkt.pod(flavour, &words).ok();
        assert_eq!(output.lines_of_apps(), ["word"]);
        let uuid = rkt.only_pod();
        rkt.run(&["rm", &uuid]).ok();
        rkt.is_clean();
    });
}

#[test]
fn an_empty_volume_has_the_owner_and_mode_that_were_asked_for() {
    each(&[Can::EmptyVolumes], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.shell();
        for (rest, wanted) in [("", "755 0 0"), (",mode=0700,uid=5,gid=6", "700 5 6")] {
            let volume = format!("--volume=v,kind=empty{rest}");
            let words =
                [&*volume, &image, "--mount=volume=v,target=/v", "--", "stat -c '%a %u %g' /v"];
            assert_eq!(rkt.pod(flavour, &words).ok().text(), wanted);
        }
    });
}

#[test]
fn a_mount_point_without_a_volume_becomes_an_empty_one() {
    each(&[Can::EmptyVolumes], |flavour| {
        let rkt = Rkt::new();
        let points = json!([{ "name": "store", "path": "/data/store" }]);
        let image = rkt.image(&Image::shell("points").app("mountPoints", points));
        let words = ["--debug", &*image, "--", "touch /data/store/x && ls /data/store"];
        let output = rkt.pod(flavour, &words).ok();
        assert_eq!(output.stdout, "x\n");
        let warning = "no volume specified for mount point \"store\", implicitly creating an \"empty\" volume";
        assert!(output.stderr.contains(warning), "{output:#?}");
        // A volume of the mount point's name needs no --mount.
        let folder = rkt.folder("given");
        fs::write(rkt.path("given/file"), "").unwrap();
        let volume = format!("--volume=store,kind=host,source={folder}");
        let output = rkt.pod(flavour, &[&volume, &image, "--", "ls /data/store"]).ok();
        assert_eq!(output.stdout, "file\n");
    });
}

#[test]
fn a_volume_of_a_docker_image_keeps_its_content() {
    each(&[Can::EmptyVolumes], |flavour| {
        let rkt = Rkt::new();
        let image = Image::busybox("seeded")
            .folder("seed", 0o750)
            .owned_by(33, 34)
            .file_of_mode("seed/file", b"from the image", 0o640)
            .owned_by(33, 34);
        let config = json!({
            "Entrypoint": ["/bin/sh", "-c"], "Volumes": { "/seed": {} }, "Env": ["PATH=/bin"],
        });
        testkit::oci::layout(&rkt.path("layout"), "latest", &image, &config);
        let reference = format!("oci:{}", rkt.word("layout"));
        let script = "cat /seed/file; stat -c ' %a %u %g' /seed; stat -c '%a %u %g' /seed/file; \
                      grep -c ' /seed ' /proc/self/mountinfo; touch /seed/new";
        let output = rkt.pod(flavour, &[&reference, "--", script]).ok();
        assert_eq!(output.stdout, "from the image 750 33 34\n640 33 34\n1\n");
    });
}

#[test]
fn mounts_need_no_mount_point_in_the_image() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let folder = rkt.folder("source");
        let file = rkt.file("source/file", "content");
        let (of_folder, of_file) = (
            format!("--volume=folder,kind=host,source={folder}"),
            format!("--volume=file,kind=host,source={file}"),
        );
        let words = [
            &*of_folder,
            &of_file,
            &rkt.shell(),
            "--mount=volume=folder,target=/not/there/yet",
            "--mount=volume=file,target=/etc/some/file",
            "--",
            "ls /not/there/yet; cat /etc/some/file; [ -f /etc/some/file ] && stat -c ' %a' /not/there",
        ];
        assert_eq!(rkt.pod(flavour, &words).ok().stdout, "file\ncontent 755\n");
    });
}

#[test]
fn a_mount_of_the_only_app_beats_that_of_all() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.shell();
        let volumes = ["all", "own"].map(|name| {
            rkt.file(&format!("{name}/name"), name);
            format!("--volume={name},kind=host,source={}", rkt.word(name))
        });
        let [all, own] = &volumes;
        // The same place, spelled in two ways.
        let (global, nearer) = ("--mount=volume=all,target=/v", "--mount=volume=own,target=/v/");
        let words = [&**all, own, global, &image, nearer, "--", "cat /v/name"];
        assert_eq!(rkt.pod(flavour, &words).ok().stdout, "own");
    });
}

#[test]
fn mounts_of_an_app_beat_mounts_of_all() {
    each(&[Can::SeveralApps], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.shell();
        let (all, own) = (rkt.file("all/name", "all\n"), rkt.file("own/name", "own\n"));
        let volume = |name: &str, file: &str| {
            format!("--volume={name},kind=host,source={}", file.trim_end_matches("/name"))
        };
        let words = [
            &*volume("all", &all),
            &volume("own", &own),
            "--mount=volume=all,target=/v",
            &image,
            "--name=one",
            "--",
            "echo one $(cat /v/name)",
            "---",
            &image,
            "--name=two",
            "--mount=volume=own,target=/v/",
            "--",
            "echo two $(cat /v/name)",
        ];
        let output = rkt.pod(flavour, &words).ok();
        let lines = output.lines_of_apps();
        assert_eq!(lines, ["one all", "two own"]);
    });
}

#[test]
fn mistakes_about_volumes_are_told_apart() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    for (words, saying) in [
        (&["--volume=v,kind=empty", "--volume=v,kind=empty", &*image][..], "duplicate volume name"),
        (
            &["--volume=foo", &image],
            "unrecognized volume kind: should be one of \"empty\", \"host\"",
        ),
        (&["--volume=v,kind=host", &image], "source for host volume cannot be empty"),
        (
            &["--volume=v,kind=host,source=x", &image],
            "source for host volume must be absolute path",
        ),
        (&["--volume=v,kind=empty,bogus=1", &image], "unknown volume parameter \"bogus\""),
        (&["--volume=v,kind=empty,source=/x", &image], "source"),
        (&["--volume=v,kind=host,source=/tmp,mode=0700", &image], "mode"),
        (&["--volume=v,kind=host,source=/tmp,source=/tmp", &image], "source"),
        (&["--mount=volume=v,target=/x,bogus=1", &image], "bogus"),
    ] {
        rkt.pod(&NSPAWN, words).refuses(saying);
    }
}

#[test]
fn links_in_the_image_lead_nowhere_outside() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let outside = rkt.folder("outside");
        let image = Image::shell("linked")
            .folder("real", 0o755)
            .link("link", "/real")
            .link("escape", &format!("../../../../../../..{outside}"));
        let image = rkt.image(&image);
        let source = rkt.folder("source");
        fs::write(rkt.path("source/file"), "").unwrap();
        let volume = format!("--volume=v,kind=host,source={source}");
        let run = |target: &str, script: &str| {
            let mount = format!("--mount=volume=v,target={target}");
            rkt.pod(flavour, &[&volume, &image, &mount, "--", script])
        };
        assert_eq!(run("/link", "ls /real").ok().stdout, "file\n");
        run("/escape/new", "true");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "nothing was made on the host");
    });
}

#[test]
fn odd_characters_in_paths_are_just_characters() {
    each(&[], |flavour| {
        let rkt = Rkt::named("data, with: odd\\chars");
        let source = rkt.folder("a:b c");
        fs::write(rkt.path("a:b c/file"), "").unwrap();
        assert_eq!(with_volume(&rkt, flavour, &source, "", "ls /v").ok().stdout, "file\n");
        // A comma separates the parameters, so such a source comes in by a pod manifest.
        let source = rkt.folder("with,comma");
        fs::write(rkt.path("with,comma/other"), "").unwrap();
        let id = rkt.fetch(&rkt.shell());
        let manifest = json!({
            "acVersion": "0.8.11", "acKind": "PodManifest", "apps": [{
                "name": "app", "image": { "id": id },
                "app": {
                    "exec": ["/bin/ls", "/v"], "user": "0", "group": "0",
                    "mountPoints": [{ "name": "v", "path": "/v" }],
                },
            }],
            "volumes": [{ "name": "v", "kind": "host", "source": source }],
            "isolators": [], "annotations": [], "ports": [],
        });
        let flag = format!("--pod-manifest={}", rkt.file("pod.json", &manifest.to_string()));
        assert_eq!(rkt.pod(flavour, &[&flag]).ok().stdout, "other\n");
        rkt.collect();
        rkt.is_clean();
    });
}

#[test]
fn roots_have_the_usual_files() {
    each(&[Can::Namespaces], |flavour| {
        let rkt = Rkt::new();
        let script = r"
            readlink /etc/mtab
            for path in /proc/self /sys/kernel /dev/shm /dev/pts /dev/null /dev/zero /dev/full /dev/random /dev/urandom \
                /dev/tty /dev/console /dev/ptmx /dev/stdout /dev/log; do
                [ -e $path ] || [ -L $path ] || echo $path is missing
            done
            stat -c %a /dev/null; grep -c ' /dev/pts ' /proc/self/mountinfo; touch /dev/shm/x && echo shm
        ";
        let output = rkt.script(flavour, script).ok();
        assert_eq!(output.stdout, "../proc/self/mounts\n666\n1\nshm\n");
    });
}

#[test]
fn a_device_can_be_a_volume() {
    needs!(Root);
    each(&[Can::DeviceVolumes], |flavour| {
        let rkt = Rkt::new();
        // The null device under another number's name would be hard to tell; zero gives bytes.
        let device = rkt.word("zeroes");
        testkit::program::tool(&["mknod", &device, "c", "1", "5"]);
        let output = with_volume(&rkt, flavour, &device, "", "head -c 3 /v | od -An -tx1").ok();
        assert_eq!(output.text(), "00 00 00");
    });
}

#[test]
fn a_volume_below_sys_suppresses_the_mount_of_sys() {
    each(&[Can::Namespaces], |flavour| {
        let rkt = Rkt::new();
        let source = rkt.folder("source");
        fs::write(rkt.path("source/own"), "").unwrap();
        let volume = format!("--volume=v,kind=host,source={source}");
        let script = "ls /sys/fs/x; grep -c ' /sys ' /proc/self/mountinfo";
        let words = [&*volume, &rkt.shell(), "--mount=volume=v,target=/sys/fs/x", "--", script];
        assert_eq!(rkt.pod(flavour, &words).stdout, "own\n0\n");
    });
}

#[test]
fn volumes_win_over_the_files_of_dns() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let (hosts, resolv) = (rkt.file("hosts", "my hosts\n"), rkt.file("resolv", "my resolv\n"));
        let words = [
            &*format!("--volume=h,kind=host,source={hosts}"),
            &format!("--volume=r,kind=host,source={resolv}"),
            "--dns=8.8.8.8",
            "--hosts-entry=10.0.0.1=name",
            &rkt.shell(),
            "--mount=volume=h,target=/etc/hosts",
            "--mount=volume=r,target=/etc/resolv.conf",
            "--",
            "cat /etc/hosts /etc/resolv.conf",
        ];
        assert_eq!(rkt.pod(flavour, &words).ok().stdout, "my hosts\nmy resolv\n");
    });
}

#[test]
fn a_mount_of_no_volume_names_both() {
    each(&[Can::Namespaces], |flavour| {
        let rkt = Rkt::new();
        rkt.pod(flavour, &["--mount=volume=nov,target=/x", &rkt.shell()])
            .refuses("dangling mount point \"/x\": volume \"nov\" not found");
    });
}
