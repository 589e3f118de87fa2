//! Each image of the corpus, from each place that it can come from, in each flavour: its files are those that `umoci unpack`
//! makes, but for differences that are listed here, and its program works.
//!
//! The large ones take minutes, and are built and run by `cargo xtask test --all-images` alone; the suite has those of their
//! programs and trees that the other modules name.

use crate::real_images::{
    nginx_serves_as_it_is, nginx_serves_on_the_network_of_the_host, python_computes,
    redis_answers_and_saves,
};
use crate::tree::Exception;
use crate::tree::May::{BeAnything, CountMoreNames, HaveAnotherTime};
use crate::trees::{Pair, Unpacked};
use testkit::flavour::each;
use testkit::program::tool;
use testkit::{FLY, Flavour, NSPAWN, Registry, Rkt, corpus, needs};

/// Where an image comes from.
#[derive(Debug, Clone, Copy)]
enum Source {
    Registry,
    Layout,
    OciArchive,
    DockerArchive,
}

const SOURCES: [Source; 4] =
    [Source::Registry, Source::Layout, Source::OciArchive, Source::DockerArchive];

/// An image, and what is particular about it.
#[derive(Clone, Copy)]
struct Known {
    name: &'static str,
    /// Files whose hashes an app of it prints.
    files: &'static [&'static str],
    /// What differs in this flavour, beside what differs in every pod.
    differs: fn(&Flavour) -> Vec<Exception<'static>>,
    /// The flags of its pods, for which the sandbox may have to hold something.
    flags: fn(&Rkt) -> Vec<String>,
    /// What its program does.
    works: fn(&Rkt, &str),
}

impl Known {
    /// An image without a program of its own, made of busybox.
    const fn small(name: &'static str, files: &'static [&'static str]) -> Self {
        Self { name, files, differs: of_fly, flags: |_| Vec::new(), works: |_, _| {} }
    }

    /// The same, made of Debian.
    const fn large(name: &'static str, files: &'static [&'static str]) -> Self {
        Self { differs: of_debian, ..Self::small(name, files) }
    }
}

/// Fly has a `/tmp` of its own.
fn of_fly(flavour: &Flavour) -> Vec<Exception<'static>> {
    if flavour.name == FLY.name { vec![("tmp", BeAnything)] } else { Vec::new() }
}

fn of_debian(flavour: &Flavour) -> Vec<Exception<'static>> {
    // The image's own name is not the pod's.
    if flavour.name == NSPAWN.name { vec![("etc/hostname", BeAnything)] } else { of_fly(flavour) }
}

const PYTHON: &str = "/usr/bin/python3";
const LAYERS: Known = Known::large(
    "layers20",
    // Deleted, emptied and replaced by later layers: the last word of each.
    &["/corpus/last", "/corpus/l09", "/corpus/l17/id", PYTHON],
);
const EDGE: Known = Known {
    differs: |flavour| {
        let own = [
            ("edge/sticky", BeAnything),
            // The working folder, which is made where an image lacks it.
            ("edge/nonexistent", BeAnything),
            ("edge", HaveAnotherTime),
            // A later layer deletes hard3: an overlay goes on counting it.
            ("edge/hard1", CountMoreNames),
            ("edge/hard2", CountMoreNames),
            ("edge/hard4", CountMoreNames),
        ];
        [&own[..], &of_fly(flavour)].concat()
    },
    // Fly has only volumes that somebody gives.
    flags: |rkt| {
        vec![format!("--volume=volume-edge-sticky,kind=host,source={}", rkt.folder("sticky"))]
    },
    works: |rkt, id| {
        let volume = (EDGE.flags)(rkt);
        each(&[], |flavour| {
            // What the configuration says, as the user of the image.
            let script = "id -u; id -g; pwd; stat -c %u .; echo \"$EQ,${EMPTY-unset}\"";
            let output = rkt.pod(flavour, &[&volume[0], id, "--", "/bin/sh", "-c", script]).ok();
            assert_eq!(output.stdout, "1000\n1000\n/edge/nonexistent\n1000\na=b=c,\n");
        });
    },
    ..Known::small(
        "edge",
        &["/edge/gr\u{fc}n-\u{6f22}\u{5b57}-\u{1f680}", "/edge/hard-across-layers", "/edge/sparse"],
    )
};

