//! What a stage1 that attaches disks is given of an image: each tree as a file system, which the kernel mounts, equals it.

use crate::tree::same;
use std::fs;
use std::path::{Path, PathBuf};
use testkit::program::tool;
use testkit::{KVM, NSPAWN, Rkt, corpus, needs};

/// A mount that goes with the test.
struct Mounted(PathBuf);

impl Mounted {
    fn new(image: &Path, at: PathBuf) -> Self {
        fs::create_dir(&at).unwrap();
        let words = ["mount", "-t", "erofs", "-o", "ro,loop"];
        tool(&[&words[..], &[image.to_str().unwrap(), at.to_str().unwrap()]].concat());
        Self(at)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        tool(&["umount", self.0.to_str().unwrap()]);
    }
}

/// What a prepared pod of this flavour stacks, the lowest first.
fn stacked(rkt: &Rkt, flavour: &testkit::Flavour, id: &str) -> Vec<PathBuf> {
    let uuid = rkt.prepare(flavour, &[id, "--name=one"]);
    let list = rkt.pod_folder(&uuid).join("appsinfo/one/layers");
    fs::read_to_string(list).unwrap().lines().map(PathBuf::from).collect()
}

/// The images that are built for every run of the suite.
#[test]
fn derived_file_systems_equal_their_trees() {
    equal(&["busybox", "edge", "stalewh", "layers20"]);
}

#[test]
#[ignore = "large: run by cargo xtask test --all-images"]
fn derived_file_systems_of_all_images_equal_their_trees() {
    equal(&["debian", "python3", "nginx", "redis", "manyfiles", "layers20-flat"]);
}

fn equal(images: &[&str]) {
    needs!(Root);
    let rkt = Rkt::new();
    for name in images {
        println!("-- {name}");
        let id = rkt.fetch(&corpus::image(name));
        let (trees, disks) = (stacked(&rkt, &NSPAWN, &id), stacked(&rkt, &KVM, &id));
        assert_eq!(trees.len(), disks.len());
        for (number, (tree, disk)) in trees.iter().zip(&disks).enumerate() {
            let mounted = Mounted::new(disk, rkt.path(&format!("{name}-{number}")));
            same(&mounted.0, tree, &[]);
        }
    }
}
