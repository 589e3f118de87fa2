//! What programs do to the root of a pod is what they do to any file system, whatever it is made of: layers below a folder of
//! the host's, images below memory of a virtual machine.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use testkit::flavour::each;
use testkit::program::{run, tool};
use testkit::{Rkt, corpus, needs};

/// What they do, each check with a name that it says when it has passed.
const CHECKS: &str = include_str!("../../programs/files.py");

/// Packs a package with bits, owners, links, and a script that runs when it is installed; its path.
fn package(rkt: &Rkt) -> String {
    let top = rkt.path("package");
    let files = top.join("usr/libexec/x");
    fs::create_dir_all(&files).unwrap();
    fs::create_dir_all(top.join("DEBIAN")).unwrap();
    let control = "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.com>\nDescription: x\n";
    fs::write(top.join("DEBIAN/control"), control).unwrap();
    let script = top.join("DEBIAN/postinst");
    fs::write(&script, "#!/bin/sh\necho configured > /var/lib/x-was-configured\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    for (name, mode, group) in [("plain", 0o644, 0), ("su", 0o4755, 0), ("wall", 0o2755, 5)] {
        let path = files.join(name);
        fs::write(&path, name.repeat(5000)).unwrap();
        std::os::unix::fs::chown(&path, Some(0), Some(group)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::hard_link(files.join("plain"), files.join("linked")).unwrap();
    symlink("plain", files.join("symbolic")).unwrap();
    fs::create_dir(rkt.path("checks")).unwrap();
    let to = rkt.word("checks/package.deb");
    // Checked sums, so that it can be verified later.
    let sums = "cd \"$1\" && find usr -type f | xargs md5sum > DEBIAN/md5sums";
    run(Command::new("sh").args(["-c", sums, "sh"]).arg(&top)).ok();
    tool(&["dpkg-deb", "--build", top.to_str().unwrap(), &to]);
    to
}

#[test]
fn programs_find_a_root_like_any_file_system() {
    needs!(Root);
    let rkt = Rkt::new();
    package(&rkt);
    rkt.file("checks/files.py", CHECKS);
    let id = rkt.fetch(&corpus::image("python3"));
    let volume = format!("--volume=checks,kind=host,readOnly=true,source={}", rkt.word("checks"));
    each(&[], |flavour| {
        let script =
            "mkdir /srv/files && exec python3 /opt/files.py root /srv/files /opt/package.deb";
        let mut words = Rkt::run_words(flavour, &[&volume, &id]);
        // To own, to link and to mount is up to the user inside.
        words[0] = "--insecure-options=image,all-run";
        words.extend(["--mount=volume=checks,target=/opt", "--", "sh", "-c", script]);
        let output = rkt.run(&words).ok();
        assert!(output.lines().len() > 20, "{output:#?}");
    });
}
