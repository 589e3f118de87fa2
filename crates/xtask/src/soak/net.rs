//! `soak net`: deaths at each step of joining and leaving a network, and a crowd of pods on one. All of it happens on a
//! host of its own.

use super::checks;
use super::tracer::{Moment, trace};
use crate::bench::stopwatch::median;
use crate::error::{At, TaskError};
use crate::ground::{COLLECT, Ground, MARK, host};
use crate::say;
use crate::workspace::Workspace;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::panic::resume_unwind;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// What calls itself once it is on a host of its own.
pub(super) const INSIDE: &str = "net--inside";

const DEATHS: u64 = 100;
const PODS: usize = 200;
const CALLERS: usize = 4;
/// The longest that a caller may wait for the lock of a network, in milliseconds.
const LONGEST_WAIT: f64 = 50.0;
/// How often one more caller asks for it.
const ASKED: Duration = Duration::from_millis(2);
/// Where a network's leases and their lock are.
const LEASES: &str = "/var/lib/cni/networks";
/// How long the kernel may take apart what is no longer needed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Goes on on a host of its own.
pub(super) fn run(workspace: &Workspace) -> Result<(), TaskError> {
    host::go_on(workspace, &["soak", INSIDE])
}

/// Kills, starts and judges.
pub(super) fn inside(workspace: &Workspace) -> Result<(), TaskError> {
    let ground = Ground::make(workspace, "net")?;
    let folder = ground.top.join("config/net.d");
    fs::create_dir_all(&folder).at("make", &folder)?;
    for (name, kind, subnet) in [
        ("tiny", "ptp", "10.7.0.0/30"),
        ("cable", "ptp", "10.8.0.0/24"),
        ("bridge", "bridge", "10.9.0.0/24"),
    ] {
        let config = json!({"name": name, "type": kind, "bridge": "crowd0", "isGateway": true, "ipMasq": true,
            "ipam": {"type": "host-local", "subnet": subnet}});
        let path = folder.join(format!("{name}.conf"));
        fs::write(&path, config.to_string()).at("write", path)?;
    }
    let soak = Soak {
        quick: ground.stored("true", &["/bin/true"])?,
        shell: ground.stored("shell", &["/bin/sh", "-c"])?,
        ground: &ground,
    };
    let found = soak.deaths().and_then(|deaths| {
        let cable = soak.crowd("cable")?;
        Ok([deaths, cable, soak.crowd("bridge")?].concat())
    });
    ground.end()?;
    let found = found?;
    if found.is_empty() {
        return Ok(());
    }
    Err(TaskError::Broken { rule: "left behind, or not as it should be", found })
}

struct Soak<'a> {
    ground: &'a Ground,
    quick: String,
    shell: String,
}

