//! `bench start`: from the command to the end of `/bin/true` in a stored image.

use super::engine::Engine;
use super::require;
use super::stopwatch::{Floor, Plan, Samples, Taken, median};
use super::verdict::Verdict;
use crate::error::{At, TaskError};
use crate::ground::{COLLECT, Ground};
use crate::say;
use crate::workspace::{Workspace, call};
use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const WARM: usize = 60;
const COLD: usize = 25;
/// An engine takes a hundred times as long, and disturbs what runs beside it.
const ENGINE: usize = 20;
/// Long enough for the kernel to forget that anything was just started.
const PAUSE: &str = "sleep 0.15";
/// At most so many runnable tasks before a command is started.
const RUNNABLE: usize = 2;

const STARTS: usize = 100;
const AT_ONCE: usize = 8;
const TURNS: usize = 3;

const FLOOR: &str = "floor -nmct";
const FLY_FLOOR: &str = "floor -f";
const CRUN: &str = "crun run";
const PODMAN: &str = "podman run";
const NSPAWN: &str = "rkt run";
const FLY: &str = "rkt run, fly";

/// Measures and judges.
pub(super) fn run(workspace: &Workspace) -> Result<(), TaskError> {
    require(&["crun", "podman"])?;
    let floor = Floor::build(workspace)?;
    let ground = Ground::make(workspace, "start")?;
    let engine = Engine::new(&ground);
    let bench = Bench { image: ground.stored("true", &["/bin/true"])?, ground: &ground, floor };
    bench.settle()?;
    bundle(&ground)?;
    engine.import(&ground)?;
    let mut verdict = Verdict::default();
    bench.warm(&mut verdict)?;
    bench.cold(&mut verdict)?;
    bench.engine(&engine, &mut verdict)?;
    bench.crowd(&mut verdict)?;
    drop(engine);
    ground.end()?;
    verdict.end()
}

struct Bench<'a> {
    ground: &'a Ground,
    floor: Floor,
    image: String,
}

