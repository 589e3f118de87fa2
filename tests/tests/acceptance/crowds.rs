//! Many pods on one network: each has an address of its own all the time, and whoever is killed, whenever, leaves nothing.

use crate::networks::{Site, unchanged};
use serde_json::json;
use std::collections::BTreeSet;
use testkit::flavour::{Can, each};
use testkit::{Flavour, Rkt, Running, wait};

const CALLERS: usize = 4;
const PODS: usize = 20;

/// A pod that runs, and the address it says it has.
struct Member {
    pod: Running,
    uuid: String,
    address: String,
}

/// Starts so many pods by so many hands at once.
fn start(site: &Site, flavour: &Flavour, image: &str, count: usize) -> Vec<Member> {
    let words = ["--net=crowd", image, "--", SHOW];
    let flavour = Flavour { net: &[], ..*flavour };
    let started: Vec<Running> = (0..count)
        .collect::<Vec<_>>()
        .chunks(CALLERS)
        .flat_map(|chunk| {
            let at_once: Vec<Running> =
                chunk.iter().map(|_| site.rkt.start(&Rkt::run_words(&flavour, &words))).collect();
            for pod in &at_once {
                pod.says(" ok\n");
            }
            at_once
        })
        .collect();
    let member = |pod: Running| {
        let said = pod.says(" ok\n");
        let line = said.lines().find(|line| line.starts_with("up ")).unwrap().to_owned();
        let mut words = line.split(' ').skip(1).map(str::to_owned);
        let (address, name) = (words.next().unwrap(), words.next().unwrap());
        assert!(address.contains('/'), "{said}");
        Member { pod, uuid: name.trim_start_matches("rkt-").to_owned(), address }
    };
    let members = started.into_iter().map(member).collect();
    site.rkt.note();
    members
}

const SHOW: &str =
    "echo up $(ip -4 -o addr show dev eth0 | awk '{print $4}') $(hostname) ok; exec sleep 1000";

fn addresses(members: &[Member]) -> BTreeSet<&str> {
    members.iter().map(|member| member.address.as_str()).collect()
}

/// Kills a pod as a whole.
fn kill(site: &Site, member: Member) {
    member.pod.signal(9);
    drop(member.pod.wait());
    wait::unlocked(&site.rkt.pod_folder(&member.uuid));
}

#[test]
fn a_crowd_comes_and_goes() {
    each(&[Can::Networks], |flavour| {
        for kind in ["ptp", "bridge"] {
            let site = Site::new();
            // So narrow that addresses of the dead are needed again.
            site.network(
                "crowd.conf",
                &json!({"name": "crowd", "type": kind, "bridge": "crowd0", "isGateway": true, "ipMasq": true,
                    "ipam": {"type": "host-local", "subnet": "10.8.0.0/27"}}),
            );
            let image = site.image();
            site.pod(flavour, "crowd", "true").ok();
            site.host.sh("while ip -o link | grep -q veth; do :; done");
            let before = site.host.state();
            let mut members = start(&site, flavour, &image, PODS);
            assert_eq!(addresses(&members).len(), PODS);
            // Every third is killed while others are there, and as many come after them.
            let mut index = 0;
            let (gone, stay): (Vec<_>, Vec<_>) = members.into_iter().partition(|_| {
                index += 1;
                index % 3 == 0
            });
            let count = gone.len();
            for member in gone {
                kill(&site, member);
            }
            site.rkt.collect();
            members = stay;
            members.extend(start(&site, flavour, &image, count));
            assert_eq!(addresses(&members).len(), PODS, "{:?}", addresses(&members));
            // The last come first.
            for member in members.into_iter().rev() {
                kill(&site, member);
            }
            site.rkt.collect();
            unchanged(&site, &before);
        }
    });
}

#[test]
fn a_network_can_be_full() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        site.network(
            "full.conf",
            &json!({"name": "full", "type": "ptp", "ipam": {"type": "host-local", "subnet": "10.9.0.0/24"}}),
        );
        // Leases of another's pods, in words that the plugin of others would write.
        site.host.sh("mkdir -p /var/lib/cni/networks/full; cd /var/lib/cni/networks/full; \
             for i in $(seq 2 254); do printf 'somebody\\r\\neth0' > 10.9.0.$i; done");
        let refused = site.pod(flavour, "full", "true").refuses("network full");
        assert!(refused.stderr.contains("10.9.0.1-10.9.0.254"), "{refused:#?}");
        site.host.sh("rm /var/lib/cni/networks/full/10.9.0.123");
        let address = "ip -4 -o addr show dev eth0 | awk '{print $4}'";
        let given = site.pod(flavour, "full", address).ok();
        assert_eq!(given.text(), "10.9.0.123/24");
        let left = site.host.sh("ls /var/lib/cni/networks/full | grep -c ^10");
        assert_eq!(left.trim(), "252");
    });
}

#[test]
fn deaths_while_joining_and_leaving_leave_nothing() {
    each(&[Can::Networks], |flavour| {
        let site = Site::new();
        // There is one address: who keeps it keeps the next pod out.
        site.network(
            "tiny.conf",
            &json!({"name": "tiny", "type": "ptp", "ipMasq": true,
                "ipam": {"type": "host-local", "subnet": "10.7.0.0/30"}}),
        );
        let image = site.image();
        site.pod(flavour, "tiny", "true").ok();
        site.host.sh("while ip -o link | grep -q veth; do :; done");
        let state = || {
            let mounts = site.host.sh("grep -c /run/netns/ /proc/self/mounts || true");
            // Whoever takes the next address replaces what was to become a lease.
            (site.host.state() + &mounts).replace("/var/lib/cni/networks/tiny/.reserving\n", "")
        };
        let before = state();
        let flavour = Flavour { net: &[], ..*flavour };
        let words =
            Rkt::run_words(&flavour, &["--net=tiny", "--port=http:8080", &image, "--", "true"]);
        let inner = site.rkt.command(&words);
        let mut points = 0;
        // What joining and leaving is made of: each call of each of these is one death.
        for call in ["sendto", "unshare", "move_mount", "linkat", "renameat", "umount2", "mkdirat"]
        {
            for number in 1.. {
                let mut command = std::process::Command::new("strace");
                command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
                command.args(["-e", &format!("inject={call}:signal=KILL:when={number}")]);
                command.arg(inner.get_program()).args(inner.get_args());
                command.env("RKT_TEST_SANDBOX", &site.rkt.top).current_dir(&site.rkt.top);
                let ended = testkit::program::run(&mut command);
                site.rkt.note();
                for (_, uuid) in site.rkt.pods().into_iter().filter(|(phase, _)| *phase == "run") {
                    wait::unlocked(&site.rkt.pod_folder(&uuid));
                }
                site.rkt.collect();
                let end = std::time::Instant::now() + wait::deadline();
                loop {
                    let now = state();
                    if now == before {
                        break;
                    }
                    let late = std::time::Instant::now() >= end;
                    assert!(!late, "{call} {number}:\nbefore:\n{before}\nnow:\n{now}");
                }
                if ended.code == Some(0) {
                    break;
                }
                points += 1;
                assert!(points < 300, "{ended:#?}");
            }
        }
        assert!(points >= 25, "{points}");
        site.pod(&flavour, "tiny", "true").ok();
    });
}
