//! The flavours of stage1 that are built here, and their manifests.

use appc::{AcIdentifier, Annotation, BadName, ImageManifest, Label};
use stage1_abi::annotations as abi;

/// A program of a flavour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entrypoint {
    /// The annotation that announces it.
    pub annotation: &'static str,
    /// The program as the build calls it.
    pub program: &'static str,
    /// Its name in the root of the image.
    pub name: &'static str,
}

/// What a file in the root of an image, beside the entrypoints, is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A program of ours that an entrypoint starts, as the build calls it.
    Program(&'static str),
    /// A guest's kernel: what of it is loaded.
    Kernel,
    /// The first file system of that kernel: its modules, and this program as `/init`.
    Initramfs {
        /// The program as the build calls it.
        init: &'static str,
    },
}

/// A file beside the entrypoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extra {
    /// Its name in the root of the image.
    pub name: &'static str,
    /// What is in it.
    pub content: Content,
}

/// A stage1 image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flavour {
    /// The last word of its image name, of its file name, and what the `flavor` link says.
    pub name: &'static str,
    /// The version of the interface its programs speak.
    pub interface: abi::InterfaceVersion,
    /// Its programs, sorted by name.
    pub entrypoints: &'static [Entrypoint],
    /// What else lies in its root, sorted by name.
    pub extras: &'static [Extra],
    /// What else it says of itself, sorted.
    pub annotations: &'static [(&'static str, &'static str)],
}

