//! Rows that the program does not meet yet.

use std::fs;
use std::process::Command;
use testkit::flavour::each;
use testkit::{Image, NSPAWN, Rkt};

#[test]
fn a_prepared_pod_needs_the_overlay_that_it_was_prepared_for() {
    let rkt = Rkt::new();
    let uuid = rkt.prepare(&NSPAWN, &[&rkt.shell(), "--", "true"]);
    let systems = fs::read_to_string("/proc/filesystems").unwrap().replace("overlay", "other");
    let table = rkt.file("filesystems", &systems);
    let inner = rkt.command(&["run-prepared", "--net=none", &uuid]);
    let script = format!("mount --bind {table} /proc/filesystems; exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script, "sh"]).arg(inner.get_program());
    command.args(inner.get_args()).env("RKT_TEST_SANDBOX", &rkt.top);
    rkt.finish(&mut command)
        .refuses("unable to run prepared overlay-enabled pod: overlay not supported");
    assert_eq!(rkt.status(&uuid)["state"], "prepared");
}

#[test]
fn roots_can_be_copies_instead_of_overlays() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        let script = "awk '$5 == \"/\"' /proc/self/mountinfo; touch /new; cat /etc/group";
        let output = rkt.pod(flavour, &["--no-overlay", &rkt.shell(), "--", script]).ok();
        assert!(!output.stdout.contains(" - overlay "), "{output:#?}");
        assert!(output.stdout.contains("more:x:77:"), "{output:#?}");
        rkt.collect();
        rkt.is_clean();
    });
}

#[test]
fn images_for_other_systems_are_refused() {
    let rkt = Rkt::new();
    let path = rkt.image(&Image::shell("odd").label("os", Some("freebsd")));
    rkt.pod(&NSPAWN, &[&path, "--", "true"]).refuses("bad os \"freebsd\" (must be one of: ");
}

#[test]
fn uuid_files_work_everywhere() {
    let rkt = Rkt::new();
    let (file, image) = (rkt.word("uuid"), rkt.shell());
    let save = format!("--uuid-file-save={file}");
    let flag = format!("--uuid-file={file}");
    let words = ["--insecure-options=image", "prepare", "--quiet", &*save, &image, "--", "true"];
    let uuid = rkt.run(&words).ok().text().to_owned();
    assert_eq!(fs::read_to_string(&file).unwrap(), uuid);
    rkt.run(&["run-prepared", "--net=none", &flag]).ok();
    rkt.run(&["export", &flag, &rkt.word("out.aci")]).ok();
}

#[test]
fn a_mount_of_no_volume_names_both() {
    let rkt = Rkt::new();
    rkt.pod(&NSPAWN, &["--mount=volume=nov,target=/x", &rkt.shell()])
        .refuses("dangling mount point \"/x\": volume \"nov\" not found");
}
