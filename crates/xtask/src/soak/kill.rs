//! `soak kill`: a process of a command dies as it enters a system call, any process, any call. The disk must be sound
//! then, and what the death left behind must go with the next collection.

use super::checks::{Truth, pods};
use super::scenes::{CONTAINERS, Cast, MACHINES, Scene, empty};
use super::tracer::{Moment, trace};
use crate::error::{At, TaskError};
use crate::ground::{FLAVOURS, Ground, MACHINE, MARK};
use crate::say;
use crate::workspace::Workspace;
use std::collections::BTreeSet;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the C library keeps the numbers of system calls.
const NUMBERS: &str = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h";

/// Whose deaths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// Of what any host runs.
    Containers,
    /// Of what takes a KVM.
    Machines,
}

impl Of {
    fn scenes(self) -> &'static [Scene] {
        match self {
            Self::Containers => &CONTAINERS,
            Self::Machines => &MACHINES,
        }
    }

    fn flavours(self) -> &'static [&'static str] {
        match self {
            Self::Containers => &FLAVOURS,
            Self::Machines => &[MACHINE],
        }
    }
}

/// Kills and judges.
pub(super) fn run(
    workspace: &Workspace,
    of: Of,
    count: u64,
    seed: Option<u64>,
) -> Result<(), TaskError> {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = seed.unwrap_or(u64::from(clock.subsec_nanos()));
    say::line(&format!("seed {seed}"));
    let ground = Ground::make(workspace, "kill")?;
    let cast = Cast::make(&ground)?;
    let truth = Truth::learn(&ground, &cast, of.flavours())?;
    let soak = Soak { truth, cast, ground: &ground, calls: numbers()? };
    let map = soak.map(of.scenes())?;
    let mut draw = Draw::new(seed, map.total());
    let mut tally = Tally::default();
    for index in draw.by_ref().take(most(count)) {
        if let Some((scene, moment)) = map.find(index) {
            soak.point(scene, moment, &mut tally)?;
        }
        if tally.reached >= count {
            break;
        }
    }
    let Tally { reached, missed, found } = tally;
    say::line(&format!("seed {seed}: {reached} deaths, {} of them with findings", found.len()));
    say::line(&format!(
        "{missed} points that were drawn did not occur again, since no two runs make the same calls; others were drawn \
         in their place, by the same seed"
    ));
    ground.end()?;
    if !found.is_empty() {
        return Err(TaskError::Broken { rule: "not sound after a death", found });
    }
    if reached < count {
        let found = vec![format!("{reached} of {count} after {} were drawn", reached + missed)];
        return Err(TaskError::Broken { rule: "too few points were reached", found });
    }
    Ok(())
}

struct Soak<'a> {
    ground: &'a Ground,
    cast: Cast,
    truth: Truth,
    /// Names of system calls by number.
    calls: Vec<(u64, String)>,
}

/// How it went so far.
#[derive(Default)]
struct Tally {
    /// Points at which a process died.
    reached: u64,
    /// Points that the run did not come to.
    missed: u64,
    found: Vec<String>,
}

impl Soak<'_> {
    /// Runs every scene once undisturbed, and counts its moments.
    fn map(&self, scenes: &[Scene]) -> Result<Map, TaskError> {
        let mut map = Map::default();
        for scene in scenes.iter().copied() {
            let words = scene.set(self.ground, &self.cast)?;
            let seen = self.trace(&words, None)?;
            let all: u64 = seen.calls.iter().sum();
            let processes = seen.calls.len();
            say::line(&format!("{scene:?}: {processes} processes and threads, {all} system calls"));
            let found =
                [pods(self.ground, BTreeSet::new())?, self.truth.store(self.ground)?].concat();
            if seen.hung || !found.is_empty() {
                let rule = "not sound although nobody died";
                return Err(TaskError::Broken { rule, found });
            }
            map.scenes.push((scene, seen.calls));
        }
        Ok(map)
    }

    fn trace(
        &self,
        words: &[String],
        death: Option<Moment>,
    ) -> Result<super::tracer::Trace, TaskError> {
        let mark = self.ground.top.to_string_lossy();
        trace(words, (MARK, &mark), death, &|| self.ground.end_processes())
    }

    /// Lets one process die at one moment, and looks at what is left.
    fn point(&self, scene: Scene, moment: Moment, tally: &mut Tally) -> Result<(), TaskError> {
        let words = scene.set(self.ground, &self.cast)?;
        let mut seen: BTreeSet<String> =
            self.ground.pods().into_iter().map(|(_, pod)| pod).collect();
        let trace = self.trace(&words, Some(moment))?;
        seen.extend(self.ground.pods().into_iter().map(|(_, pod)| pod));
        let mut found = self.truth.store(self.ground)?;
        found.extend(pods(self.ground, seen)?);
        if trace.hung {
            found.push("it hung and was killed".to_owned());
        }
        match trace.killed_at {
            Some(_) => {
                tally.reached += 1;
                if tally.reached.is_multiple_of(50) {
                    say::line(&format!("{} points", tally.reached));
                }
            }
            None => tally.missed += 1,
        }
        if matches!(scene, Scene::Fetch | Scene::FetchLayers) {
            found.extend(self.again(&words)?);
        }
        if !found.is_empty() {
            let call = trace.killed_at.map_or("never reached", |number| self.name(number));
            let Moment { process, call: nth } = moment;
            let what = found.join("\n      ");
            let text =
                format!("{scene:?}, process {process}, system call {nth} ({call}):\n      {what}");
            say::line(&text);
            tally.found.push(text);
            self.reset()?;
        }
        Ok(())
    }

    /// A second fetch brings what the first could not.
    fn again(&self, words: &[String]) -> Result<Vec<String>, TaskError> {
        let short: Vec<&str> = words.iter().map(String::as_str).collect();
        let last = short.last().copied().unwrap_or_default();
        let said = self.ground.ask(&["fetch", last])?;
        if said.status.success() {
            return self.truth.store(self.ground);
        }
        Ok(vec![format!("the next fetch says: {} {}", said.status, said.err.trim())])
    }

    /// What one death spoiled is no fault of the next.
    fn reset(&self) -> Result<(), TaskError> {
        self.ground.force()?;
        empty(self.ground)
    }

    fn name(&self, number: u64) -> &str {
        let known = self.calls.iter().find(|(other, _)| *other == number);
        known.map_or("unknown", |(_, name)| name)
    }
}

