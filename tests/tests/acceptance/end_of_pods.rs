//! Stopping, removing, collecting and exporting pods.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::process::Command;
use testkit::flavour::{Can, each};
use testkit::{FLY, Image, NSPAWN, Rkt};

#[test]
fn stop_lets_apps_end_in_order() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let script = "trap 'echo bye; exit 0' TERM; echo up; while :; do usleep 10000; done";
        let (running, uuid) = rkt.start_pod(flavour, &[&rkt.shell(), "--", script]);
        let output = rkt.run(&["stop", &uuid]).ok();
        assert_eq!(output.stdout, format!("\"{uuid}\"\n"));
        assert_eq!(running.wait().ok().stdout, "up\nbye\n");
        assert_eq!(rkt.status(&uuid)["state"], "exited");
        assert!(rkt.run(&["status", &uuid]).ok().lines().contains(&"app-shell=0"));
    });
}

#[test]
fn a_forced_stop_asks_nobody() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let script = "trap 'echo bye' TERM; echo up; while :; do usleep 10000; done";
        let (running, uuid) = rkt.start_pod(flavour, &[&rkt.shell(), "--", script]);
        let output = rkt.run(&["stop", "--force", &uuid]).ok();
        assert_eq!(output.stdout, format!("\"{uuid}\"\n"));
        let ended = running.wait();
        assert_ne!(ended.code, Some(0), "{ended:#?}");
        assert_eq!(ended.stdout, "up\n");
        assert_eq!(rkt.status(&uuid)["state"], "exited");
        rkt.collect();
        rkt.is_clean();
    });
}

#[test]
fn stop_tells_ended_from_never_started() {
    each(&[Can::Namespaces], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.shell();
        rkt.script(flavour, "true").ok();
        let ended = rkt.only_pod();
        let output = rkt.run(&["stop", &ended]).ok();
        assert_eq!(output.stdout, format!("pod \"{ended}\" is already stopped\n"));
        let prepared = rkt.prepare(flavour, &[&image, "--", "true"]);
        let output = rkt.run(&["stop", &prepared]).code(254);
        let wanted =
            format!("stop: pod \"{prepared}\" is not running\nstop: failed to stop 1 pod(s)\n");
        assert_eq!(output.stderr, wanted);
        rkt.run(&["stop", "zz"]).refuses("cannot get pod: no matches found for \"zz\"");
    });
}

#[test]
fn rm_depends_on_the_state() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.shell();
        let (running, up) = rkt.sleeper(flavour);
        let output = rkt.run(&["rm", &up]).code(254);
        let wanted = format!(
            "rm: pod \"{up}\" is currently running\nrm: failed to remove one or more pods\n"
        );
        assert_eq!(output.stderr, wanted);
        let prepared = rkt.prepare(flavour, &[&image, "--", "true"]);
        let aborted = rkt.prepare(flavour, &[&image, "--", "true"]);
        let pods = rkt.data.join("pods");
        fs::rename(pods.join("prepared").join(&aborted), pods.join("prepare").join(&aborted))
            .unwrap();
        let output = rkt.run(&["rm", &prepared, &aborted]).ok();
        assert_eq!(output.stdout, format!("\"{prepared}\"\n\"{aborted}\"\n"));
        assert!(
            output
                .stderr
                .contains(&format!("rm: moving expired prepared pod \"{prepared}\" to garbage"))
        );
        assert!(
            output.stderr.contains(&format!("rm: moving failed prepare \"{aborted}\" to garbage"))
        );
        rkt.run(&["stop", &up]).ok();
        running.wait();
        let output = rkt.run(&["rm", "zz", &up]).code(254);
        assert_eq!(output.stdout, format!("\"{up}\"\n"));
        assert!(output.stderr.contains("rm: cannot get pod: no matches found for \"zz\""));
        rkt.is_clean();
    });
}

