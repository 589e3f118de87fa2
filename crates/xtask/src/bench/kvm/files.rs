//! What files cost in a virtual machine: small ones made, looked at and deleted, large ones written and read, in the root of a
//! pod and in a volume; the same script in a container beside it, in the same lab. The lab's clock counts instructions, so
//! that a time is what all processors concerned had to do for it, the guest's kernel and the file server among them.

use super::pods::rkt;
use crate::bench::verdict::Verdict;
use crate::error::{At, TaskError};
use crate::say;
use crate::workspace::read;
use std::fs;
use std::path::Path;
use std::process::Stdio;

/// The flavours, that of the virtual machine first.
const FLAVOURS: [&str; 2] = ["kvm", "nspawn"];
/// Where their UUIDs are, a line a pod: the flavour, and the pod.
const LIST: &str = "files-pods";
/// What is shared with both.
const VOLUME: &str = "files-volume";
/// A file that is there before the pod, in the volume.
const LARGE: &str = "large";
const IMAGE: &str = "busybox";
/// Small files, for each of the places: the lab takes long to go from one processor's world to another's, as each operation on
/// a volume does several times.
const FILES: [u32; 2] = [1000, 100];
/// MiB of a large file.
const MIB: u32 = 32;
/// How often it is done: once beforehand, so that everything is in memory, and once to be measured.
const ROUNDS: usize = 2;

/// What is done in each of the two places, the way back to a rate, and how much longer it may take in a virtual machine.
const WORK: [Work; 5] = [
    Work { name: "create", unit: "files a second", amount: FILES, most: [3.0, 60.0] },
    Work { name: "stat", unit: "files a second", amount: FILES, most: [3.0, 60.0] },
    Work { name: "unlink", unit: "files a second", amount: FILES, most: [3.0, 60.0] },
    Work { name: "write", unit: "MiB a second", amount: [MIB; 2], most: [3.0, 10.0] },
    Work { name: "read", unit: "MiB a second", amount: [MIB; 2], most: [3.0, 10.0] },
];
const PLACES: [(&str, &str); 2] = [("root", "/root-files"), ("volume", "/v")];

struct Work {
    name: &'static str,
    unit: &'static str,
    /// For each of the places, as what follows.
    amount: [u32; 2],
    most: [f64; 2],
}

/// Every command is one process that does all of it; what it takes is read off the clock of the machine.
fn script() -> String {
    let place = |((name, path), files): ((&str, &str), u32)| {
        let read_from = if name == "root" { "written" } else { LARGE };
        format!(
            "mkdir -p {path}/many; cd {path}/many; all=$(seq {files})
             now; touch $all; passed {name} create
             now; stat -c %s $all > /dev/null; passed {name} stat
             now; rm $all; passed {name} unlink
             cd ..; rm -f written
             now; dd if=/dev/zero of=written bs=1M count={MIB} 2>/dev/null; passed {name} write
             now; dd if={read_from} of=/dev/null bs=1M 2>/dev/null; passed {name} read
             "
        )
    };
    let work: String = PLACES.into_iter().zip(FILES).map(place).collect();
    format!(
        "now() {{ read before rest < /proc/uptime; }}
         passed() {{ read after rest < /proc/uptime; echo \"$round $1 $2 $before $after\"; }}
         for round in $(seq {ROUNDS}); do
         {work}
         done"
    )
}

/// Prepares the two pods. `stage1` names the image of each flavour, in the order of [`FLAVOURS`].
pub(super) fn prepare(folder: &Path, corpus: &Path, stage1: [&Path; 2]) -> Result<(), TaskError> {
    let reference = format!("oci:{}:{IMAGE}", corpus.join("oci").display());
    let mut list = String::new();
    for (flavour, image) in FLAVOURS.into_iter().zip(stage1) {
        let mut command = rkt(folder);
        command.args(["--insecure-options=image", "prepare", "--quiet"]);
        command.arg(format!("--stage1-path={}", image.display()));
        // Where the lab has it.
        command.arg(format!("--volume=v,kind=host,source=/mnt/kvm/{VOLUME}"));
        command.args([&reference, "--user=root", "--mount=volume=v,target=/v"]);
        let uuid = read(command.args(["--exec=/bin/sh", "--", "-c", &script()]))?;
        list.extend([flavour, " ", uuid.trim(), "\n"]);
    }
    let path = folder.join(LIST);
    fs::write(&path, list).at("write", path)
}

/// Runs both, and judges.
pub(super) fn run(folder: &Path, verdict: &mut Verdict) -> Result<(), TaskError> {
    say::title("files: what the same script takes in a virtual machine and in a container");
    let volume = folder.join(VOLUME);
    fs::create_dir_all(&volume).at("make", &volume)?;
    let large = volume.join(LARGE);
    let bytes = vec![7_u8; usize::try_from(MIB << 20).unwrap_or_default()];
    fs::write(&large, bytes).at("write", &large)?;
    let path = folder.join(LIST);
    let list = fs::read_to_string(&path).at("read", &path)?;
    let mut said = Vec::new();
    for flavour in FLAVOURS {
        let uuid = list.lines().find_map(|line| line.strip_prefix(flavour)).unwrap_or_default();
        let mut command = rkt(folder);
        command.args(["run-prepared", "--net=none", uuid.trim()]).stdin(Stdio::null());
        said.push(read(&mut command)?);
    }
    let [machine, container] = said.as_slice() else { return Ok(()) };
    for (place, (name, _)) in PLACES.into_iter().enumerate() {
        for work in &WORK {
            let seconds = |said: &str| taken(said, name, work.name);
            let (ours, theirs) = (seconds(machine), seconds(container));
            let amount = f64::from(work.amount.get(place).copied().unwrap_or_default());
            for (what, time) in [("kvm", ours), ("nspawn", theirs)] {
                let line = format!("{name}, {}: {} in {what}", work.name, work.unit);
                Verdict::show(&line, amount / time);
            }
            let most = work.most.get(place).copied().unwrap_or_default();
            verdict.most(
                &format!("{name}, {}: time in kvm / nspawn", work.name),
                ours / theirs,
                most,
                None,
            );
        }
    }
    Ok(())
}

/// The seconds that some work took in the last round; never none, as the clock is coarse.
fn taken(said: &str, place: &str, work: &str) -> f64 {
    let last = format!("{ROUNDS} {place} {work} ");
    let line = said.lines().find_map(|line| line.strip_prefix(&last)).unwrap_or_default();
    let times: Vec<f64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    match times.as_slice() {
        [before, after] => (after - before).max(0.01),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_round_counts() {
        let said = "1 root create 1.00 9.00\n2 root create 10.00 10.50\n2 volume create 2.00 2.00\n2 root stat x 1\n";
        assert!((taken(said, "root", "create") - 0.5).abs() < 1e-9);
        assert!((taken(said, "volume", "create") - 0.01).abs() < 1e-9);
        assert!(taken(said, "root", "stat").is_nan() && taken(said, "root", "read").is_nan());
    }
}
