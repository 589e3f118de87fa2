//! `soak pods`: many pods one after the other. The last starts as fast as the first, and nothing stays.

use crate::bench::stopwatch::median;
use crate::bench::verdict::Verdict;
use crate::error::TaskError;
use crate::ground::{COLLECT, Ground};
use crate::say;
use crate::usage;
use crate::workspace::Workspace;
use std::collections::BTreeSet;
use std::time::Instant;

/// So many of the first and of the last are compared.
const EDGE: usize = 50;
const LISTS: usize = 20;

/// What one command took, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
}

/// Starts them and judges.
pub(super) fn run(workspace: &Workspace, count: u64) -> Result<(), TaskError> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count < 2 * EDGE {
        return Err(TaskError::Usage(format!("at least {} pods are compared", 2 * EDGE)));
    }
    let ground = Ground::make(workspace, "pods")?;
    let image = ground.stored("true", &["/bin/true"])?;
    let stage1 = ground.stage1("nspawn");
    let words = ["run", &stage1, "--net=none", &image];
    // The first start also brings the images.
    ground.rkt(&words)?;
    say::title(&format!("{count} pods"));
    let mut starts = Vec::with_capacity(count);
    for _ in 0..count {
        starts.push(cost(&ground, &words)?);
    }
    let pods: BTreeSet<String> = ground.pods().into_iter().map(|(_, pod)| pod).collect();
    let mut verdict = Verdict::default();
    let edge = |part: &[Cost], what: fn(&Cost) -> f64| median(part.iter().map(what).collect());
    let (first, last) = (&starts[..EDGE], &starts[count - EDGE..]);
    for (name, what) in [("CPU", (|cost| cost.cpu) as fn(&Cost) -> f64), ("wall", |cost| cost.wall)]
    {
        let (early, late) = (edge(first, what), edge(last, what));
        say::line(&format!("start, {name}: first {early:.2} ms, last {late:.2} ms"));
        verdict.most(
            &format!("start, {name} of the last {EDGE} / first {EDGE}"),
            late / early,
            1.1,
            None,
        );
    }
    let mut lists = Vec::with_capacity(LISTS);
    for _ in 0..LISTS {
        lists.push(cost(&ground, &["list"])?);
    }
    verdict.most("list, wall ms", edge(&lists, |cost| cost.wall), 15.0, None);
    Verdict::show("list, CPU ms", edge(&lists, |cost| cost.cpu));
    collect(&ground, pods.len(), &mut verdict)?;
    let left: Vec<String> =
        ground.pods().into_iter().map(|(phase, pod)| format!("{phase}/{pod}")).collect();
    let left = [left, ground.leaks(&pods)].concat();
    ground.end()?;
    if !left.is_empty() {
        return Err(TaskError::Broken { rule: "left behind", found: left });
    }
    say::line("no pod, mount, control group or process is left");
    verdict.end()
}

/// Deletes them all: marking and deleting are one call.
fn collect(ground: &Ground, pods: usize, verdict: &mut Verdict) -> Result<(), TaskError> {
    let gc = cost(ground, &COLLECT)?;
    let each = |total: f64| total / f64::from(u32::try_from(pods).unwrap_or(u32::MAX));
    verdict.most("gc, CPU ms a pod", each(gc.cpu), 5.0, None);
    Verdict::show("gc, wall ms a pod", each(gc.wall));
    Ok(())
}

fn cost(ground: &Ground, words: &[&str]) -> Result<Cost, TaskError> {
    let (begin, used) = (Instant::now(), usage::processor());
    ground.rkt(words)?;
    let milliseconds = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    let cpu = usage::processor().saturating_sub(used);
    Ok(Cost { wall: milliseconds(begin.elapsed()), cpu: milliseconds(cpu) })
}
