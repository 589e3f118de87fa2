//! What a stage1 image says of itself, in the annotations of its manifest.

use appc::ImageManifest;
use std::fmt;

/// Path of the entrypoint that becomes the pod.
pub const RUN: &str = "coreos.com/rkt/stage1/run";
/// Path of the entrypoint that runs a command inside an app.
pub const ENTER: &str = "coreos.com/rkt/stage1/enter";
/// Path of the entrypoint that undoes what a dead pod left on the host.
pub const GC: &str = "coreos.com/rkt/stage1/gc";
/// Path of the entrypoint that ends a running pod.
pub const STOP: &str = "coreos.com/rkt/stage1/stop";
/// Says whether a pod with these arguments could run here, before there is one: called with the arguments of `run`, in no
/// pod's folder. It fails with the reason.
pub const CHECK: &str = "coreos.com/rkt/stage1/check";
/// Path of the entrypoint that says whether the networks of a running pod are as they were left: called in the pod's folder
/// with the arguments of `gc`. It fails with the reason.
pub const CHECK_NETWORKS: &str = "coreos.com/rkt/stage1/check-networks";
/// Path of the entrypoint that gives the files of an app of a running pod, where they are not to be had from outside: called
/// in the pod's folder with [`ExportArgs`](crate::ExportArgs), it writes a tar to its standard output, with `rootfs` and
/// members below it as an image has them, every folder before what it holds; volumes and kernel file systems are not in it.
/// It fails with the reason. stage0 believes nothing of what comes. A flavour without it exports pods that have exited.
pub const EXPORT: &str = "coreos.com/rkt/stage1/export";
/// The version of the interface, a decimal number; missing means 1.
pub const INTERFACE_VERSION: &str = "coreos.com/rkt/stage1/interface-version";
/// Comma-separated short names this image answers to.
pub const ALIASES: &str = "coreos.com/rkt/stage1/aliases";
/// How app roots are handed over, see [`AppRoots`].
pub const APP_ROOTS: &str = "coreos.com/rkt/stage1/app-roots";
/// Whether the stage1 root is mounted for each pod, see [`RootSharing`].
pub const ROOT: &str = "coreos.com/rkt/stage1/root";
/// In which network the flavour lives, see [`Network`].
pub const NETWORK: &str = "coreos.com/rkt/stage1/network";
/// Marks a pod whose apps may change while it runs; `true` or `false`, always written into pod manifests.
pub const MUTABLE: &str = "coreos.com/rkt/stage1/mutable";

/// A version of the stage0-stage1 interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct InterfaceVersion(pub u32);

impl InterfaceVersion {
    /// What an image that says nothing speaks.
    pub const FIRST: Self = Self(1);
    /// The newest version that this stage0 speaks.
    pub const CURRENT: Self = Self(6);
}

impl fmt::Display for InterfaceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How stage0 hands the roots of the apps over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AppRoots {
    /// Mounted by stage0 below the pod's stage1 root, on the host.
    #[default]
    Mounted,
    /// As paths of layer trees; the stage1 mounts them in a namespace of its own.
    Layers,
    /// As paths of images of file systems (EROFS), one a layer tree; the stage1 attaches them as disks.
    Erofs,
}

/// Whether each pod needs a stage1 root of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RootSharing {
    /// Each pod gets an overlay or a copy, since the stage1 writes below its root.
    #[default]
    Private,
    /// The stage1 writes nothing there: entrypoints run from the tree store.
    Shared,
}

/// In which network the pods of a flavour live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// In one that stage1 makes, as `--net` says.
    #[default]
    Contained,
    /// In the host's, whatever `--net` says.
    Host,
}

/// An annotation of a stage1 image that cannot be honoured.
#[derive(Debug, thiserror::Error)]
pub enum BadInterface {
    /// The interface version is not a number.
    #[error("stage1 image has a bad interface version {0:?}")]
    Version(String),
    /// One of the annotations has a value this program does not know.
    #[error("stage1 image asks for {annotation}={value:?}, which is not known here")]
    Value {
        /// The annotation's name.
        annotation: &'static str,
        /// What it says.
        value: String,
    },
    /// An entrypoint is not an absolute, clean path.
    #[error("stage1 image has a bad entrypoint path {0:?}")]
    Path(String),
    /// The image has no entrypoint that could run a pod.
    #[error("not a stage1 image: its manifest has no {RUN} annotation")]
    NoRun,
}

/// All that stage0 knows of a stage1 image. Entrypoints are paths below the stage1 root, without a leading slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage1Interface {
    /// The interface version it speaks.
    pub version: InterfaceVersion,
    /// Becomes the pod.
    pub run: String,
    /// Enters an app, where the flavour can.
    pub enter: Option<String>,
    /// Cleans up after a pod, where there is something to clean.
    pub gc: Option<String>,
    /// Stops a pod, where the flavour can.
    pub stop: Option<String>,
    /// Says whether a pod could run, where that depends on the host.
    pub check: Option<String>,
    /// Says whether a running pod's networks are as they were left, where the flavour has made them.
    pub check_networks: Option<String>,
    /// Gives the files of an app of a running pod, where they can be had in no other way.
    pub export: Option<String>,
    /// Further short names of the image.
    pub aliases: Vec<String>,
    /// How it wants app roots.
    pub app_roots: AppRoots,
    /// Whether its root is shared between pods.
    pub root: RootSharing,
    /// Where its pods' network is.
    pub network: Network,
}