fn numbers() -> Result<Vec<(u64, String)>, TaskError> {
    let text = fs::read_to_string(NUMBERS).at("read", NUMBERS)?;
    let line = |line: &str| {
        let (name, number) = line.strip_prefix("#define __NR_")?.split_once(' ')?;
        Some((number.trim().parse().ok()?, name.to_owned()))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// The moments of all scenes, one after the other.
#[derive(Debug, Default)]
struct Map {
    scenes: Vec<(Scene, Vec<u64>)>,
}

impl Map {
    fn total(&self) -> u64 {
        self.scenes.iter().flat_map(|(_, calls)| calls).sum()
    }

    fn find(&self, mut index: u64) -> Option<(Scene, Moment)> {
        for (scene, calls) in &self.scenes {
            for (process, count) in calls.iter().enumerate() {
                if index < *count {
                    return Some((*scene, Moment { process, call: index + 1 }));
                }
                index -= count;
            }
        }
        None
    }
}

/// So many points are drawn at the most to reach that many: where a third of them does not occur again, each run is
/// another program, and the search would have no end.
fn most(count: u64) -> usize {
    let all = count.saturating_add(count / 2).saturating_add(10);
    usize::try_from(all).unwrap_or(usize::MAX)
}

/// The numbers below a limit, each once, in a random order.
struct Draw {
    random: Random,
    drawn: BTreeSet<u64>,
    limit: u64,
}

impl Draw {
    fn new(seed: u64, limit: u64) -> Self {
        Self { random: Random(seed), drawn: BTreeSet::new(), limit }
    }
}

impl Iterator for Draw {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.drawn.len() as u64 >= self.limit {
            return None;
        }
        loop {
            let index = self.random.next() % self.limit;
            if self.drawn.insert(index) {
                return Some(index);
            }
        }
    }
}

/// Numbers without a pattern that matters here: `SplitMix64`.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_is_found_once() {
        let map = Map { scenes: vec![(Scene::Fetch, vec![2, 0, 1]), (Scene::Stop, vec![1])] };
        let all: Vec<_> = (0..map.total()).filter_map(|index| map.find(index)).collect();
        let moment = |process, call| Moment { process, call };
        let expected = [
            (Scene::Fetch, moment(0, 1)),
            (Scene::Fetch, moment(0, 2)),
            (Scene::Fetch, moment(2, 1)),
            (Scene::Stop, moment(0, 1)),
        ];
        assert_eq!(all, expected);
        assert_eq!(map.find(4), None);
    }

    #[test]
    fn a_seed_chooses_the_same_different_points() {
        let chosen: Vec<u64> = Draw::new(7, 60).take(50).collect();
        assert_eq!(chosen, Draw::new(7, 60).take(50).collect::<Vec<_>>());
        assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), 50);
        assert_eq!(Draw::new(7, 3).collect::<BTreeSet<_>>(), BTreeSet::from([0, 1, 2]));
        assert_eq!(Draw::new(7, 0).next(), None);
    }

    #[test]
    fn more_points_are_drawn_than_wanted_but_not_for_ever() {
        for (count, drawn) in [(0, 10), (1, 11), (2, 13), (300, 460), (u64::MAX, usize::MAX)] {
            assert_eq!(most(count), drawn);
        }
    }
}