impl Soak<'_> {
    fn words(&self, net: &str) -> Vec<String> {
        let (stage1, net) = (self.ground.stage1("nspawn"), format!("--net={net}"));
        self.ground.words(&["run", &stage1, &net, "--port=http:8080", &self.quick])
    }

    /// Lets rkt die at calls all over its life, on a network with one address.
    fn deaths(&self) -> Result<Vec<String>, TaskError> {
        say::title("deaths while joining and leaving");
        let words = self.words("tiny");
        let stage1 = self.ground.stage1("nspawn");
        self.ground.rkt(&["run", &stage1, "--net=tiny", &self.quick])?;
        self.ground.rkt(&COLLECT)?;
        settled(&|state| !state.contains("veth"))?;
        let before = host::state()?;
        let all = self.trace(&words, None)?.calls.first().copied().unwrap_or_default();
        say::line(&format!("{all} system calls of rkt, {DEATHS} deaths"));
        let mut found = Vec::new();
        let mut reached = 0;
        for number in 0..DEATHS {
            let moment = Moment { process: 0, call: 1 + number * all / DEATHS };
            let trace = self.trace(&words, Some(moment))?;
            reached += u64::from(trace.killed_at.is_some());
            let pods = self.ground.pods().into_iter().map(|(_, pod)| pod).collect();
            let mut left = checks::pods(self.ground, pods)?;
            if trace.hung {
                left.push("it hung and was killed".to_owned());
            }
            if let Some(now) = settled(&|state| state == before)? {
                left.push(format!("the host was\n{before}\nand is\n{now}"));
            }
            let next = self.ground.ask(&["run", &stage1, "--net=tiny", &self.quick])?;
            if !next.status.success() {
                left.push(format!("the next pod does not get the address: {}", next.err.trim()));
            }
            if !left.is_empty() {
                let text = format!("call {}: {}", moment.call, left.join("\n      "));
                say::line(&text);
                found.push(text);
            }
        }
        self.ground.rkt(&COLLECT)?;
        say::line(&format!("{reached} deaths, {} of them with findings", found.len()));
        if reached + 5 < DEATHS {
            found.push(format!("only {reached} of {DEATHS} points were reached"));
        }
        Ok(found)
    }

    fn trace(
        &self,
        words: &[String],
        death: Option<Moment>,
    ) -> Result<super::tracer::Trace, TaskError> {
        let mark = self.ground.top.to_string_lossy();
        trace(words, (MARK, &mark), death, &|| self.ground.end_processes())
    }

    /// Has a crowd join and leave, and looks at what is left, and at how long a caller waited for the network.
    fn crowd(&self, net: &str) -> Result<Vec<String>, TaskError> {
        say::title(&format!("{PODS} pods on network {net}, {CALLERS} callers"));
        let stage1 = self.ground.stage1("nspawn");
        self.ground.rkt(&["run", &stage1, &format!("--net={net}"), &self.quick])?;
        self.ground.rkt(&COLLECT)?;
        settled(&|state| !state.contains("veth"))?;
        let (end, over) = channel();
        let (found, waited) = std::thread::scope(|scope| {
            let waits = scope.spawn(move || longest_wait(net, &over));
            let found = self.come_and_go(net);
            drop(end);
            (found, waits.join().unwrap_or_else(|panic| resume_unwind(panic)))
        });
        let (mut found, waited) = (found?, waited?);
        say::line(&format!("the longest wait for the network's lock: {waited:.1} ms"));
        if waited > LONGEST_WAIT {
            found.push(format!("a caller waited {waited:.0} ms for the network's lock"));
        }
        say::line(&format!("{} findings", found.len()));
        Ok(found)
    }

    /// Starts a crowd, kills it in no order, some of it while it is collected.
    fn come_and_go(&self, net: &str) -> Result<Vec<String>, TaskError> {
        let before = host::state()?;
        let (running, times, found) =
            (Mutex::new(Vec::new()), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let each = |work: &(dyn Fn() -> Result<(), TaskError> + Sync)| {
            let results: Vec<Result<(), TaskError>> = std::thread::scope(|scope| {
                let hands: Vec<_> = (0..CALLERS).map(|_| scope.spawn(work)).collect();
                hands.into_iter().filter_map(|hand| hand.join().ok()).collect()
            });
            results.into_iter().collect::<Result<(), TaskError>>()
        };
        each(&|| {
            for _ in 0..PODS / CALLERS {
                let begin = Instant::now();
                let child = self.start(net)?;
                lock(&times).push(begin.elapsed().as_secs_f64() * 1e3);
                lock(&running).push(child);
            }
            Ok(())
        })?;
        let addresses = self.addresses();
        let distinct: BTreeSet<&String> = addresses.iter().collect();
        let times = times.into_inner().unwrap_or_default();
        let slowest = times.iter().copied().fold(0.0, f64::max);
        say::line(&format!(
            "{} addresses, {} of them distinct; a start takes {:.0} ms, at most {slowest:.0}",
            addresses.len(),
            distinct.len(),
            median(times)
        ));
        if distinct.len() != PODS || addresses.len() != PODS {
            lock(&found).push(format!(
                "{} addresses, {} distinct",
                addresses.len(),
                distinct.len()
            ));
        }
        each(&|| {
            for number in 0..PODS / CALLERS {
                let child = {
                    let mut running = lock(&running);
                    let at = (number * 7919) % running.len().max(1);
                    if running.is_empty() { None } else { Some(running.swap_remove(at)) }
                };
                if let Some(mut child) = child {
                    child.kill().at("kill a pod of", &self.ground.top)?;
                    child.wait().at("wait for a pod of", &self.ground.top)?;
                }
                if number % 20 == 10 {
                    // Others are collected while these still live, and both get new ones.
                    drop(self.ground.ask(&COLLECT)?);
                    let child = self.start(net)?;
                    let now = self.addresses();
                    let distinct: BTreeSet<&String> = now.iter().collect();
                    if distinct.len() != now.len() {
                        lock(&found).push(format!("an address is given twice: {now:?}"));
                    }
                    lock(&running).push(child);
                }
            }
            Ok(())
        })?;
        for mut child in running.into_inner().unwrap_or_default() {
            child.kill().at("kill a pod of", &self.ground.top)?;
            child.wait().at("wait for a pod of", &self.ground.top)?;
        }
        let mut found = found.into_inner().unwrap_or_default();
        let pods = self.ground.pods().into_iter().map(|(_, pod)| pod).collect();
        found.extend(checks::pods(self.ground, pods)?);
        if let Some(now) = settled(&|state| state == before)? {
            found.push(format!("the host was\n{before}\nand is\n{now}"));
        }
        Ok(found)
    }

    /// Starts a pod that stays, and waits until its app runs.
    fn start(&self, net: &str) -> Result<Child, TaskError> {
        let (stage1, flag) = (self.ground.stage1("nspawn"), format!("--net={net}"));
        let script = "echo up; exec sleep 100000";
        let words = ["run", &stage1, &flag, &self.shell, "--", script];
        let mut command: Command = self.ground.command(&words);
        let start = |source| TaskError::Start { program: "rkt run".to_owned(), source };
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(start)?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            drop(BufReader::new(out).read_line(&mut line));
        }
        if line.starts_with("up") {
            return Ok(child);
        }
        let status = child.wait().map_err(start)?;
        Err(TaskError::Program { program: "rkt run".to_owned(), status })
    }

    /// The addresses of pods that run, as their folders tell.
    fn addresses(&self) -> Vec<String> {
        let running = self.ground.ask(&["list", "--format=json"]);
        let list: Value =
            running.ok().and_then(|said| serde_json::from_str(&said.out).ok()).unwrap_or_default();
        let pods = list.as_array().cloned().unwrap_or_default();
        let pods = pods.iter().filter(|pod| pod["state"] == "running");
        let networks = pods.filter_map(|pod| pod["networks"].as_array());
        let addresses = networks.flatten().filter_map(|net| net["ip"].as_str());
        // One that is about to join has none yet.
        addresses.filter(|ip| !ip.is_empty()).map(str::to_owned).collect()
    }
}

/// Asks for the lock of a network as one more caller would, again and again; the longest wait, in milliseconds.
fn longest_wait(net: &str, over: &Receiver<()>) -> Result<f64, TaskError> {
    let path = Path::new(LEASES).join(net).join("lock");
    let mut longest = 0.0_f64;
    while over.recv_timeout(ASKED) == Err(RecvTimeoutError::Timeout) {
        let file = File::open(&path).at("open", &path)?;
        let begin = Instant::now();
        file.lock().at("lock", &path)?;
        longest = longest.max(begin.elapsed().as_secs_f64() * 1e3);
    }
    Ok(longest)
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Waits until the host is as it should be; what it is if that does not come.
fn settled(good: &dyn Fn(&str) -> bool) -> Result<Option<String>, TaskError> {
    let end = Instant::now() + PATIENCE;
    loop {
        let now = host::state()?;
        if good(&now) {
            return Ok(None);
        }
        if Instant::now() > end {
            return Ok(Some(now));
        }
    }
}