/// The image from one place, in every flavour.
fn from(known: &Known, source: Source, theirs: &Unpacked) {
    println!("-- {} from {source:?}", known.name);
    let (rkt, name) = (Rkt::new(), known.name);
    let mut registry = None;
    let archive = |kind: &str, tag: &str| {
        let reference = format!("{kind}:{}", rkt.word("archive"));
        let to = format!("{reference}:{tag}");
        tool(&["skopeo", "copy", "-q", "--insecure-policy", &corpus::image(name), &to]);
        reference
    };
    let reference = match source {
        Source::Layout => corpus::image(name),
        Source::OciArchive => archive("oci-archive", name),
        Source::DockerArchive => archive("docker-archive", &format!("{name}:latest")),
        Source::Registry => {
            let server = registry.insert(Registry::start(&rkt.path("registry")));
            server.push(&corpus::layout(name), name, name);
            server.image(name)
        }
    };
    let pair = Pair::new(theirs, rkt, &reference);
    drop(registry);
    let flags = (known.flags)(&pair.rkt);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    each(&[], |flavour| {
        pair.compare(flavour, &flags, &(known.differs)(flavour));
        pair.hash(flavour, &flags, known.files);
    });
    (known.works)(&pair.rkt, &pair.id);
}

fn from_everywhere(known: &Known) {
    needs!(Root);
    let theirs = Unpacked::new(known.name);
    for source in SOURCES {
        from(known, source, &theirs);
    }
}

#[test]
fn busybox_from_everywhere() {
    from_everywhere(&Known::small("busybox", &["/bin/sh"]));
}

#[test]
fn awkward_entries_are_reproduced() {
    from_everywhere(&EDGE);
}

/// Whiteouts below what became a file.
#[test]
fn stale_whiteouts_do_no_harm() {
    from_everywhere(&Known::small("stalewh", &["/x/dir", "/bin/sh"]));
}

#[test]
fn twenty_layers_show_one_tree() {
    needs!(Root);
    from(&LAYERS, Source::Layout, &Unpacked::new(LAYERS.name));
}

#[test]
#[ignore = "large: run by cargo xtask test --all-images"]
fn debian_from_everywhere() {
    from_everywhere(&Known::large("debian", &["/bin/bash", "/usr/bin/perl"]));
}

#[test]
#[ignore = "large: run by cargo xtask test --all-images"]
fn python_from_everywhere() {
    let works = python_computes;
    from_everywhere(&Known { works, ..Known::large("python3", &[PYTHON]) });
}

#[test]
#[ignore = "large: run by cargo xtask test --all-images"]
fn nginx_from_everywhere() {
    let works = |rkt: &Rkt, id: &str| {
        nginx_serves_as_it_is(rkt, id);
        nginx_serves_on_the_network_of_the_host(rkt, id);
    };
    from_everywhere(&Known { works, ..Known::large("nginx", &["/usr/sbin/nginx"]) });
}

#[test]
#[ignore = "large: run by cargo xtask test --all-images"]
fn redis_from_everywhere() {
    let differs = |flavour: &Flavour| {
        // The volume, for which the image has no folder.
        let own = [("data", BeAnything), ("", HaveAnotherTime)];
        [&own[..], &of_debian(flavour)].concat()
    };
    let flags =
        |rkt: &Rkt| vec![format!("--volume=volume-data,kind=host,source={}", rkt.folder("data"))];
    let known = Known::large("redis", &["/usr/bin/redis-server"]);
    from_everywhere(&Known { differs, flags, works: redis_answers_and_saves, ..known });
}

#[test]
#[ignore = "large: run by cargo xtask test --all-images"]
fn twenty_layers_from_everywhere() {
    from_everywhere(&LAYERS);
}

#[test]
#[ignore = "large: run by cargo xtask test --all-images"]
fn one_layer_of_twenty_from_everywhere() {
    from_everywhere(&Known { name: "layers20-flat", ..LAYERS });
}

#[test]
#[ignore = "large: run by cargo xtask test --all-images"]
fn many_files_from_everywhere() {
    let files = &["/many/00/000/f000.txt", "/many/10/200/f050.txt", "/many/19/399/f099.txt"];
    from_everywhere(&Known::small("manyfiles", files));
}
