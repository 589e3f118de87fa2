//! The stopwatch of `tests/floor`: whole commands in turn, and what it noted of each.

use crate::error::{At, TaskError};
use crate::say;
use crate::workspace::{Workspace, call};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The stopwatch and the floor, compiled.
#[derive(Debug)]
pub(crate) struct Floor {
    folder: PathBuf,
}

impl Floor {
    /// Compiles both into `target/floor`.
    pub(crate) fn build(workspace: &Workspace) -> Result<Self, TaskError> {
        let folder = workspace.path("target/floor");
        fs::create_dir_all(&folder).at("make", &folder)?;
        let floor = Self { folder };
        for name in ["floor", "skeleton", "stream"] {
            floor.compile(workspace, name, "-static")?;
        }
        floor.compile(workspace, "rr", "-lm")?;
        Ok(floor)
    }

    /// Compiles one more program that is linked so; its path as a word.
    pub(crate) fn build_linked(
        &self,
        workspace: &Workspace,
        name: &str,
        linked: &str,
    ) -> Result<String, TaskError> {
        self.compile(workspace, name, linked)?;
        Ok(self.program(name).to_string_lossy().into_owned())
    }

    fn compile(&self, workspace: &Workspace, name: &str, linked: &str) -> Result<(), TaskError> {
        let source = workspace.path("tests/floor").join(name).with_extension("c");
        let mut cc = Command::new("cc");
        call(cc.arg("-O2").arg("-o").arg(self.program(name)).arg(source).arg(linked))
    }

    /// The path of one of its programs.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The words of a call of the floor.
    pub(crate) fn words(&self, flags: &str, root: &Path) -> Vec<String> {
        let floor = self.folder.join("floor").to_string_lossy().into_owned();
        [floor, flags.to_owned(), root.to_string_lossy().into_owned(), "/bin/true".to_owned()]
            .into()
    }

    /// Takes the times of some commands in a mount namespace of their own.
    pub(crate) fn measure(&self, plan: &Plan, scratch: &Path) -> Result<Samples, TaskError> {
        self.measure_after(&[], plan, scratch)
    }

    /// The same with a scheduler of its own, as the words before say, such as one that no other task comes before.
    pub(crate) fn measure_after(
        &self,
        before: &[&str],
        plan: &Plan,
        scratch: &Path,
    ) -> Result<Samples, TaskError> {
        let (list, samples) = (scratch.join("commands"), scratch.join("samples.tsv"));
        fs::write(&list, plan.text()).at("write", &list)?;
        let mut rr = Command::new("nice");
        // Some runtimes refuse hosts that mount both kinds of control groups, and take the second's place for a group
        // of it nevertheless; so it is a place that is gone afterwards.
        let script = "second=/sys/fs/cgroup/unified; if mountpoint -q $second; then umount $second; \
                      mount -t tmpfs none $second; fi; exec \"$@\"";
        rr.args(["-n", "-20"]).args(before);
        rr.args(["unshare", "--mount", "sh", "-ec", script, "sh"]);
        rr.arg(self.folder.join("rr")).arg(format!("-n{}", plan.rounds));
        rr.arg(format!("-q{}", plan.runnable)).arg(format!("-k{}", plan.patience)).arg("-o");
        call(rr.arg(&samples).arg(&list))?;
        let text = fs::read_to_string(&samples).at("read", &samples)?;
        let samples = Samples::parse(&text).ok_or_else(|| TaskError::Output {
            program: "rr".to_owned(),
            problem: "a line without eight fields".to_owned(),
        })?;
        samples.sound(plan)?;
        Ok(samples)
    }
}

/// What is measured, and how.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    /// Waits, for a while, until no more tasks than these are runnable.
    pub(crate) runnable: usize,
    /// Seconds after which a command is killed.
    pub(crate) patience: usize,
    commands: Vec<Timed>,
}

#[derive(Debug)]
struct Timed {
    name: String,
    words: Vec<String>,
    /// A shell command before each run.
    before: Option<String>,
}

impl Plan {
    /// An empty plan.
    pub(crate) fn new(rounds: usize, runnable: usize, patience: usize) -> Self {
        Self { rounds, runnable, patience, commands: Vec::new() }
    }

    /// Adds a command.
    pub(crate) fn add(&mut self, name: &str, words: Vec<String>, before: Option<&str>) {
        let before = before.map(str::to_owned);
        self.commands.push(Timed { name: name.to_owned(), words, before });
    }

    fn text(&self) -> String {
        let line = |command: &Timed| {
            let name = &command.name;
            let before = command.before.as_ref().map(|text| format!("{name}\t!{text}\n"));
            format!("{name}\t{}\n{}", command.words.join(" "), before.unwrap_or_default())
        };
        self.commands.iter().map(line).collect()
    }
}

/// One run of a command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    round: i64,
    /// In milliseconds, until the command itself ended.
    pub(crate) wall: f64,
    /// In milliseconds, with everything it started.
    pub(crate) cpu: f64,
    /// In MiB, of the largest process.
    pub(crate) peak: f64,
    status: i64,
}

