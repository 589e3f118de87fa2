use super::*;
use appc::PodManifest;

const NSPAWN: Habits = Habits {
    duplicates: Duplicates::FirstWins,
    depth: Depth::Recursive,
    unfilled: Unfilled::Implicit { seeded: true },
};
const FLY: Habits =
    Habits { duplicates: Duplicates::LastWins, depth: Depth::Single, unfilled: Unfilled::Refused };

/// A pod of one app with these mounts, mount points and volumes, each as JSON members.
fn pod(mounts: &str, points: &str, volumes: &str) -> PodManifest {
    let id = "a".repeat(64);
    let text = format!(
        r#"{{"acVersion":"0.8.11","acKind":"PodManifest","apps":[{{"name":"app",
            "image":{{"name":"example.com/a","id":"sha512-{id}"}},
            "app":{{"exec":["/a"],"user":"0","group":"0","mountPoints":[{points}]}},
            "mounts":[{mounts}]}}],"volumes":[{volumes}],"isolators":[],"annotations":[],"ports":[]}}"#
    );
    PodManifest::from_json(text.as_bytes()).unwrap()
}

fn planned(pod: &PodManifest, habits: Habits) -> Result<MountPlan, PlanError> {
    plan(&pod.apps[0], &pod.volumes, habits)
}

/// `TARGET SOURCE [ro]`, a line a step.
fn lines(plan: &MountPlan) -> Vec<String> {
    let line = |step: &MountStep| {
        let source = match &step.source {
            Source::Host(path) => path.display().to_string(),
            Source::Empty { name, mode, uid, gid, seeded } => {
                format!("{name}:{mode:o}:{uid}:{gid}{}", if *seeded { ":seeded" } else { "" })
            }
        };
        let access = if step.access == Access::ReadOnly { " ro" } else { "" };
        format!("{} {source}{access}", step.target.display())
    };
    plan.steps.iter().map(line).collect()
}

const HOST: &str = r#"{"name":"h","kind":"host","source":"/srv"}"#;

#[test]
fn mounts_and_mount_points_meet_their_volumes() {
    for (mounts, points, volumes, expected) in [
        (r#"{"volume":"h","path":"/x/../y//z/"}"#, "", HOST, vec!["/y/z /srv"]),
        // A volume named like a mount point needs no mount.
        ("", r#"{"name":"h","path":"/p","readOnly":true}"#, HOST, vec!["/p /srv ro"]),
        // What the volume says of writing counts more than what the image says.
        (
            "",
            r#"{"name":"h","path":"/p","readOnly":true}"#,
            r#"{"name":"h","kind":"host","source":"/srv","readOnly":false}"#,
            vec!["/p /srv"],
        ),
        // A mount at the path of a mount point fills it.
        (
            r#"{"volume":"h","path":"/p"}"#,
            r#"{"name":"other","path":"/p/"}"#,
            HOST,
            vec!["/p /srv"],
        ),
        ("", r#"{"name":"data","path":"/d"}"#, "", vec!["/d app-data:755:0:0:seeded"]),
        (
            r#"{"volume":"e","path":"/e"}"#,
            "",
            r#"{"name":"e","kind":"empty","mode":"2770","uid":5,"gid":6}"#,
            vec!["/e e:2770:5:6"],
        ),
        // Parents before children, the first of two at one path.
        (
            r#"{"volume":"h","path":"/a/b"},{"volume":"e","path":"/a"},{"volume":"e","path":"/a/b/"}"#,
            "",
            r#"{"name":"h","kind":"host","source":"/srv"},{"name":"e","kind":"empty"}"#,
            vec!["/a e:755:0:0", "/a/b /srv"],
        ),
    ] {
        let plan = planned(&pod(mounts, points, volumes), NSPAWN).unwrap();
        assert_eq!(lines(&plan), expected, "{mounts} {points}");
    }
}

#[test]
fn an_unfilled_mount_point_is_told() {
    let plan = planned(&pod("", r#"{"name":"data","path":"/d"}"#, ""), NSPAWN).unwrap();
    assert_eq!(plan.implicit, ["data"]);
    assert!(plan.covers("/d") && plan.has("/d") && !plan.has("/") && plan.covers("/"));
    assert!(!plan.covers("/data"));
}

#[test]
fn depth_is_the_flavours_unless_the_volume_says() {
    for (recursive, habits, expected) in [
        ("", NSPAWN, Depth::Recursive),
        ("", FLY, Depth::Single),
        (r#","recursive":false"#, NSPAWN, Depth::Single),
        (r#","recursive":true"#, FLY, Depth::Recursive),
    ] {
        let volume = format!(r#"{{"name":"h","kind":"host","source":"/srv"{recursive}}}"#);
        let plan = planned(&pod(r#"{"volume":"h","path":"/p"}"#, "", &volume), habits).unwrap();
        assert_eq!(plan.steps[0].depth, expected, "{recursive}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (mounts, points, volumes, habits, expected) in [
        (r#"{"volume":"v","path":"/p"}"#, "", HOST, NSPAWN, "could not find volume \"v\""),
        ("", r#"{"name":"d","path":"/d"}"#, HOST, FLY, "missing volume for mountpoint \"d\""),
        (
            r#"{"volume":"h","path":"/p"},{"volume":"h","path":"/q"}"#,
            "",
            HOST,
            FLY,
            "duplicate mount given: \"h\"",
        ),
        (
            r#"{"volume":"h","path":"/p"}"#,
            r#"{"name":"h","path":"/q"}"#,
            HOST,
            FLY,
            "conflicting path information from mount and mountpoint \"h\"",
        ),
        (
            r#"{"volume":"e","path":"/p"}"#,
            "",
            r#"{"name":"e","kind":"empty"}"#,
            FLY,
            "volume \"e\" of kind \"empty\" is not supported by this flavour",
        ),
    ] {
        let error = planned(&pod(mounts, points, volumes), habits).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn in_fly_the_later_of_two_targets_wins() {
    let volumes =
        r#"{"name":"a","kind":"host","source":"/one"},{"name":"b","kind":"host","source":"/two"}"#;
    let mounts = r#"{"volume":"a","path":"/var/log"},{"volume":"b","path":"/var/log/"}"#;
    assert_eq!(lines(&planned(&pod(mounts, "", volumes), FLY).unwrap()), ["/var/log /two"]);
    assert_eq!(lines(&planned(&pod(mounts, "", volumes), NSPAWN).unwrap()), ["/var/log /one"]);
}
