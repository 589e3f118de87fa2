//! Whole pods: what their disks cost once, outside; and in the lab, the processor time that they take until their app says
//! something, beside that of a bare boot.

use super::machine::{Machine, Monitor};
use crate::bench::stopwatch::median;
use crate::bench::verdict::Verdict;
use crate::error::{At, TaskError};
use crate::say;
use crate::workspace::read;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// The images, of one layer and of twenty.
const IMAGES: [&str; 2] = ["busybox", "layers20"];
const ROUNDS: usize = 3;
/// How much more than a bare boot the first output of an app may take.
const MOST: f64 = 1.3;
/// The same until the guest calls. That comes before any output, so what the first output of the smallest image takes is an
/// upper bound of it.
const MOST_UNTIL_CALLED: f64 = 1.15;
/// Where their UUIDs are, a line a pod: the image, and the pod.
const LIST: &str = "pods";
/// What every app says.
const SAID: &str = "hello";

/// The program in this folder, with its data folder and without a configuration.
pub(super) fn rkt(folder: &Path) -> Command {
    let mut command = Command::new(folder.join("rkt"));
    command.arg(format!("--dir={}", folder.join("data").display()));
    for layer in ["system", "local", "user"] {
        command.arg(format!("--{layer}-config={}", folder.join("nothing").display()));
    }
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

/// Prepares pods of the corpus, and says what their disks cost. `stage1` is the image with the kernel that is measured.
pub(super) fn prepare(folder: &Path, corpus: &Path, stage1: &Path) -> Result<(), TaskError> {
    let data = folder.join("data");
    if data.exists() {
        fs::remove_dir_all(&data).at("remove", &data)?;
    }
    say::title("images of file systems, made once for all pods");
    let mut list = String::new();
    for image in IMAGES {
        let reference = format!("oci:{}:{image}", corpus.join("oci").display());
        let insecure = "--insecure-options=image";
        read(rkt(folder).args([insecure, "fetch", &reference]))?;
        let pod = || -> Result<(String, f64), TaskError> {
            let mut command = rkt(folder);
            command.args([insecure, "prepare", "--quiet"]);
            command.arg(format!("--stage1-path={}", stage1.display()));
            command.args([&reference, "--user=root", "--exec=/bin/echo", "--", SAID]);
            let before = Instant::now();
            let uuid = read(&mut command)?;
            Ok((uuid.trim().to_owned(), before.elapsed().as_secs_f64() * 1e3))
        };
        let before = size(&data.join("cas/derived"))?;
        let first = pod()?.1;
        let made = size(&data.join("cas/derived"))? - before;
        let mut later = Vec::new();
        for _ in 0..=ROUNDS {
            let (uuid, time) = pod()?;
            later.push(time);
            list.extend([image, " ", &uuid, "\n"]);
        }
        Verdict::show(&format!("{image}: ms to derive"), first - median(later));
        Verdict::show(&format!("{image}: MiB on disk"), made);
    }
    let path = folder.join(LIST);
    fs::write(&path, list).at("write", path)
}

/// What files take on disk, in MiB.
fn size(folder: &Path) -> Result<f64, TaskError> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(0.0) };
    let mut blocks = 0;
    for entry in entries {
        let entry = entry.at("read", folder)?;
        blocks += entry.metadata().at("read", entry.path())?.blocks();
    }
    Ok(f64::from(u32::try_from(blocks).unwrap_or(u32::MAX)) / 2048.0)
}

/// Runs what was prepared, each beside a bare boot.
pub(super) fn run(folder: &Path, verdict: &mut Verdict) -> Result<(), TaskError> {
    say::title("from exec to the app's first output, kernel: own");
    let path = folder.join(LIST);
    let list = fs::read_to_string(&path).at("read", &path)?;
    let guest = folder.join("own");
    let bare = Machine { monitor: Monitor::Ours, folder, guest: &guest };
    let mut least = f64::INFINITY;
    for image in IMAGES {
        let pods = list.lines().filter_map(|line| line.split_once(' '));
        let mut ratios = Vec::new();
        let mut times = Vec::new();
        for (round, (_, uuid)) in pods.filter(|(name, _)| *name == image).enumerate() {
            let (boot, pod) = (bare.boot()?.cpu, first_output(folder, uuid)?);
            // Once beforehand, so that everything is in memory.
            if round > 0 {
                ratios.push(pod / boot);
                times.push(pod);
            }
        }
        Verdict::show(&format!("{image}: CPU ms"), median(times));
        let ratio = median(ratios);
        verdict.most(&format!("{image}: CPU / bare boot"), ratio, MOST, None);
        least = least.min(ratio);
    }
    verdict.most("until the guest calls, at most: CPU / bare boot", least, MOST_UNTIL_CALLED, None);
    Ok(())
}

/// Milliseconds of processor time of all processes of a pod, until its app says something.
fn first_output(folder: &Path, uuid: &str) -> Result<f64, TaskError> {
    let mut command = rkt(folder);
    command.args(["run-prepared", "--net=none", uuid]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child =
        child.map_err(|source| TaskError::Start { program: "rkt".to_owned(), source })?;
    let taken = said(&mut child);
    let status = child.wait().at("wait for", "rkt")?;
    match taken {
        Ok(Some(time)) if status.success() => Ok(time),
        Err(error) => Err(error),
        Ok(_) => Err(TaskError::Program { program: "rkt run-prepared".to_owned(), status }),
    }
}

fn said(child: &mut Child) -> Result<Option<f64>, TaskError> {
    let Some(mut output) = child.stdout.take() else { return Ok(None) };
    let mut text = [0; SAID.len()];
    if let Err(error) = output.read_exact(&mut text) {
        return if error.kind() == io::ErrorKind::UnexpectedEof {
            Ok(None)
        } else {
            Err(error).at("read", "the pod's output")
        };
    }
    let taken = processor_time(child.id())?;
    io::copy(&mut output, &mut io::sink()).at("read", "the pod's output")?;
    Ok(Some(taken))
}

/// Of a process, its threads, and its children.
fn processor_time(pid: u32) -> Result<f64, TaskError> {
    let tasks = PathBuf::from(format!("/proc/{pid}/task"));
    let mut time = 0.0;
    for task in fs::read_dir(&tasks).at("read", &tasks)? {
        let task = task.at("read", &tasks)?.path();
        let read = |name: &str| -> Result<String, TaskError> {
            let (path, mut text) = (task.join(name), String::new());
            File::open(&path)
                .and_then(|mut file| file.read_to_string(&mut text))
                .at("read", path)?;
            Ok(text)
        };
        let run = read("schedstat")?;
        time += run.split(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(f64::NAN);
        for child in read("children")?.split_whitespace().filter_map(|n| n.parse().ok()) {
            time += processor_time(child)? * 1e6;
        }
    }
    Ok(time / 1e6)
}