#[test]
fn rm_does_not_fight_over_a_pod() {
    each(&[Can::Namespaces], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.shell();
        for (phase, saying) in [
            ("prepare", "is currently being prepared"),
            ("exited-garbage", "is currently being deleted"),
        ] {
            let uuid = rkt.prepare(flavour, &[&image, "--", "true"]);
            let pods = rkt.data.join("pods");
            let folder = pods.join(phase).join(&uuid);
            fs::rename(pods.join("prepared").join(&uuid), &folder).unwrap();
            let open = fs::File::open(&folder).unwrap();
            let lock = sys::lock::LockFd::wait(open.into(), sys::lock::Mode::Exclusive).unwrap();
            rkt.run(&["rm", &uuid]).refuses(saying);
            drop(lock);
            rkt.run(&["rm", &uuid]).ok();
        }
    });
}

#[test]
fn an_exported_pod_is_an_image_with_its_changes() {
    each(&[Can::ExportExited], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.shell();
        let (running, up) = rkt.sleeper(flavour);
        let out = rkt.word("out.aci");
        rkt.run(&["export", &up, &out])
            .refuses("pod is not exited. Only exited pods can be exported");
        rkt.run(&["stop", &up]).ok();
        running.wait();
        rkt.collect();
        let script = "echo changed >/etc/new; rm /etc/group; echo inside >/v/file";
        let folder = rkt.folder("vol");
        let volume = format!("--volume=v,kind=host,source={folder}");
        rkt.pod(flavour, &[&volume, &image, "--mount=volume=v,target=/v", "--", script]).ok();
        let uuid = rkt.only_pod();
        rkt.run(&["export", &uuid, &out]).ok();
        rkt.run(&["export", &uuid, &out]).refuses("target file exists (try --overwrite)");
        rkt.run(&["export", "--overwrite", &uuid, &out]).ok();
        rkt.run(&["export", &uuid, &rkt.word("x.tar")]).refuses("extension must be .aci (given ");
        let script = "cat /etc/new; ls /etc/group /v/file 2>/dev/null; echo end";
        let output = rkt.pod(flavour, &[&out, "--", script]).ok();
        assert_eq!(output.stdout, "changed\nend\n");
    });
}

/// All that an image says of each of its files, by path; what is younger than the images of these tests is only `new`, and
/// of several names of a file none is the first.
fn files_of(aci: &str) -> BTreeMap<String, String> {
    let unpacked = Command::new("gzip").args(["-dc", aci]).output().unwrap();
    assert!(unpacked.status.success(), "{aci}");
    let mut archive = tar::Archive::new(unpacked.stdout.as_slice());
    let (mut found, mut links) = (BTreeMap::new(), Vec::new());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let link = entry.link_name().unwrap().map(|link| link.display().to_string());
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let extensions = entry.pax_extensions().unwrap();
        let mut attributes: Vec<String> = extensions.map_or_else(Vec::new, |all| {
            let all = all.map(Result::unwrap);
            let all = all.filter(|one| one.key_bytes().starts_with(b"SCHILY."));
            let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
            all.map(|one| format!("{}={}", text(one.key_bytes()), text(one.value_bytes())))
                .collect()
        });
        attributes.sort();
        let header = entry.header();
        let kind = header.entry_type();
        if kind == tar::EntryType::Link {
            links.push((path, link.unwrap()));
            continue;
        }
        let time = header.mtime().unwrap();
        let time = if time > 1_500_000_000 { "new".to_owned() } else { time.to_string() };
        let device = (header.device_major().unwrap(), header.device_minor().unwrap());
        let owner = (header.uid().unwrap(), header.gid().unwrap(), header.mode().unwrap());
        let digest = content
            .iter()
            .fold(content.len(), |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
        let all =
            format!("{kind:?} {owner:?} {time} {device:?} {link:?} {digest:x} {attributes:?}");
        assert_eq!(found.insert(path.clone(), all), None, "{path}");
    }
    for (path, first) in links {
        let (names, all) = (format!("{first} {path}"), found[&first].clone());
        let mut names: Vec<&str> = names.split(' ').collect();
        names.sort_unstable();
        let all = format!("{all} {names:?}");
        found.insert(first, all.clone());
        found.insert(path, all);
    }
    found
}

