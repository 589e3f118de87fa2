//! `bench net`: what a pod's network costs, from its making to what it carries. All of it happens on a host of its own: a
//! network namespace with names, leases and rules that nobody else sees. And, in the lab, what a virtual machine's costs.

mod guests;

use super::engine::Engine;
use super::require;
use super::stopwatch::{Floor, Plan, Samples, Taken, median};
use super::verdict::Verdict;
use crate::dist::Profile;
use crate::error::{At, TaskError};
use crate::ground::{COLLECT, Ground, MARK, host};
use crate::say;
use crate::setup::{Need, install};
use crate::workspace::{Workspace, call, read};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// What calls itself once it is on a host of its own.
pub(super) const INSIDE: &str = "net--inside";
/// What it is called with in the lab.
pub(super) const GUESTS_INSIDE: &str = "net-in-the-lab";

/// Runs of each command between two looks at the floor, and how often both are taken.
const ROUNDS: usize = 10;
const TURNS: usize = 8;
const ENDS: usize = 40;
const PLUGIN_ROUNDS: usize = 10;
const ENGINE_ROUNDS: usize = 12;
const STREAMS: usize = 5;
const RUNNABLE: usize = 2;
/// Before each run: what an ended pod's network was made of, the kernel takes away behind everybody's back, for thirty
/// milliseconds, and holds the locks that the next network needs. The floor takes its own away before it goes on.
const PAUSE: &str = "sleep 0.06";

/// Nobody else's task comes before these: milliseconds of the kernel's work would drown in those of a busy machine.
const FIRST: [&str; 3] = ["chrt", "--fifo", "10"];

const NONE: &str = "rkt run --net=none";
const DEFAULT: &str = "rkt run, default, a port";
const PODMAN: &str = "podman run, a port";

const PLUGINS: &str = "/usr/lib/cni";
const HOST: &str = "10.99.0.1";

/// Goes on on a host of its own.
pub(super) fn run(workspace: &Workspace) -> Result<(), TaskError> {
    require(&["podman", "iptables", "ip", "nft"])?;
    let plugins = Need { what: "/usr/lib/cni/portmap", package: "containernetworking-plugins" };
    let library = Need { what: "/usr/include/nftables/libnftables.h", package: "libnftables-dev" };
    install(&[plugins, library], "this comparison needs")?;
    host::go_on(workspace, &["bench", INSIDE])
}

/// Measures the network of virtual machines, in the lab.
pub(super) fn run_guests(workspace: &Workspace, profile: Profile) -> Result<(), TaskError> {
    require(&["cpio", "qemu-system-x86_64", "ip", "tc"])?;
    guests::run(workspace, profile)
}

/// Measures and judges, in the lab.
pub(super) fn inside_guests(folder: &Path) -> Result<(), TaskError> {
    guests::inside(folder)
}

/// Measures and judges.
pub(super) fn inside(workspace: &Workspace) -> Result<(), TaskError> {
    let floor = Floor::build(workspace)?;
    let ground = Ground::make(workspace, "net")?;
    let engine = Engine::new(&ground);
    let stream = floor.program("stream");
    let place = ground.root().join("bin/stream");
    fs::copy(&stream, &place).at("copy", place)?;
    let bench = Bench {
        quick: ground.stored("true", &["/bin/true"])?,
        shell: ground.stored("shell", &["/bin/sh", "-c"])?,
        netfloor: floor.build_linked(workspace, "netfloor", "-lnftables")?,
        stream: stream.to_string_lossy().into_owned(),
        ground: &ground,
        floor,
    };
    engine.import(&ground)?;
    let mut verdict = Verdict::default();
    bench.settle()?;
    let added = bench.add(&mut verdict)?;
    bench.end(&mut verdict)?;
    plugins(added)?;
    bench.engine(&engine, &mut verdict)?;
    bench.streams(&engine, &mut verdict)?;
    drop(engine);
    ground.end()?;
    verdict.end()
}

struct Bench<'a> {
    ground: &'a Ground,
    floor: Floor,
    quick: String,
    shell: String,
    netfloor: String,
    stream: String,
}

/// Microseconds that the kernel asks at least.
#[derive(Debug, Clone, Copy)]
struct Least {
    add: f64,
    quickest_add: f64,
    remove: f64,
}

