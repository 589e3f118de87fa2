//! Hosts of a test's own: network namespaces with addresses, routes and rules that nobody else sees, wired to each other.
//!
//! A host also has mounts of its own, so that names of namespaces and leases of addresses are its own as well.

use crate::program::{Output, Running, run};
use std::process::Command;

/// A host. Dropped, it is gone with everything in it.
#[derive(Debug)]
pub struct Host {
    keeper: Running,
    prefix: Vec<String>,
}

/// What makes a shell a host: folders that networks of pods use are empty and its own.
const MAKE: &str = "mkdir -p /run/netns /var/lib/cni && mount -t tmpfs none /run/netns && \
    mount -t tmpfs none /var/lib/cni && ip link set lo up && echo ready && exec sleep 100000";

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Host {
    /// A host with nothing but a loopback interface.
    pub fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--propagation", "private", "sh", "-c", MAKE]);
        let keeper = Running::start(&mut command);
        keeper.says("ready");
        let folder = format!("/proc/{}/ns", keeper.pid());
        let prefix = [format!("--net={folder}/net"), format!("--mount={folder}/mnt")];
        Self { keeper, prefix: prefix.to_vec() }
    }

    /// The process that keeps it.
    pub fn pid(&self) -> i32 {
        self.keeper.pid()
    }

    /// The words after `nsenter` that lead into it.
    pub fn way_in(&self) -> &[String] {
        &self.prefix
    }

    /// A shell script on this host.
    pub fn command(&self, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(&self.prefix).args(["--", "sh", "-ec", script]);
        command
    }

    /// Runs a script to its end, which must be good; what it printed.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.attempt(script).ok().stdout
    }

    /// Runs a script to its end.
    pub fn attempt(&self, script: &str) -> Output {
        run(&mut self.command(script))
    }

    /// Starts a script that stays.
    pub fn start(&self, script: &str) -> Running {
        Running::start(&mut self.command(script))
    }

    /// A cable to another host: both ends have this name, and these addresses with their prefix.
    #[track_caller]
    pub fn wire(&self, other: &Self, name: &str, here: &[&str], there: &[&str]) {
        let peer = other.pid();
        self.sh(&format!("ip link add {name} type veth peer name {name} netns {peer}"));
        for (host, addresses) in [(self, here), (other, there)] {
            for address in addresses {
                let nodad = if address.contains(':') { "nodad" } else { "" };
                host.sh(&format!("ip address add {address} dev {name} {nodad}"));
            }
            host.sh(&format!("ip link set {name} up"));
        }
    }

    /// Everything that networks of pods could leave: links, addresses, routes, rules, leases, names of namespaces,
    /// whether loopback addresses are taken from elsewhere. Counters
    /// and what the kernel numbers anew each time are left out.
    pub fn state(&self) -> String {
        self.sh(
            "ip -o link | sed 's/^[0-9]*: //; s/@.*//; s/: <.*//'; \
             ip -o address | grep -v ' fe80:' | sed 's/^[0-9]*: //; s/ tentative//; s/valid_lft.*//'; \
             ip route | sed 's/ linkdown//'; ip -6 route | grep -v '^fe80:' | sed 's/ linkdown//; s/expires.*//'; \
             nft list ruleset | sed 's/packets [0-9]* bytes [0-9]*//; s/# handle.*//'; \
             grep -sH . /proc/sys/net/ipv4/conf/*/route_localnet || true; \
             ls /run/netns; find /var/lib/cni -type f ! -name lock ! -name 'last_reserved_ip*'",
        )
    }
}