#[test]
fn a_pod_whose_files_are_inside_is_exported_while_it_runs() {
    each(&[Can::ExportRunning], |flavour| {
        let rkt = Rkt::new();
        let (running, up) = rkt.sleeper(&NSPAWN);
        let mine = rkt.word("mine.aci");
        rkt.run(&["export", &up, &mine]).refuses("Only exited pods can be exported");
        rkt.run(&["stop", &up]).ok();
        running.wait();
        rkt.collect();

        let image = Image::shell("shell")
            .file("data/kept", "from the image")
            .file("data/changed", "from the image")
            .file("data/old/gone", "from the image");
        let image = rkt.image(&image);
        let volume = format!("--volume=v,kind=host,source={}", rkt.folder("vol"));
        let script = "set -e; cd /data; echo new >>changed; rm -r old; mkdir old; chmod 2750 old; chown 33:34 old
            echo words >old/a; chmod 4511 old/a; ln old/a b; ln -s /nowhere/at/all l; mkfifo p; mknod n c 1 3; mknod d b 7 1
            dd if=/dev/zero of=sparse bs=1 count=1 seek=300000 2>/dev/null; mkdir -p deep/er/est
            echo $(seq 300) | tr ' ' _ >deep/er/est/$(echo $(seq 60) | tr ' ' _)
            echo inside >/v/hidden; echo inside >/dev/shm/hidden; rm /etc/group; cp /etc/passwd /root/copy
            find / -xdev -newer /data/kept -exec touch -h -d @1100000000 {} + 2>/dev/null || :; echo up";
        let pod = |flavour, end: &str| {
            let script = format!("{script}{end}");
            let words =
                ["--hostname=same", &volume, &image, "--mount=volume=v,target=/v", "--", &script];
            let (running, uuid) = rkt.start_pod(flavour, &words);
            (running, uuid)
        };
        let (running, uuid) = pod(flavour, "; exec sleep 1000");
        let (out, other) = (rkt.word("out.aci"), rkt.word("other.aci"));
        rkt.run(&["export", &uuid, &out]).ok();
        rkt.run(&["export", &uuid, &out]).refuses("target file exists (try --overwrite)");
        rkt.run(&["export", "--app=nope", &uuid, &other]).refuses("app nope is not present in pod");
        rkt.run(&["stop", &uuid]).ok();
        running.wait();
        rkt.run(&["export", &uuid, &other])
            .refuses("such a pod can only be exported while it runs");
        assert!(!fs::exists(&other).unwrap());

        let (running, uuid) = pod(&NSPAWN, "");
        running.wait().ok();
        rkt.run(&["export", &uuid, &other]).ok();
        let (found, expected) = (files_of(&out), files_of(&other));
        assert!(found.len() > 50 && found.contains_key("rootfs/data/old/a"), "{found:#?}");
        assert!(!found.keys().any(|path| path.contains("hidden")), "{found:#?}");
        for path in found.keys().chain(expected.keys()) {
            assert_eq!(found.get(path), expected.get(path), "{path}");
        }

        let script = "cat /data/changed; ls /etc/group /v/hidden 2>/dev/null; echo end";
        for flavour in [flavour, &NSPAWN] {
            let output = rkt.pod(flavour, &[&out, "--", script]).ok();
            assert_eq!(output.stdout, "from the imagenew\nend\n");
        }
    });
}

/// What an app wrote lies beside the list of its layers; older builds put it elsewhere, and noted more.
#[test]
fn pods_of_older_builds_are_exported_and_collected() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    rkt.pod(&NSPAWN, &[&image, "--name=a", "--", "echo changed >/etc/new"]).ok();
    let uuid = rkt.only_pod();
    let (new, old) = (rkt.word("new.aci"), rkt.word("old.aci"));
    rkt.run(&["export", &uuid, &new]).ok();
    let pod = rkt.data.join("pods/run").join(&uuid);
    for folder in ["overlay/a", "rkt/env"] {
        fs::create_dir_all(pod.join(folder)).unwrap();
    }
    for folder in ["upper", "work"] {
        fs::rename(pod.join("appsinfo/a").join(folder), pod.join("overlay/a").join(folder))
            .unwrap();
    }
    for file in ["overlay-prepared", "stage1ImageID", "rkt/env/a"] {
        fs::write(pod.join(file), "").unwrap();
    }
    rkt.run(&["export", &uuid, &old]).ok();
    assert_eq!(fs::read(old).unwrap(), fs::read(new).unwrap());
    let status = rkt.run(&["status", &uuid]).ok();
    assert!(status.stdout.contains("app-a=0"), "{status:#?}");
    rkt.collect();
    rkt.is_clean();
}