impl Bench<'_> {
    fn words(&self, flags: &[&str], image: &str, arguments: &[&str]) -> Vec<String> {
        let stage1 = self.ground.stage1("nspawn");
        let dashes: &[&str] = if arguments.is_empty() { &[] } else { &["--"] };
        self.ground.words(&[&["run", &stage1], flags, &[image], dashes, arguments].concat())
    }

    fn settle(&self) -> Result<(), TaskError> {
        let stage1 = self.ground.stage1("nspawn");
        self.ground.rkt(&["run", &stage1, "--net=none", &self.quick])?;
        self.ground.rkt(&["run", &stage1, "--port=http:8080", &self.quick])?;
        self.collect()
    }

    fn collect(&self) -> Result<(), TaskError> {
        self.ground.rkt(&COLLECT)?;
        self.ground.rkt(&COLLECT).map(drop)
    }

    /// The floor of a few rounds.
    fn least(&self) -> Result<Least, TaskError> {
        let said =
            read(Command::new("chrt").args(FIRST.iter().skip(1)).args([&self.netfloor, "20"]))?;
        let phase = |name: &str, column: usize| {
            let line = said.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().nth(column)?.parse::<f64>().ok())
        };
        let (add, quickest_add) = (phase("all of add", 1), phase("all of add", 0));
        let all = add.zip(quickest_add).zip(phase("del (nft,veth,ns)", 1));
        let ((add, quickest_add), remove) = all.ok_or_else(|| TaskError::Output {
            program: "netfloor".to_owned(),
            problem: said.clone(),
        })?;
        Ok(Least { add, quickest_add, remove })
    }

    /// What the default network and a port add to a run; in milliseconds.
    fn add(&self, verdict: &mut Verdict) -> Result<f64, TaskError> {
        say::title("what the default network with a port adds to a run");
        let (mut wall, mut cpu, mut floors, mut ratios) = (vec![], vec![], vec![], vec![]);
        let (mut plain, mut whole, mut quickest) = (vec![], vec![], [f64::INFINITY; 3]);
        for _ in 0..TURNS {
            let mut plan = Plan::new(ROUNDS, RUNNABLE, 10);
            plan.add(NONE, self.words(&["--net=none"], &self.quick, &[]), Some(PAUSE));
            plan.add(DEFAULT, self.words(&["--port=http:8080"], &self.quick, &[]), Some(PAUSE));
            let samples = self.floor.measure_after(&FIRST, &plan, &self.ground.top)?;
            self.collect()?;
            let least = self.least()?;
            let added = |what| samples.median(DEFAULT, what) - samples.median(NONE, what);
            let own = added(|run: &Taken| run.wall);
            plain.push(samples.median(NONE, |run| run.wall));
            whole.push(samples.median(DEFAULT, |run| run.wall));
            wall.push(own);
            cpu.push(added(|run: &Taken| run.cpu));
            floors.push(least.add / 1e3);
            ratios.push(own * 1e3 / least.add);
            let now = [samples.least(NONE), samples.least(DEFAULT), least.quickest_add / 1e3];
            quickest = [0, 1, 2].map(|at| quickest[at].min(now[at]));
            say::line(&format!(
                "{own:.2} ms; floor: {:.2} ms to add, {:.2} ms to remove",
                least.add / 1e3,
                least.remove / 1e3
            ));
        }
        let added = median(wall);
        Verdict::show("rkt run --net=none, wall ms", median(plain));
        Verdict::show("rkt run with the default network and a port, wall ms", median(whole));
        Verdict::show("the network adds, wall ms", added);
        Verdict::show("the network adds, CPU ms", median(cpu));
        Verdict::show("netfloor, all of add, wall ms", median(floors));
        let [without, with, floor] = quickest;
        Verdict::show("the quickest of all: the network adds, wall ms", with - without);
        Verdict::show("the quickest of all: netfloor, all of add, wall ms", floor);
        Verdict::show("the quickest of all: the network adds / netfloor", (with - without) / floor);
        verdict.most("the network adds, wall / netfloor", median(ratios), 1.5, Some(1.3));
        Ok(added)
    }

    fn measure(&self, plan: &Plan) -> Result<Samples, TaskError> {
        let samples = self.floor.measure(plan, &self.ground.top)?;
        self.collect()?;
        Ok(samples)
    }

    /// From the app's last word to the end of `rkt run`, which is what a user waits for.
    fn end(&self, verdict: &mut Verdict) -> Result<(), TaskError> {
        say::title("from the end of the app to that of rkt run");
        let (mut with, mut without) = (vec![], vec![]);
        for _ in 0..ENDS {
            without.push(self.after_app(&["--net=none"])?);
            with.push(self.after_app(&["--port=http:8080"])?);
        }
        self.collect()?;
        let (with, without) = (median(with), median(without));
        Verdict::show("--net=none, wall ms", without);
        Verdict::show("the default network and a port, wall ms", with);
        verdict.most("taking the network down, wall ms", with - without, 10.0, None);
        Ok(())
    }

    fn after_app(&self, flags: &[&str]) -> Result<f64, TaskError> {
        let words = self.words(flags, &self.shell, &["echo over"]);
        let mut child = self.start(&words)?;
        let mut said = String::new();
        let begin = child.stdout.as_mut().and_then(|out| {
            let mut byte = [0; 1];
            out.read_exact(&mut byte).ok()?;
            let begin = Instant::now();
            out.read_to_string(&mut said).ok()?;
            Some(begin)
        });
        let status = child.wait().at("wait for", &self.ground.top)?;
        match begin {
            Some(begin) if status.success() => Ok(begin.elapsed().as_secs_f64() * 1e3),
            _ => Err(TaskError::Program { program: words.join(" "), status }),
        }
    }

    fn start(&self, words: &[String]) -> Result<Child, TaskError> {
        let Some((program, rest)) = words.split_first() else {
            return Err(TaskError::Usage("no words".to_owned()));
        };
        let mut command = Command::new(program);
        command.args(rest).env(MARK, &self.ground.top).stdin(Stdio::null()).stdout(Stdio::piped());
        let start = |source| TaskError::Start { program: words.join(" "), source };
        command.spawn().map_err(start)
    }

    fn engine(&self, engine: &Engine, verdict: &mut Verdict) -> Result<(), TaskError> {
        say::title("beside an engine");
        let mut plan = Plan::new(ENGINE_ROUNDS, RUNNABLE, 60);
        plan.add(DEFAULT, self.words(&["--port=http:8080"], &self.quick, &[]), None);
        plan.add(PODMAN, engine_words(engine, "8081", &["/bin/true"]), None);
        let samples = self.measure(&plan)?;
        samples.show(&[DEFAULT, PODMAN]);
        let ratio = samples.ratio(DEFAULT, PODMAN, |run| run.wall);
        verdict.most("rkt run, wall / podman (15 times faster)", ratio, 1.0 / 15.0, None);
        Ok(())
    }

    /// What forwarded connections carry, from another host.
    fn streams(&self, engine: &Engine, verdict: &mut Verdict) -> Result<(), TaskError> {
        say::title("a forwarded TCP stream from another host");
        let serve = ["/bin/stream 80"];
        let mut own = self.start(&self.words(&["--port=http:8080"], &self.shell, &serve))?;
        let own_up = up(&mut own);
        let mut other = self.start(&engine_words(engine, "8081", &["/bin/stream", "80"]))?;
        let mut found = [Vec::new(), Vec::new()];
        let measured = own_up.and_then(|()| up(&mut other)).and_then(|()| {
            for _ in 0..STREAMS {
                for (port, found) in ["8080", "8081"].into_iter().zip(&mut found) {
                    found.push(self.stream(port)?);
                }
            }
            Ok(())
        });
        self.ground.stop()?;
        let mut stop = Command::new("podman");
        let words = engine.words(&["rm", "--force", "--all", "--time=0"]);
        let stopped = read(stop.args(words.iter().skip(1)));
        for child in [&mut own, &mut other] {
            child.wait().at("wait for", &self.ground.top)?;
        }
        stopped?;
        measured?;
        self.collect()?;
        let [own, other] = found;
        let of = |all: &[[f64; 3]], at: usize| median(all.iter().map(|one| one[at]).collect());
        for (what, at) in [("Mbit/s", 0), ("a byte there and back, us", 1), ("a connection, us", 2)]
        {
            Verdict::show(&format!("rkt, {what}"), of(&own, at));
            Verdict::show(&format!("podman, {what}"), of(&other, at));
        }
        verdict.most("podman / rkt, Mbit/s", of(&other, 0) / of(&own, 0), 1.1, Some(1.0));
        verdict.most("rkt / podman, there and back", of(&own, 1) / of(&other, 1), 1.1, Some(1.0));
        verdict.most("rkt / podman, a connection", of(&own, 2) / of(&other, 2), 1.1, Some(1.0));
        Ok(())
    }

    fn stream(&self, port: &str) -> Result<[f64; 3], TaskError> {
        let mut client = Command::new("ip");
        client.args(["netns", "exec", "outside", &self.stream, HOST, port]);
        let said = read(&mut client)?;
        let numbers: Vec<f64> =
            said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        <[f64; 3]>::try_from(numbers)
            .map_err(|_| TaskError::Output { program: "stream".to_owned(), problem: said })
    }
}

