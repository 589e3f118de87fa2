//! `setup`: what the build and the tests call but cargo does not bring, and real images.

use crate::corpus::{self, Extent};
use crate::error::TaskError;
use crate::say;
use crate::workspace::{Workspace, call};
use nix::unistd::Uid;
use std::path::Path;
use std::process::Command;

/// Something on the machine, and the Debian package it comes from.
pub(crate) struct Need {
    /// A path, or the name of a program.
    pub(crate) what: &'static str,
    /// What brings it.
    pub(crate) package: &'static str,
}

const NEEDS: [Need; 23] = [
    // The C code of three dependencies, and the libc that programs are linked with statically.
    Need { what: "cc", package: "gcc" },
    Need { what: "/usr/lib/x86_64-linux-gnu/libc.a", package: "libc6-dev" },
    // The root of most pods in tests; its static build needs no library inside them.
    Need { what: "busybox", package: "busybox-static" },
    // A registry and tools that are not ours, to make images and to read back what is exported.
    Need { what: "docker-registry", package: "docker-registry" },
    Need { what: "skopeo", package: "skopeo" },
    Need { what: "umoci", package: "umoci" },
    // What real images are made with.
    Need { what: "mmdebstrap", package: "mmdebstrap" },
    Need { what: "setcap", package: "libcap2-bin" },
    Need { what: "setfattr", package: "attr" },
    // Images for the block devices of a virtual machine.
    Need { what: "mkfs.erofs", package: "erofs-utils" },
    // Compressors of layers.
    Need { what: "bzip2", package: "bzip2" },
    Need { what: "xz", package: "xz-utils" },
    Need { what: "zstd", package: "zstd" },
    Need { what: "jq", package: "jq" },
    // Plugins that are not ours, to share networks with.
    Need { what: "/usr/lib/cni/host-local", package: "containernetworking-plugins" },
    // Stops programs at chosen system calls.
    Need { what: "strace", package: "strace" },
    // Say what is there of networks, and how others write rules.
    Need { what: "ip", package: "iproute2" },
    Need { what: "nft", package: "nftables" },
    Need { what: "iptables-legacy", package: "iptables" },
    Need { what: "sysctl", package: "procps" },
    // Gives addresses and names to whom asks.
    Need { what: "dnsmasq", package: "dnsmasq-base" },
    Need { what: "python3", package: "python3" },
    // Sends and receives datagrams, which busybox does not everywhere.
    Need { what: "/usr/bin/socat", package: "socat" },
];

/// `cargo xtask setup [--all-images]`
pub(crate) fn run(workspace: &Workspace, words: &[String]) -> Result<(), TaskError> {
    let (extent, []) = Extent::take(words) else {
        return Err(TaskError::Usage("usage: cargo xtask setup [--all-images]".to_owned()));
    };
    prepare(workspace, extent)
}

/// Installs what is missing and builds so many of the images.
pub(crate) fn prepare(workspace: &Workspace, extent: Extent) -> Result<(), TaskError> {
    install(&NEEDS, "the tests need")?;
    // Nobody else may make devices and owners, and the tests that need the images need root as well.
    if Uid::effective().is_root() { corpus::build(workspace, extent) } else { Ok(()) }
}

/// Installs what is missing; `whom` needs it, and is named where we cannot.
pub(crate) fn install(needs: &[Need], whom: &str) -> Result<(), TaskError> {
    let mut missing: Vec<&str> = missing(needs).collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !may_install() {
        let text = format!("{whom} these Debian packages or their like: {list}");
        return Err(TaskError::Missing(text));
    }
    say::title(&format!("installing {list}"));
    call(apt().arg("update"))?;
    // Another installation may be under way: seconds, as a rule.
    let wait = ["-o", "DPkg::Lock::Timeout=300"];
    call(apt().args(wait).args(["install", "--yes", "--no-install-recommends"]).args(&missing))
}

/// Packages of which something is absent.
fn missing(needs: &[Need]) -> impl Iterator<Item = &'static str> {
    needs.iter().filter(|need| !present(need.what)).map(|need| need.package)
}

/// Whether packages can be installed, and their lists renewed.
pub(crate) fn may_install() -> bool {
    Uid::effective().is_root() && present("apt-get")
}

/// A call of the package tool that asks nothing and says little.
pub(crate) fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.arg("-qq").env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Whether a path, or a program of this name, is there.
pub(crate) fn present(what: &str) -> bool {
    if what.contains('/') {
        return Path::new(what).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(what).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_files_are_found() {
        assert!(present("sh"));
        assert!(present("/"));
        assert!(!present("no-such-program-here"));
        assert!(!present("/no/such/file"));
    }

    #[test]
    fn only_packages_of_absent_things_are_missing() {
        let needs =
            [Need { what: "sh", package: "dash" }, Need { what: "/no/such/file", package: "none" }];
        assert_eq!(missing(&needs).collect::<Vec<_>>(), ["none"]);
    }
}