#[test]
fn export_of_several_apps_wants_a_name() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    let words = [
        &*image,
        "--name=one",
        "--",
        "touch /one",
        "---",
        &image,
        "--name=two",
        "--",
        "touch /two",
    ];
    rkt.pod(&NSPAWN, &words).ok();
    let (uuid, out) = (rkt.only_pod(), rkt.word("out.aci"));
    let output = rkt.run(&["export", &uuid, &out]).code(254);
    assert!(output.stderr.contains("rkt export --app= ..."), "{output:#?}");
    rkt.run(&["export", "--app=nope", &uuid, &out]).refuses("app nope is not present in pod");
    rkt.run(&["export", "--app=two", &uuid, &out]).ok();
    let output = rkt.pod(&NSPAWN, &[&out, "--", "ls -d /one /two 2>/dev/null; true"]).ok();
    assert_eq!(output.stdout, "/two\n");
}

#[test]
fn gc_marks_first_and_deletes_after_the_grace_period() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        rkt.script(flavour, "true").ok();
        let uuid = rkt.only_pod();
        let first = rkt.run(&["gc"]).ok();
        assert_eq!(rkt.status(&uuid)["state"], "exited garbage");
        assert!(
            first.stderr.contains(&format!("gc: moving pod \"{uuid}\" to garbage")),
            "{first:#?}"
        );
        let kept = format!("gc: pod \"{uuid}\" not removed: still within grace period (30m0s)\n");
        assert_eq!(rkt.run(&["gc"]).ok().stderr, kept);
        assert_eq!(rkt.status(&uuid)["state"], "exited garbage");
        let last = rkt.run(&["gc", "--grace-period=0s"]).ok();
        assert_eq!(last.stdout, format!("Garbage collecting pod \"{uuid}\"\n"));
        rkt.is_clean();
    });
}

#[test]
fn gc_can_only_mark_and_expires_prepared_pods() {
    each(&[Can::Namespaces], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.shell();
        rkt.script(flavour, "true").ok();
        let ended = rkt.only_pod();
        let prepared = rkt.prepare(flavour, &[&image, "--", "true"]);
        rkt.run(&["gc", "--mark-only", "--grace-period=0s", "--expire-prepared=0s"]).ok();
        assert_eq!(rkt.status(&ended)["state"], "exited garbage");
        assert_eq!(rkt.status(&prepared)["state"], "prepared");
        rkt.run(&["gc", "--grace-period=24h"]).ok();
        assert_eq!(rkt.status(&prepared)["state"], "prepared");
        let output = rkt.run(&["gc", "--grace-period=24h", "--expire-prepared=0s"]).ok();
        assert!(
            output
                .stderr
                .contains(&format!("gc: moving expired prepared pod \"{prepared}\" to garbage"))
        );
        assert_eq!(rkt.only_pod(), ended);
    });
}

#[test]
fn gc_leaves_running_pods_alone() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let (running, uuid) = rkt.sleeper(flavour);
        rkt.collect();
        assert_eq!(rkt.status(&uuid)["state"], "running");
        rkt.run(&["enter", &uuid, "/bin/true"]).ok();
        drop(running);
    });
}

#[test]
fn a_killed_program_takes_its_pod_with_it() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.image(&Image::shell("family"));
        let script = "sleep 1000 & sleep 1000 & echo up; wait";
        let (running, uuid) = rkt.start_pod(flavour, &[&image, "--memory=64M", "--", script]);
        running.signal(9);
        drop(running);
        if flavour.name == FLY.name {
            // The app is gone; what it left behind is the pod now, until it is told to end.
            assert_eq!(rkt.status(&uuid)["state"], "running");
            rkt.run(&["stop", "--force", &uuid]).ok();
        }
        testkit::wait::unlocked(&rkt.pod_folder(&uuid));
        rkt.status_until(&uuid, |status| status["state"] == "exited");
        rkt.collect();
        rkt.is_clean();
    });
}
