//! A host of its own for what changes networks: a network namespace with names, leases and rules that nobody else sees,
//! wired to a second one that is outside of it.

use crate::error::{At, TaskError};
use crate::workspace::{Workspace, call};
use std::process::Command;

/// Folders that networks use are empty and this host's own; a second one is wired to it.
const MAKE: &str = "mkdir -p /run/netns /var/lib/cni; mount -t tmpfs none /run/netns; mount -t tmpfs none /var/lib/cni; \
    ip link set lo up; ip netns add outside; ip -n outside link set lo up; \
    ip link add up0 type veth peer name up0 netns outside; \
    ip address add 10.99.0.1/24 dev up0; ip -n outside address add 10.99.0.2/24 dev up0; \
    ip link set up0 up; ip -n outside link set up0 up; \
    second=/sys/fs/cgroup/unified; if mountpoint -q $second; then umount $second; mount -t tmpfs none $second; fi; \
    \"$@\"; ip netns delete outside";

/// Calls this program once more, with these words, on a host of its own. That is gone when the call has ended.
pub(crate) fn go_on(workspace: &Workspace, words: &[&str]) -> Result<(), TaskError> {
    let own = std::env::current_exe().at("find", "xtask")?;
    let mut host = Command::new("unshare");
    host.args(["--net", "--mount", "--propagation=private", "sh", "-ec", MAKE, "sh"]);
    call(host.arg(own).args(words).current_dir(workspace.root()))
}

/// What networks of pods could leave on a host: links, addresses, routes, rules, leases, names of namespaces and their
/// mounts, without what the kernel numbers or counts.
pub(crate) fn state() -> Result<String, TaskError> {
    crate::workspace::read(Command::new("sh").args(["-ec", STATE]))
}

const STATE: &str = "ip -o link | sed 's/^[0-9]*: //; s/@.*//; s/: <.*//'; \
    ip -o address | grep -v ' fe80:' | sed 's/^[0-9]*: //; s/valid_lft.*//'; \
    ip route | sed 's/ linkdown//'; ip -6 route | grep -v '^fe80:' | sed 's/expires.*//' || true; \
    nft list ruleset | sed 's/packets [0-9]* bytes [0-9]*//; s/# handle.*//'; ls /run/netns; \
    grep ' /run/netns/cni' /proc/self/mounts || true; \
    find /var/lib/cni -type f ! -name lock ! -name .reserving ! -name 'last_reserved_ip*'";
