use super::*;
use crate::identity::Wanted;
use crate::launch::Rights;
use crate::mounts::Access;
use crate::spec::Commands;
use sys::capability::Capabilities;
use sys::cgroup::Limits;

fn spec(name: &str, before: &str, after: &str) -> AppSpec {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    AppSpec {
        name: name.to_owned(),
        commands: Commands {
            main: words("main"),
            pre_start: words(before),
            post_stop: words(after),
        },
        identity: Wanted::default(),
        directory: "/".to_owned(),
        environment: Vec::new(),
        rights: Rights { capabilities: Capabilities::NONE, no_new_privileges: false },
        limits: Limits::default(),
        oom_score_adj: None,
        root: Access::ReadWrite,
        stop_signal: number::INTERRUPT,
        seeded: false,
    }
}

/// Drives a supervision, and writes down what it does.
struct Play {
    rule: Supervision,
    start: Instant,
}

impl Play {
    fn new(apps: &[AppSpec], order: StopOrder) -> Self {
        Self { rule: Supervision::new(apps.iter(), order), start: Instant::now() }
    }

    fn acts(&mut self) -> Vec<Act> {
        std::iter::from_fn(|| self.rule.next(self.start)).collect()
    }

    fn ended(&mut self, app: usize, end: End) -> Vec<Act> {
        self.rule.ended(app, end, self.start);
        self.acts()
    }

    fn stop(&mut self) -> Vec<Act> {
        self.rule.begin_stop(GRACE, self.start);
        self.acts()
    }
}

const WELL: End = End::Exited(0);

fn begin(app: usize, phase: Phase) -> Act {
    Act::Start { app, phase }
}

fn report(app: usize, end: End) -> Act {
    Act::Report { app, end }
}

fn ask(app: usize, signal: i32) -> Act {
    Act::Signal { app, signal }
}

#[test]
fn an_app_that_ends_well_leaves_the_others_alone() {
    let mut play = Play::new(&[spec("a", "", ""), spec("b", "pre", "post")], StopOrder::AsStarted);
    assert_eq!(play.acts(), [begin(0, Phase::Main), begin(1, Phase::Before)]);
    assert_eq!(play.ended(0, WELL), [report(0, WELL)]);
    assert!(play.rule.has_ended(0) && !play.rule.has_ended(1));
    assert_eq!(play.ended(1, WELL), [begin(1, Phase::Main)]);
    assert!(play.rule.runs_main(1) && !play.rule.runs_main(0) && !play.rule.is_over());
    assert_eq!(play.ended(1, WELL), [report(1, WELL), begin(1, Phase::After)]);
    assert!(!play.rule.has_ended(1));
    // What cleans up has no say.
    assert_eq!(play.ended(1, End::Exited(1)), []);
    assert!(play.rule.is_over() && !play.rule.is_stopping());
    assert_eq!(play.rule.code(), 0);
}

#[test]
fn the_first_failure_ends_the_pod_with_its_code() {
    for (end, code) in [(End::Exited(5), 5), (End::Killed(9), 9)] {
        let apps = [spec("a", "", ""), spec("b", "", "post"), spec("c", "pre", "")];
        let mut play = Play::new(&apps, StopOrder::AsStarted);
        let started = [begin(0, Phase::Main), begin(1, Phase::Main), begin(2, Phase::Before)];
        assert_eq!(play.acts(), started);
        let expected = [
            report(1, end),
            ask(0, number::INTERRUPT),
            ask(2, number::TERMINATE),
            begin(1, Phase::After),
        ];
        assert_eq!(play.ended(1, end), expected);
        // What died of the signal we sent ended well; a hook that was interrupted starts nothing.
        let asked = End::Killed(number::INTERRUPT);
        assert_eq!(play.ended(0, asked), [report(0, WELL)]);
        assert_eq!(play.ended(2, WELL), [report(2, WELL)]);
        assert_eq!(play.ended(1, WELL), []);
        assert!(play.rule.is_over());
        assert_eq!(play.rule.code(), code);
    }
}

#[test]
fn what_cannot_start_has_a_status_and_keeps_later_apps_from_starting() {
    let mut play = Play::new(&[spec("a", "pre", ""), spec("b", "", "post")], StopOrder::AsStarted);
    assert_eq!(play.rule.next(play.start), Some(begin(0, Phase::Before)));
    let failed = End::Exited(203);
    assert_eq!(play.ended(0, failed), [report(0, failed), report(1, WELL), begin(1, Phase::After)]);
    play.ended(1, WELL);
    assert_eq!((play.rule.is_over(), play.rule.code()), (true, 203));
}

#[test]
fn a_pod_that_is_asked_to_stop_ends_with_zero_in_the_order_asked_for() {
    for (order, first, second) in [(StopOrder::AsStarted, 0, 1), (StopOrder::Reversed, 1, 0)] {
        let mut play = Play::new(&[spec("a", "", ""), spec("b", "", "")], order);
        play.acts();
        let signal = number::INTERRUPT;
        assert_eq!(play.stop(), [ask(first, signal), ask(second, signal)]);
        assert_eq!(play.stop(), []);
        assert_eq!(play.rule.deadline(), Some(play.start + GRACE));
        play.rule.time_is_over(play.start + GRACE);
        assert_eq!(play.acts(), [Act::KillAll]);
        assert_eq!(play.rule.deadline(), Some(play.start + GRACE * 2));
        let killed = End::Killed(number::KILL);
        assert_eq!(play.ended(0, killed), [report(0, WELL)]);
        // A code of its own is the app's status, and not the pod's.
        assert_eq!(play.ended(1, End::Exited(3)), [report(1, End::Exited(3))]);
        assert_eq!((play.rule.is_over(), play.rule.code()), (true, 0));
    }
}
