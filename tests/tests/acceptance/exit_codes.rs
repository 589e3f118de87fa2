//! How a pod ends, and with which code.

use testkit::flavour::{Can, each};
use testkit::{NSPAWN, Rkt};

#[test]
fn the_code_of_the_app_is_the_code_of_the_pod() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        rkt.script(flavour, "exit 7").code(7);
        let uuid = rkt.only_pod();
        let status = rkt.run(&["status", &uuid]).ok();
        for line in ["state=exited", "exited=true", "app-shell=7"] {
            assert!(status.lines().contains(&line), "{line}: {status:#?}");
        }
        assert_eq!(rkt.status(&uuid)["apps"][0]["exit_code"], 7);
        rkt.collect();
        rkt.is_clean();
    });
}

#[test]
fn the_first_failure_ends_the_pod_with_its_code() {
    each(&[Can::SeveralApps], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.shell();
        let sleep = "exec sleep 1000";
        let words = [
            &*image,
            "--name=one",
            "--",
            sleep,
            "---",
            &image,
            "--name=two",
            "--",
            "exit 5",
            "---",
            &image,
            "--name=three",
            "--",
            sleep,
        ];
        rkt.pod(flavour, &words).code(5);
        let status = rkt.run(&["status", &rkt.only_pod()]).ok();
        let apps: Vec<_> =
            status.lines().into_iter().filter(|line| line.starts_with("app-")).collect();
        assert_eq!(apps, ["app-one=0", "app-two=5", "app-three=0"]);
    });
}

#[test]
fn the_success_of_one_app_does_not_end_the_others() {
    each(&[Can::SeveralApps], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.shell();
        let folder = rkt.folder("shared");
        let volume = format!("--volume=v,kind=host,source={folder}");
        let words = [
            &*volume,
            "--mount=volume=v,target=/v",
            &image,
            "--name=short",
            "--",
            "exit 0",
            "---",
            &image,
            "--name=long",
            "--",
            "echo up; until [ -s /v/go ]; do usleep 10000; done; cat /v/go",
        ];
        let (running, uuid) = rkt.start_pod(flavour, &words);
        rkt.status_until(&uuid, |status| status["apps"][0]["state"] == "exited");
        let status = rkt.status(&uuid);
        assert_eq!(status["state"], "running");
        assert_eq!(status["apps"][0]["exit_code"], 0);
        assert_eq!(status["apps"][1]["state"], "running");
        std::fs::write(rkt.path("shared/go"), "gone\n").unwrap();
        assert!(running.wait().ok().stdout.contains("gone"));
    });
}

#[test]
fn a_deadly_signal_is_recorded_by_its_number() {
    each(&[], |flavour| {
        let rkt = Rkt::new();
        rkt.script(flavour, "kill -9 $$").code(9);
        let uuid = rkt.only_pod();
        assert!(rkt.run(&["status", &uuid]).ok().lines().contains(&"app-shell=9"));
        let app = &rkt.status(&uuid)["apps"][0];
        assert_eq!(app["exit_code"], 9);
        assert_eq!(app["exit_signal"], 9, "a signal can be told from `exit 9`: {app}");
    });
}

#[test]
fn failures_of_rkt_itself_are_254_and_no_apps() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    let words = ["--insecure-options=image", "run", "--net=nosuch", &image, "--", "exit 3"];
    rkt.run(&words).refuses("nosuch");
    assert_eq!(rkt.pods(), []);
    // The same number from an app is told apart by the status.
    rkt.script(&NSPAWN, "exit 254").code(254);
    let status = rkt.run(&["status", &rkt.only_pod()]).ok();
    assert!(status.lines().contains(&"app-shell=254"), "{status:#?}");
}

#[test]
fn three_apps_share_a_pod_but_not_their_roots() {
    each(&[Can::SeveralApps], |flavour| {
        let rkt = Rkt::new();
        let image = rkt.shell();
        let folder = rkt.folder("facts");
        let volume = format!("--volume=v,kind=host,source={folder}");
        let script = r#"
            touch "/mark-$AC_APP_NAME"
            for kind in uts ipc pid net; do readlink "/proc/self/ns/$kind"; done >"/v/ns.$AC_APP_NAME"
            hostname >"/v/host.$AC_APP_NAME"
            until [ -e /v/host.one ] && [ -e /v/host.two ] && [ -e /v/host.three ]; do usleep 1000; done
            ls -d /mark-* >"/v/marks.$AC_APP_NAME"
        "#;
        let names = ["one", "two", "three"];
        let flags: Vec<String> = names.iter().map(|name| format!("--name={name}")).collect();
        let mut words = vec![volume.as_str(), "--mount=volume=v,target=/v", "--hostname=together"];
        for flag in &flags {
            words.extend([&*image, flag, "--", script, "---"]);
        }
        rkt.pod(flavour, &words).ok();
        let fact = |kind: &str, name: &str| {
            std::fs::read_to_string(rkt.path(&format!("facts/{kind}.{name}"))).unwrap()
        };
        for name in names {
            assert_eq!(fact("ns", name), fact("ns", "one"));
            assert_eq!(fact("host", name), "together\n");
            assert_eq!(fact("marks", name), format!("/mark-{name}\n"));
        }
    });
}