/// The same network by programs, called as a caller of CNI does.
fn plugins(added: f64) -> Result<(), TaskError> {
    say::title("beside bridge, host-local and portmap");
    let (mut adds, mut removals) = (vec![], vec![]);
    for round in 0..PLUGIN_ROUNDS {
        let namespace = format!("plugins{round}");
        call(Command::new("ip").args(["netns", "add", &namespace]))?;
        let begin = Instant::now();
        let bridge = json!({"cniVersion": "1.0.0", "name": "beside", "type": "bridge", "bridge": "beside0",
            "isGateway": true, "ipMasq": true, "ipam": {"type": "host-local", "subnet": "10.98.0.0/24",
            "routes": [{"dst": "0.0.0.0/0"}]}});
        let result = plugin("ADD", &namespace, &bridge)?;
        let portmap = json!({"cniVersion": "1.0.0", "name": "beside", "type": "portmap", "prevResult": result,
            "capabilities": {"portMappings": true}, "runtimeConfig": {"portMappings": [
            {"hostPort": 18080, "containerPort": 80, "protocol": "tcp"}]}});
        plugin("ADD", &namespace, &portmap)?;
        adds.push(begin.elapsed().as_secs_f64() * 1e3);
        let begin = Instant::now();
        plugin("DEL", &namespace, &portmap)?;
        plugin("DEL", &namespace, &bridge)?;
        removals.push(begin.elapsed().as_secs_f64() * 1e3);
        call(Command::new("ip").args(["netns", "delete", &namespace]))?;
    }
    call(Command::new("ip").args(["link", "delete", "beside0"]))?;
    let add = median(adds);
    Verdict::show("the plugins' ADD, wall ms", add);
    Verdict::show("the plugins' DEL, wall ms", median(removals));
    Verdict::show("the plugins' ADD / what the network adds to rkt run", add / added);
    Ok(())
}