impl Bench<'_> {
    fn words(&self, flavour: &str) -> Vec<String> {
        let stage1 = self.ground.stage1(flavour);
        self.ground.words(&["run", &stage1, "--net=none", &self.image])
    }

    /// Brings everything to its place: images, trees, and no old pods.
    fn settle(&self) -> Result<(), TaskError> {
        for flavour in crate::ground::FLAVOURS {
            let stage1 = self.ground.stage1(flavour);
            self.ground.rkt(&["run", &stage1, "--net=none", &self.image])?;
        }
        self.collect()
    }

    fn collect(&self) -> Result<(), TaskError> {
        self.ground.rkt(&COLLECT)?;
        self.ground.rkt(&COLLECT).map(drop)
    }

    fn plan(&self, rounds: usize, before: Option<&str>) -> Plan {
        let mut plan = Plan::new(rounds, RUNNABLE, 10);
        let root = self.ground.root();
        plan.add(FLOOR, self.floor.words("-nmct", &root), before);
        plan.add(NSPAWN, self.words("nspawn"), before);
        let crun = format!(
            "crun --root {} run --bundle {} bench-{}",
            self.ground.word("crun"),
            self.ground.word("bundle"),
            std::process::id()
        );
        plan.add(CRUN, crun.split(' ').map(str::to_owned).collect(), before);
        plan.add(FLY_FLOOR, self.floor.words("-f", &root), before);
        plan.add(FLY, self.words("fly"), before);
        plan
    }

    fn measure(&self, plan: &Plan, names: &[&str]) -> Result<Samples, TaskError> {
        let samples = self.floor.measure(plan, &self.ground.top)?;
        self.collect()?;
        samples.show(names);
        Ok(samples)
    }

    fn warm(&self, verdict: &mut Verdict) -> Result<(), TaskError> {
        say::title("warm: one after the other");
        let names = [FLOOR, NSPAWN, CRUN, FLY_FLOOR, FLY];
        let samples = self.measure(&self.plan(WARM, None), &names)?;
        let (cpu, wall, peak) =
            (|run: &Taken| run.cpu, |run: &Taken| run.wall, |run: &Taken| run.peak);
        let against = |name, base, what: fn(&Taken) -> f64| samples.ratio(name, base, what);
        verdict.most("rkt run, CPU / floor -nmct", against(NSPAWN, FLOOR, cpu), 2.2, Some(1.6));
        verdict.most("rkt run, fly, CPU / floor -f", against(FLY, FLY_FLOOR, cpu), 3.2, Some(2.4));
        verdict.most("rkt run, wall / crun", against(NSPAWN, CRUN, wall), 1.0, Some(0.8));
        for name in [NSPAWN, FLY] {
            verdict.most(&format!("{name}, peak MiB"), samples.most(name, peak), 8.0, None);
        }
        Verdict::show("rkt run, CPU / crun", against(NSPAWN, CRUN, cpu));
        Verdict::show("rkt run, wall / floor -nmct", against(NSPAWN, FLOOR, wall));
        Ok(())
    }

    fn cold(&self, verdict: &mut Verdict) -> Result<(), TaskError> {
        say::title("cold: 150 ms of nothing before each");
        let names = [FLOOR, NSPAWN, CRUN, FLY_FLOOR, FLY];
        let samples = self.measure(&self.plan(COLD, Some(PAUSE)), &names)?;
        verdict.most(
            "rkt run, cold, wall / crun",
            samples.ratio(NSPAWN, CRUN, |run| run.wall),
            0.6,
            None,
        );
        let floors = samples.ratio(NSPAWN, FLOOR, |run| run.wall);
        Verdict::show("rkt run, cold, wall / floor -nmct", floors);
        Ok(())
    }

    fn engine(&self, engine: &Engine, verdict: &mut Verdict) -> Result<(), TaskError> {
        say::title("beside an engine");
        let mut plan = Plan::new(ENGINE, RUNNABLE, 30);
        plan.add(NSPAWN, self.words("nspawn"), None);
        // The limits that images get elsewhere are above those that root may have in a container of its own.
        let limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];
        let words = ["run", "--rm", "--network=none", limits[0], limits[1], "bench", "/bin/true"];
        plan.add(PODMAN, engine.words(&words), None);
        let samples = self.measure(&plan, &[NSPAWN, PODMAN])?;
        let ratio = samples.ratio(NSPAWN, PODMAN, |run| run.wall);
        verdict.most("rkt run, wall / podman (15 times faster)", ratio, 1.0 / 15.0, None);
        Ok(())
    }

    /// Many starts, one after the other and some at once.
    fn crowd(&self, verdict: &mut Verdict) -> Result<(), TaskError> {
        say::title(&format!("{STARTS} starts, {AT_ONCE} at once and in sequence"));
        let mut ratios = Vec::new();
        for _ in 0..TURNS {
            let sequence = self.starts(1)?;
            self.collect()?;
            let crowd = self.starts(AT_ONCE)?;
            self.collect()?;
            say::line(&format!("in sequence {sequence:.2} s, at once {crowd:.2} s"));
            ratios.push(crowd / sequence);
        }
        verdict.most("100 starts, wall at once / in sequence", median(ratios), 0.6, None);
        Ok(())
    }

    /// Seconds for all starts by so many hands.
    fn starts(&self, hands: usize) -> Result<f64, TaskError> {
        let words = self.words("nspawn");
        let (taken, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let begin = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..hands {
                scope.spawn(|| {
                    while taken.fetch_add(1, Ordering::Relaxed) < STARTS {
                        if !start(&words) {
                            failed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let failed = failed.into_inner();
        if failed > 0 {
            let found = vec![format!("{failed} of {STARTS} starts by {hands}")];
            return Err(TaskError::Broken { rule: "starts failed", found });
        }
        Ok(begin.elapsed().as_secs_f64())
    }
}

/// Runs one command to its end.
fn start(words: &[String]) -> bool {
    let Some((program, rest)) = words.split_first() else { return false };
    let mut command = Command::new(program);
    command.args(rest).stdin(Stdio::null()).stdout(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A bundle of the same root, as the OCI's default configuration has it.
fn bundle(ground: &Ground) -> Result<(), TaskError> {
    let folder = ground.top.join("bundle");
    fs::create_dir(&folder).at("make", &folder)?;
    let link = folder.join("rootfs");
    symlink(ground.root(), &link).at("make", link)?;
    call(Command::new("crun").arg("spec").current_dir(&folder))?;
    let path = folder.join("config.json");
    let text = fs::read_to_string(&path).at("read", &path)?;
    let unreadable = |error: serde_json::Error| TaskError::Output {
        program: "crun spec".to_owned(),
        problem: error.to_string(),
    };
    let mut config: serde_json::Value = serde_json::from_str(&text).map_err(unreadable)?;
    if let Some(process) = config.get_mut("process").and_then(serde_json::Value::as_object_mut) {
        process.insert("terminal".to_owned(), false.into());
        process.insert("args".to_owned(), serde_json::json!(["/bin/true"]));
    }
    fs::write(&path, config.to_string()).at("write", path)
}