/// A manifest that the rules of names forbid.
#[derive(Debug, thiserror::Error)]
#[error("cannot name the image, a label or an annotation")]
pub struct ManifestError(#[from] BadName);

/// All of them.
pub const FLAVOURS: [Flavour; 3] = [
    Flavour {
        name: "fly",
        // It shares the host's IPC namespace, so it has no use for the one flag that version 6 added.
        interface: abi::InterfaceVersion(5),
        entrypoints: &[
            Entrypoint { annotation: abi::ENTER, program: "fly-enter", name: "enter" },
            Entrypoint { annotation: abi::GC, program: "fly-gc", name: "gc" },
            Entrypoint { annotation: abi::RUN, program: "fly-run", name: "run" },
            Entrypoint { annotation: abi::STOP, program: "fly-stop", name: "stop" },
        ],
        extras: &[],
        annotations: &[(abi::APP_ROOTS, "layers"), (abi::NETWORK, "host"), (abi::ROOT, "shared")],
    },
    Flavour {
        name: "kvm",
        interface: abi::InterfaceVersion(6),
        entrypoints: &[
            Entrypoint { annotation: abi::CHECK, program: "kvm-check", name: "check" },
            Entrypoint {
                annotation: abi::CHECK_NETWORKS,
                program: "kvm-check-networks",
                name: "check-networks",
            },
            Entrypoint { annotation: abi::ENTER, program: "kvm-enter", name: "enter" },
            Entrypoint { annotation: abi::EXPORT, program: "kvm-export", name: "export" },
            Entrypoint { annotation: abi::GC, program: "kvm-gc", name: "gc" },
            Entrypoint { annotation: abi::RUN, program: "kvm-run", name: "run" },
            Entrypoint { annotation: abi::STOP, program: "kvm-stop", name: "stop" },
        ],
        extras: &[
            Extra { name: "fs-server", content: Content::Program("fs-server") },
            Extra { name: "initramfs", content: Content::Initramfs { init: "init" } },
            Extra { name: "vmlinux", content: Content::Kernel },
        ],
        annotations: &[(abi::APP_ROOTS, "erofs"), (abi::ROOT, "shared")],
    },
    Flavour {
        name: "nspawn",
        interface: abi::InterfaceVersion(6),
        entrypoints: &[
            Entrypoint {
                annotation: abi::CHECK_NETWORKS,
                program: "nspawn-check-networks",
                name: "check-networks",
            },
            Entrypoint { annotation: abi::ENTER, program: "nspawn-enter", name: "enter" },
            Entrypoint { annotation: abi::GC, program: "nspawn-gc", name: "gc" },
            Entrypoint { annotation: abi::RUN, program: "nspawn-run", name: "run" },
            Entrypoint { annotation: abi::STOP, program: "nspawn-stop", name: "stop" },
        ],
        extras: &[],
        annotations: &[
            // The names under which rkt shipped variants of its default flavour.
            (abi::ALIASES, "coreos,host,src"),
            (abi::APP_ROOTS, "layers"),
            (abi::ROOT, "shared"),
        ],
    },
];

impl Flavour {
    /// The name of its file.
    pub fn file_name(&self) -> String {
        format!("stage1-{}.aci", self.name)
    }

    /// The manifest of its image.
    ///
    /// # Errors
    /// A name in the table is none.
    pub fn manifest(&self, version: &str) -> Result<ImageManifest, ManifestError> {
        let name = AcIdentifier::parse(&format!("coreos.com/rkt/stage1-{}", self.name))?;
        let mut manifest = ImageManifest::new(name);
        for (label, value) in [("version", version), ("arch", "amd64"), ("os", "linux")] {
            manifest
                .labels
                .push(Label { name: AcIdentifier::parse(label)?, value: value.to_owned() });
        }
        let entrypoints = self.entrypoints.iter().map(|e| (e.annotation, format!("/{}", e.name)));
        let interface = (abi::INTERFACE_VERSION, self.interface.to_string());
        let others = self.annotations.iter().map(|(key, value)| (*key, (*value).to_owned()));
        for (key, value) in entrypoints.chain([interface]).chain(others) {
            manifest.annotations.push(Annotation { name: AcIdentifier::parse(key)?, value });
        }
        manifest.annotations.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stage1_abi::{AppRoots, InterfaceVersion, Network, RootSharing, Stage1Interface};

    fn declared(name: &str) -> (ImageManifest, Stage1Interface) {
        let flavour = FLAVOURS.iter().find(|flavour| flavour.name == name).unwrap();
        let text = flavour.manifest("1.2.3").unwrap().to_json();
        let manifest = ImageManifest::from_json(text.as_bytes()).unwrap();
        let interface = Stage1Interface::from_manifest(&manifest).unwrap();
        (manifest, interface)
    }

    #[test]
    fn stage0_reads_what_the_default_flavour_asks_for() {
        let (manifest, found) = declared("nspawn");
        assert_eq!(manifest.name.as_str(), "coreos.com/rkt/stage1-nspawn");
        assert_eq!(manifest.label("version"), Some("1.2.3"));
        assert_eq!((manifest.label("os"), manifest.label("arch")), (Some("linux"), Some("amd64")));
        assert_eq!((found.run.as_str(), found.version), ("run", InterfaceVersion(6)));
        assert_eq!(found.enter.as_deref(), Some("enter"));
        assert_eq!((found.gc.as_deref(), found.stop.as_deref()), (Some("gc"), Some("stop")));
        assert_eq!(found.aliases, ["coreos", "host", "src"]);
        assert_eq!((found.app_roots, found.root), (AppRoots::Layers, RootSharing::Shared));
        assert_eq!(found.network, Network::Contained);
    }

    #[test]
    fn stage0_reads_that_fly_lives_in_the_hosts_network() {
        let (manifest, found) = declared("fly");
        assert_eq!(manifest.name.as_str(), "coreos.com/rkt/stage1-fly");
        assert_eq!((found.version, found.network), (InterfaceVersion(5), Network::Host));
        assert_eq!((found.app_roots, found.root), (AppRoots::Layers, RootSharing::Shared));
        assert_eq!(found.aliases, Vec::<String>::new());
    }

    #[test]
    fn stage0_reads_that_a_machine_takes_images_of_file_systems() {
        let (manifest, found) = declared("kvm");
        assert_eq!(manifest.name.as_str(), "coreos.com/rkt/stage1-kvm");
        assert_eq!((found.version, found.network), (InterfaceVersion(6), Network::Contained));
        assert_eq!((found.app_roots, found.root), (AppRoots::Erofs, RootSharing::Shared));
        // What is written there is gone with it.
        assert_eq!(found.export.as_deref(), Some("export"));
    }

    #[test]
    fn tables_are_sorted_and_names_are_unique() {
        for flavour in FLAVOURS {
            assert!(flavour.entrypoints.is_sorted_by(|a, b| a.name < b.name), "{}", flavour.name);
            assert!(flavour.extras.is_sorted_by(|a, b| a.name < b.name), "{}", flavour.name);
            assert!(flavour.annotations.is_sorted_by(|a, b| a.0 < b.0), "{}", flavour.name);
        }
        assert!(FLAVOURS.is_sorted_by(|a, b| a.name < b.name));
    }
}
