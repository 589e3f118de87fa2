//! The one app of a pod: what its folder says.

use crate::error::FlyError;
use appc::{ImageManifest, PodManifest};
use stage1_abi::{PodDir, pod_dir};
use stage2::mounts::{self, Duplicates, Habits, Unfilled};
use stage2::spec::{CapabilityRule, SeccompRule, Switches};
use stage2::{AppSpec, MountPlan, RootFiles};
use sys::mount::Depth;

/// The app.
#[derive(Debug)]
pub struct FlyApp {
    /// What it asks for.
    pub spec: AppSpec,
    /// Its volumes.
    pub plan: MountPlan,
    /// Its files.
    pub files: RootFiles,
    /// Whether ports of the host were asked for.
    pub forwards: bool,
}

impl FlyApp {
    /// Reads it. Isolators are not applied by this flavour, so none is refused either.
    ///
    /// # Errors
    /// The pod has another number of apps, or something is malformed.
    pub fn read(dir: &PodDir) -> Result<Self, FlyError> {
        let bytes =
            dir.read(pod_dir::MANIFEST)?.ok_or_else(|| bad("the pod manifest", "is missing"))?;
        let pod = PodManifest::from_json(&bytes)
            .map_err(|error| bad("the pod manifest", &error.to_string()))?;
        let [app] = pod.apps.as_slice() else { return Err(FlyError::Apps(pod.apps.len())) };
        let name = app.name.as_str();
        let what = format!("the image manifest of app {name:?}");
        let bytes = dir
            .read(&PodDir::app_file(name, "manifest"))?
            .ok_or_else(|| bad(&what, "is missing"))?;
        let image =
            ImageManifest::from_json(&bytes).map_err(|error| bad(&what, &error.to_string()))?;
        let switches = Switches { capabilities: CapabilityRule::All, seccomp: SeccompRule::Off };
        let spec = AppSpec::new(app, &image, switches)?;
        let habits = Habits {
            duplicates: Duplicates::LastWins,
            depth: Depth::Single,
            unfilled: Unfilled::Refused,
        };
        let plan = mounts::plan(app, &pod.volumes, habits)?;
        let files = match dir.app_layers(name)? {
            Some(lower) => RootFiles::Layers { lower, own: PodDir::app_folder(name).into() },
            None => RootFiles::Copy(PodDir::app_file(name, "rootfs").into()),
        };
        Ok(Self { spec, plan, files, forwards: !pod.ports.is_empty() })
    }
}

fn bad(what: &str, problem: &str) -> FlyError {
    FlyError::Manifest { what: what.to_owned(), problem: problem.to_owned() }
}