/// Waits until a server says that it is up; what it says later is dropped.
fn up(child: &mut Child) -> Result<(), TaskError> {
    let mut line = String::new();
    let out = child.stdout.take();
    let heard = out.and_then(|out| BufReader::new(out).read_line(&mut line).ok());
    if heard.is_some() && line.starts_with("up") {
        return Ok(());
    }
    Err(TaskError::Output { program: "stream".to_owned(), problem: line })
}

fn engine_words(engine: &Engine, port: &str, exec: &[&str]) -> Vec<String> {
    let port = format!("--publish={port}:80");
    // The limits that images get elsewhere are above those that root may have in a container of its own.
    let limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];
    engine.words(&[&["run", "--rm", limits[0], limits[1], &port, "bench"], exec].concat())
}

/// Calls a program as its specification says; its result.
fn plugin(command: &str, namespace: &str, config: &Value) -> Result<Value, TaskError> {
    let path = Path::new(PLUGINS).join(config["type"].as_str().unwrap_or_default());
    let program = path.to_string_lossy().into_owned();
    let start = |source| TaskError::Start { program: program.clone(), source };
    let mut plugin = Command::new(&path);
    plugin.env("CNI_COMMAND", command).env("CNI_CONTAINERID", namespace);
    plugin.env("CNI_NETNS", format!("/run/netns/{namespace}"));
    plugin.env("CNI_IFNAME", "eth0").env("CNI_PATH", PLUGINS);
    let mut child = plugin.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(start)?;
    let mut input = child.stdin.take();
    if let Some(input) = &mut input {
        input.write_all(config.to_string().as_bytes()).map_err(start)?;
    }
    drop(input);
    let output = child.wait_with_output().map_err(start)?;
    if !output.status.success() {
        let problem = String::from_utf8_lossy(&output.stdout).into_owned();
        return Err(TaskError::Output { program, problem });
    }
    Ok(serde_json::from_slice(&output.stdout).unwrap_or_default())
}