impl Stage1Interface {
    /// Reads the annotations of a stage1 image's manifest.
    ///
    /// # Errors
    /// See [`BadInterface`].
    pub fn from_manifest(manifest: &ImageManifest) -> Result<Self, BadInterface> {
        let find = |wanted: &str| {
            let mut all = manifest.annotations.iter();
            all.find(|a| a.name.as_str() == wanted).map(|a| a.value.as_str())
        };
        let entry = |wanted: &str| find(wanted).map(entrypoint).transpose();
        let version = match find(INTERFACE_VERSION) {
            None => InterfaceVersion::FIRST,
            Some(text) => match text.parse::<u32>() {
                Ok(number) if number > 0 => InterfaceVersion(number),
                _ => return Err(BadInterface::Version(text.to_owned())),
            },
        };
        let bad =
            |annotation, value: &str| BadInterface::Value { annotation, value: value.to_owned() };
        Ok(Self {
            version,
            run: entry(RUN)?.ok_or(BadInterface::NoRun)?,
            enter: entry(ENTER)?,
            gc: entry(GC)?,
            stop: entry(STOP)?,
            check: entry(CHECK)?,
            check_networks: entry(CHECK_NETWORKS)?,
            export: entry(EXPORT)?,
            aliases: find(ALIASES)
                .map(|list| {
                    list.split(',').map(|a| a.trim().to_owned()).filter(|a| !a.is_empty()).collect()
                })
                .unwrap_or_default(),
            app_roots: match find(APP_ROOTS) {
                None | Some("mounted") => AppRoots::Mounted,
                Some("layers") => AppRoots::Layers,
                Some("erofs") => AppRoots::Erofs,
                Some(other) => return Err(bad(APP_ROOTS, other)),
            },
            root: match find(ROOT) {
                None | Some("private") => RootSharing::Private,
                Some("shared") => RootSharing::Shared,
                Some(other) => return Err(bad(ROOT, other)),
            },
            network: match find(NETWORK) {
                None | Some("contained") => Network::Contained,
                Some("host") => Network::Host,
                Some(other) => return Err(bad(NETWORK, other)),
            },
        })
    }
}

/// Accepts `/run` and `run`, refuses anything that could lead out of the stage1 root.
fn entrypoint(text: &str) -> Result<String, BadInterface> {
    let path = text.trim_start_matches('/');
    let clean = !path.is_empty()
        && !path.contains('\0')
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if clean { Ok(path.to_owned()) } else { Err(BadInterface::Path(text.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(annotations: &[(&str, &str)]) -> ImageManifest {
        let list: Vec<String> =
            annotations.iter().map(|(n, v)| format!(r#"{{"name":"{n}","value":"{v}"}}"#)).collect();
        let text = format!(
            r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/stage1","annotations":[{}]}}"#,
            list.join(",")
        );
        ImageManifest::from_json(text.as_bytes()).unwrap()
    }

    #[test]
    fn defaults_are_those_of_an_old_foreign_stage1() {
        let found = Stage1Interface::from_manifest(&manifest(&[(RUN, "/run")])).unwrap();
        assert_eq!(found.version, InterfaceVersion::FIRST);
        assert_eq!((found.run.as_str(), found.stop, found.export), ("run", None, None));
        assert_eq!(found.app_roots, AppRoots::Mounted);
        assert_eq!(found.root, RootSharing::Private);
        assert_eq!(found.network, Network::Contained);
    }

    #[test]
    fn what_is_declared_is_read() {
        let found = Stage1Interface::from_manifest(&manifest(&[
            (RUN, "/bin/run"),
            (EXPORT, "/bin/export"),
            (INTERFACE_VERSION, "6"),
            (ALIASES, "coreos, host,"),
            (APP_ROOTS, "layers"),
            (ROOT, "shared"),
            (NETWORK, "host"),
        ]))
        .unwrap();
        assert_eq!(found.version, InterfaceVersion(6));
        assert_eq!(found.export.as_deref(), Some("bin/export"));
        assert_eq!(found.aliases, ["coreos", "host"]);
        assert_eq!(
            (found.app_roots, found.root, found.network),
            (AppRoots::Layers, RootSharing::Shared, Network::Host)
        );
    }

    #[test]
    fn all_ways_to_hand_roots_over_are_known() {
        for (text, wanted) in [
            ("mounted", AppRoots::Mounted),
            ("layers", AppRoots::Layers),
            ("erofs", AppRoots::Erofs),
        ] {
            let manifest = manifest(&[(RUN, "/run"), (APP_ROOTS, text)]);
            assert_eq!(Stage1Interface::from_manifest(&manifest).unwrap().app_roots, wanted);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            vec![],
            vec![(RUN, "/../run")],
            vec![(RUN, "/")],
            vec![(RUN, "/run"), (INTERFACE_VERSION, "x")],
            vec![(RUN, "/run"), (APP_ROOTS, "floating")],
            vec![(RUN, "/run"), (EXPORT, "../export")],
        ] {
            Stage1Interface::from_manifest(&manifest(&bad)).unwrap_err();
        }
    }
}