/// All runs, by the names of the commands.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    runs: BTreeMap<String, Vec<Taken>>,
}

impl Samples {
    fn parse(text: &str) -> Option<Self> {
        let mut samples = Self::default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split('\t').collect();
            let [round, name, wall, cpu, _, peak, _, status] = fields.as_slice() else {
                return None;
            };
            let number = |text: &str| text.parse::<f64>().ok();
            let taken = Taken {
                round: round.parse().ok()?,
                wall: number(wall)? * 1e3,
                cpu: number(cpu)? * 1e3,
                peak: number(peak)? / 1024.0,
                status: status.parse().ok()?,
            };
            samples.runs.entry((*name).to_owned()).or_default().push(taken);
        }
        Some(samples)
    }

    /// A command that failed once was not measured, whatever its times are.
    fn sound(&self, plan: &Plan) -> Result<(), TaskError> {
        let mut found = Vec::new();
        for command in &plan.commands {
            let runs = self.of(&command.name);
            let bad = runs.iter().filter(|run| run.status != 0).count();
            if bad > 0 || runs.len() < plan.rounds {
                let (name, all, count) = (&command.name, plan.rounds, runs.len());
                let call = command.words.join(" ");
                found.push(format!("{name}: {bad} of {all} failed, {count} ran: {call}"));
            }
        }
        if found.is_empty() {
            return Ok(());
        }
        Err(TaskError::Broken { rule: "commands failed, which voids the measurement", found })
    }

    /// The runs of a command.
    pub(crate) fn of(&self, name: &str) -> &[Taken] {
        self.runs.get(name).map_or(&[], Vec::as_slice)
    }

    /// The median of something of a command.
    pub(crate) fn median(&self, name: &str, what: fn(&Taken) -> f64) -> f64 {
        median(self.of(name).iter().map(what).collect())
    }

    /// The largest of something of a command.
    pub(crate) fn most(&self, name: &str, what: fn(&Taken) -> f64) -> f64 {
        self.of(name).iter().map(what).fold(0.0, f64::max)
    }

    /// The shortest time of a command.
    pub(crate) fn least(&self, name: &str) -> f64 {
        self.of(name).iter().map(|run| run.wall).fold(f64::INFINITY, f64::min)
    }

    /// The median of the ratios of two commands, taken within each round.
    pub(crate) fn ratio(&self, name: &str, base: &str, what: fn(&Taken) -> f64) -> f64 {
        let mine = self.of(name).iter();
        let pairs = mine.filter_map(|run| {
            let other = self.of(base).iter().find(|other| other.round == run.round)?;
            Some(what(run) / what(other))
        });
        median(pairs.collect())
    }

    /// Shows a line a command.
    pub(crate) fn show(&self, names: &[&str]) {
        say::line(&format!(
            "{:<26}{:>6}{:>12}{:>12}{:>10}",
            "median of", "runs", "CPU ms", "wall ms", "peak MiB"
        ));
        for name in names {
            say::line(&format!(
                "{:<26}{:>6}{:>12.2}{:>12.2}{:>10.1}",
                name,
                self.of(name).len(),
                self.median(name, |run| run.cpu),
                self.median(name, |run| run.wall),
                self.most(name, |run| run.peak)
            ));
        }
    }
}

/// The median; not a number if there is nothing.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "round\tname\twall_s\tcpu_s\tgone_s\tmaxrss_kb\trunnable\texit
0\ta\t0.002\t0.001\t0.002\t2048\t1\t0
0\tb\t0.006\t0.002\t0.006\t4096\t1\t0
1\ta\t0.004\t0.001\t0.004\t2048\t1\t0
1\tb\t0.004\t0.003\t0.004\t1024\t1\t256
";

    #[test]
    fn ratios_are_taken_within_a_round() {
        let samples = Samples::parse(TEXT).unwrap();
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(samples.ratio("b", "a", |run| run.wall), 3.0));
        assert!(close(samples.median("a", |run| run.cpu), 1.0));
        assert!(close(samples.most("b", |run| run.peak), 4.0));
        assert!(samples.ratio("b", "c", |run| run.wall).is_nan());
    }

    #[test]
    fn a_failure_voids_the_measurement() {
        let samples = Samples::parse(TEXT).unwrap();
        let mut plan = Plan::new(2, 2, 10);
        plan.add("a", vec!["a".to_owned()], None);
        samples.sound(&plan).unwrap();
        plan.add("b", vec!["b".to_owned(), "x".to_owned()], Some("sleep 1"));
        let text = samples.sound(&plan).unwrap_err().to_string();
        assert!(text.contains("b: 1 of 2 failed") && text.contains("b x"), "{text}");
        assert_eq!(plan.text(), "a\ta\nb\tb x\nb\t!sleep 1\n");
        assert!(Samples::parse("\n1\ta\n").is_none());
    }
}
