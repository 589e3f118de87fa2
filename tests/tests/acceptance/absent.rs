//! What this version does not do yet. Each is refused with 254; none is ignored.

use testkit::{NSPAWN, Rkt};

#[test]
fn absent_commands_are_refused() {
    let rkt = Rkt::new();
    for words in [
        &["trust", "--root", "key"][..],
        &["image", "verify", "x"],
        &["app", "list", "x"],
        &["attach", "x"],
        &["metadata-service"],
        &["api-service"],
    ] {
        rkt.run(words).refuses("it is not there yet");
    }
    // Nor do the variables that once opened them.
    let mut command = rkt.command(&["app", "list", "x"]);
    rkt.finish(command.env("RKT_EXPERIMENT_APP", "true")).code(254);
}

#[test]
fn absent_flags_are_refused() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    for (before, after) in [
        (&["--private-users"][..], &[][..]),
        (&["--mds-register"], &[]),
        (&["--trust-keys-from-https"], &[]),
        (&[], &["--seccomp=mode=remove,getcwd"]),
        (&[], &["--signature=x.asc"]),
        (&[], &["--stdin=tty"]),
        (&[], &["--stdout=stream"]),
    ] {
        let words = [before, &[&*image], after, &["--", "true"]].concat();
        rkt.pod(&NSPAWN, &words).code(254);
        assert_eq!(rkt.pods(), [], "{words:?}");
    }
}

#[test]
fn images_from_the_network_by_name_are_refused() {
    let rkt = Rkt::new();
    for reference in
        ["example.invalid/app:1.0", "http://127.0.0.1:1/a.aci", "docker://127.0.0.1:1/x"]
    {
        rkt.run(&["--insecure-options=image", "fetch", reference]).code(254);
        rkt.pod(&NSPAWN, &[reference]).code(254);
    }
}

#[test]
fn verified_images_are_refused() {
    let rkt = Rkt::new();
    let image = rkt.shell();
    rkt.file("shell.aci.asc", "-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n");
    rkt.run(&["fetch", &image]).code(254);
    assert_eq!(rkt.run(&["image", "list", "--no-legend"]).ok().stdout, "");
}
