//! The pod that is to run: what its folder and its arguments say, resolved as far as that goes without its roots.

use crate::error::RunError;
use crate::network;
use appc::{ImageManifest, PodManifest};
use pod_net::ports::Forward;
use stage1_abi::{DnsMode, PodDir, RunArgs, Switch, pod_dir};
use stage2::kernel_fs::KernelPaths;
use stage2::mounts::{self, Duplicates, Habits, Unfilled};
use stage2::spec::{CapabilityRule, SeccompRule, Switches};
use stage2::{AppSpec, MountPlan, RootFiles};
use sys::mount::Depth;

/// One app.
#[derive(Debug)]
pub struct PodApp {
    /// What it asks for.
    pub spec: AppSpec,
    /// Its volumes.
    pub plan: MountPlan,
    /// Its files.
    pub files: RootFiles,
}

/// How the app is talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialogue {
    /// Its outputs are copied, its input is empty.
    Copied,
    /// It has the caller's terminal, or the caller's input where that is none.
    Interactive,
}

/// A pod.
#[derive(Debug)]
pub struct Pod {
    /// Its apps, at least one.
    pub apps: Vec<PodApp>,
    /// Its UUID, as text.
    pub uuid: String,
    /// Its host name.
    pub hostname: String,
    /// Whether kernel paths are protected.
    pub kernel_paths: KernelPaths,
    /// How its app is talked to.
    pub dialogue: Dialogue,
    /// Where `/etc/resolv.conf` comes from.
    pub resolv: DnsMode,
    /// Where `/etc/hosts` comes from.
    pub hosts: DnsMode,
    /// Ports of the host that shall lead to it, where it has a network of its own.
    pub forwards: Vec<Forward>,
}

impl Pod {
    /// Reads the pod.
    ///
    /// # Errors
    /// Something is malformed, or is asked for and not there.
    pub fn read(dir: &PodDir, args: &RunArgs) -> Result<Self, RunError> {
        absent(args)?;
        let has = |switch| args.switches.contains(&switch);
        let rule = Switches {
            capabilities: if has(Switch::DisableCapabilities) {
                CapabilityRule::All
            } else {
                CapabilityRule::Limited
            },
            seccomp: if has(Switch::DisableSeccomp) {
                SeccompRule::Off
            } else {
                SeccompRule::Wanted
            },
        };
        let manifest = manifest(dir)?;
        let mut apps = Vec::with_capacity(manifest.apps.len());
        for app in &manifest.apps {
            let name = app.name.as_str();
            let image = image(dir, name)?;
            let spec = AppSpec::new(app, &image, rule)?;
            let habits = Habits {
                duplicates: Duplicates::FirstWins,
                depth: Depth::Recursive,
                unfilled: Unfilled::Implicit { seeded: spec.seeded },
            };
            let plan = mounts::plan(app, &manifest.volumes, habits)
                .map_err(|source| RunError::Plan { app: name.to_owned(), source })?;
            for point in &plan.implicit {
                log::warn!(
                    "no volume specified for mount point {point:?}, implicitly creating an \"empty\" volume. This \
                     volume will be removed when the pod is garbage-collected."
                );
            }
            let files = match dir.app_layers(name)? {
                Some(lower) => RootFiles::Layers { lower, own: PodDir::app_folder(name).into() },
                None => RootFiles::Copy(PodDir::app_file(name, "rootfs").into()),
            };
            apps.push(PodApp { spec, plan, files });
        }
        if apps.is_empty() {
            return Err(bad("the pod manifest", "pod must contain at least one application"));
        }
        let interactive = has(Switch::Interactive);
        if interactive && apps.len() > 1 {
            return Err(bad("--interactive", "interactive option only supports one image"));
        }
        Ok(Self {
            apps,
            uuid: args.uuid.to_string(),
            hostname: args.hostname.clone().unwrap_or_else(|| format!("rkt-{}", args.uuid)),
            kernel_paths: if has(Switch::DisablePaths) {
                KernelPaths::Open
            } else {
                KernelPaths::Protected
            },
            dialogue: if interactive { Dialogue::Interactive } else { Dialogue::Copied },
            resolv: args.resolv,
            hosts: args.hosts,
            forwards: network::forwards(&manifest)?,
        })
    }
}

/// The pod's manifest.
///
/// # Errors
/// It is missing or malformed.
pub fn manifest(dir: &PodDir) -> Result<PodManifest, RunError> {
    let bytes =
        dir.read(pod_dir::MANIFEST)?.ok_or_else(|| bad("the pod manifest", "is missing"))?;
    PodManifest::from_json(&bytes).map_err(|error| bad("the pod manifest", &error.to_string()))
}

/// The manifest of an app's image.
///
/// # Errors
/// It is missing or malformed.
pub fn image(dir: &PodDir, app: &str) -> Result<ImageManifest, RunError> {
    let what = format!("the image manifest of app {app:?}");
    let bytes =
        dir.read(&PodDir::app_file(app, "manifest"))?.ok_or_else(|| bad(&what, "is missing"))?;
    ImageManifest::from_json(&bytes).map_err(|error| bad(&what, &error.to_string()))
}

fn bad(what: &str, problem: &str) -> RunError {
    RunError::Manifest { what: what.to_owned(), problem: problem.to_owned() }
}

/// What no stage1 has yet.
fn absent(args: &RunArgs) -> Result<(), RunError> {
    let refuse = |what: &str| Err(RunError::NotThere(format!("{what} is not there yet")));
    if args.mds_token.is_some() {
        return refuse("the metadata service (--mds-register)");
    }
    if args.switches.contains(&Switch::Mutable) {
        return refuse("a mutable pod");
    }
    Ok(())
}
