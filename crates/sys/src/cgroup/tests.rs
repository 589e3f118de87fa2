use super::*;

#[test]
fn quotas_stay_within_what_the_kernel_takes() {
    for (milli, expected) in [
        (500, (50_000, 100_000)),
        (2_000, (200_000, 100_000)),
        (10, (1_000, 100_000)),
        (5, (5_000, 1_000_000)),
        (0, (1_000, 1_000_000)),
        (u64::MAX, ((1 << 44) - 1, 100_000)),
    ] {
        assert_eq!(quota(milli), expected, "{milli}");
    }
}

#[test]
fn own_groups_are_read_from_both_layouts() {
    let text = "9:name=systemd:/\n4:cpu,cpuacct:/a:b\n3:memory:/m\n2:freezer:/\n0::/u\n";
    let text = format!("{text}5:cpu:/c\n");
    let found: Vec<_> = v1::groups(&text, false).collect();
    assert_eq!(found, [("cpu,cpuacct", "/a:b"), ("memory", "/m")]);
    assert_eq!(v1::groups(&text, true).last(), Some(("cpu", "/c")));
}

#[test]
fn hierarchies_mounted_elsewhere_are_found() {
    let info = "35 31 0:35 /docker/x /cg/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n";
    let memory = |options: &str| options.split(',').any(|o| o == "memory");
    let found = |path| mounted(info, "cgroup", path, memory);
    assert_eq!(found("/docker/x/y"), Some(PathBuf::from("/cg/memory/y")));
    assert_eq!(found("/other"), None);
    assert_eq!(mounted(info, "cgroup", "/docker/x", |_| false), None);
    assert_eq!(mounted(info, "cgroup2", "/docker/x", |_| true), None);
}

/// In whichever version the host has.
#[test]
fn a_group_is_made_limited_and_removed() {
    let limits =
        Limits { memory: Some(8 << 20), pids: Some(7), cpu_milli: Some(500), cpu_shares: Some(10) };
    let place = Place::of_self(&[limits]).unwrap().settle(&[limits]).unwrap();
    let name = format!("sys-test-{}", std::process::id());
    let record = place.record(&name);
    let group = place.make(&name).unwrap();
    let inner = group.inner("app").unwrap();
    let applied = inner.limit(&limits);
    let read = |names: [&str; 2]| {
        let folders = record.folders.iter().flat_map(|f| names.map(|n| f.join("app-app").join(n)));
        fs::read_to_string(folders.into_iter().find(|f| f.exists()).unwrap()).unwrap()
    };
    let values = [
        read(["memory.limit_in_bytes", "memory.max"]),
        read(["pids.max", "pids.max"]),
        read(["cpu.cfs_quota_us", "cpu.max"]),
        read(["cpu.shares", "cpu.weight"]),
    ];
    let version = place.version;
    drop((group, inner));
    record.leave().unwrap();
    record.remove().unwrap();
    applied.unwrap();
    match version {
        Version::One => assert_eq!(values, ["8388608\n", "7\n", "50000\n", "10\n"]),
        Version::Two => assert_eq!(values, ["8388608\n", "7\n", "50000 100000\n", "1\n"]),
    }
}

#[test]
fn groups_that_processes_made_inside_go_with_it() {
    let place = Place::to_hold().unwrap();
    let name = format!("rkt-sys-test-{}-deep", std::process::id());
    let record = place.record(&name);
    let group = place.make(&name).unwrap();
    let folder = record.folders.first().unwrap();
    let deep = folder.join("a/b");
    fs::create_dir_all(&deep).unwrap();
    let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(deep.join("cgroup.procs"), child.id().to_string()).unwrap();
    let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
    let (held, direct) = (record.holds(pid), members(folder));
    // The child stays in its group until it is waited for.
    let waiting = std::thread::spawn(move || child.wait());
    let killed = record.kill();
    waiting.join().unwrap().unwrap();
    record.remove().unwrap();
    drop(group);
    assert!(held && direct.is_empty());
    assert!(killed.unwrap() && !record.kill().unwrap());
    assert!(!folder.exists());
}
