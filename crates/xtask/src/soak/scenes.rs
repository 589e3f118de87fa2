//! What is interrupted: each command that changes the disk, with what must be there before it.

use crate::error::{At, TaskError};
use crate::ground::{COLLECT, Ground, MACHINE};
use crate::workspace::call;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a pod may take to start, also on an emulated machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// A command in its setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scene {
    /// An App Container Image into an empty data folder.
    Fetch,
    /// An image of two layers from a layout into an empty data folder.
    FetchLayers,
    /// A first pod: images stored, no trees, no stage1.
    Prepare,
    /// A pod of two apps, one of them of layers; all trees are there.
    Run,
    /// A pod of the flavour that isolates nothing: images stored, no trees, no stage1.
    RunFly,
    Stop,
    /// One pod that is over and one that was prepared.
    Gc,
    ImageGc,
    /// A first pod in a virtual machine: images stored, nothing derived of them.
    PrepareMachine,
    /// A pod of two apps with a volume, in a virtual machine; all that is derived is there.
    RunMachine,
    EnterMachine,
    /// The files of a pod that runs in a virtual machine.
    ExportMachine,
    StopMachine,
    GcMachine,
}

/// Those of machines, for hosts that have a KVM.
pub(super) const MACHINES: [Scene; 6] = [
    Scene::PrepareMachine,
    Scene::RunMachine,
    Scene::EnterMachine,
    Scene::ExportMachine,
    Scene::StopMachine,
    Scene::GcMachine,
];

/// Those of any host.
pub(super) const CONTAINERS: [Scene; 8] = [
    Scene::Fetch,
    Scene::FetchLayers,
    Scene::Prepare,
    Scene::Run,
    Scene::RunFly,
    Scene::Stop,
    Scene::Gc,
    Scene::ImageGc,
];

/// The images of all scenes.
#[derive(Debug)]
pub(super) struct Cast {
    quick: String,
    sleeper: String,
    layers: String,
}

impl Cast {
    /// Makes them.
    pub(super) fn make(ground: &Ground) -> Result<Self, TaskError> {
        let quick = ground.image("quick", &["/bin/true"])?;
        let sleeper = ground.image("sleeper", &["/bin/sleep", "1000"])?;
        let layout = ground.word("layout");
        let image = format!("{layout}:twice");
        let bundle = ground.word("layers");
        umoci(&["init", "--layout", &layout])?;
        umoci(&["new", "--image", &image])?;
        umoci(&["unpack", "--image", &image, &bundle])?;
        let root = format!("{bundle}/rootfs");
        call(Command::new("cp").args(["-a", &ground.word("root/."), &root]))?;
        umoci(&["repack", "--refresh-bundle", "--image", &image, &bundle])?;
        // A file more and one less.
        let path = ground.top.join("layers/rootfs");
        fs::write(path.join("more"), "more\n").at("write", &path)?;
        fs::remove_file(path.join("bin/echo")).at("delete", path)?;
        umoci(&["repack", "--image", &image, &bundle])?;
        umoci(&["config", "--image", &image, "--config.cmd", "/bin/true"])?;
        Ok(Self { quick, sleeper, layers: format!("oci:{image}") })
    }

    /// Every image there is.
    pub(super) fn all(&self) -> [&str; 3] {
        [&self.quick, &self.sleeper, &self.layers]
    }
}

impl Scene {
    /// Brings about what the command needs; the words of the command.
    pub(super) fn set(self, ground: &Ground, cast: &Cast) -> Result<Vec<String>, TaskError> {
        let [nspawn, fly] = crate::ground::FLAVOURS.map(|flavour| ground.stage1(flavour));
        let kvm = ground.stage1(MACHINE);
        if matches!(self, Self::Fetch | Self::FetchLayers | Self::Prepare | Self::RunFly)
            || self == Self::PrepareMachine
        {
            empty(ground)?;
        }
        if !matches!(self, Self::Fetch | Self::FetchLayers) {
            for image in cast.all() {
                ground.rkt(&["fetch", "--pull-policy=new", image])?;
            }
        }
        if matches!(self, Self::Run | Self::ImageGc) {
            // The trees are there already, and no pod needs them.
            ground.rkt(&["prepare", &nspawn, &cast.quick, &cast.layers])?;
            ground.rkt(&COLLECT)?;
        }
        if self == Self::RunMachine {
            ground.rkt(&["prepare", &kvm, &cast.quick, &cast.layers])?;
            ground.rkt(&COLLECT)?;
        }
        Ok(match self {
            Self::Fetch => ground.words(&["fetch", &cast.quick]),
            Self::FetchLayers => ground.words(&["fetch", &cast.layers]),
            Self::Prepare => ground.words(&["prepare", &nspawn, &cast.quick]),
            Self::Run => ground.words(&["run", &nspawn, "--net=none", &cast.quick, &cast.layers]),
            Self::RunFly => ground.words(&["run", &fly, "--net=host", &cast.quick]),
            Self::Stop => ground.words(&["stop", &sleeping(ground, &nspawn, cast)?]),
            Self::Gc => {
                ground.rkt(&["run", &nspawn, "--net=none", &cast.quick])?;
                ground.rkt(&["prepare", &nspawn, &cast.layers])?;
                ground.words(&COLLECT)
            }
            Self::ImageGc => ground.words(&["image", "gc", "--grace-period=0s"]),
            Self::PrepareMachine => ground.words(&["prepare", &kvm, &cast.quick]),
            Self::RunMachine => {
                let volume = format!("--volume=v,kind=host,source={}", ground.word("config"));
                let words = ["run", &kvm, "--net=none", &volume, &cast.quick];
                let mount = "--mount=volume=v,target=/tmp";
                ground.words(&[&words[..], &[mount, &cast.layers]].concat())
            }
            Self::EnterMachine => {
                let uuid = sleeping(ground, &kvm, cast)?;
                ground.rkt(&["status", "--wait-ready", &uuid])?;
                ground.words(&["enter", &uuid, "/bin/true"])
            }
            Self::ExportMachine => {
                let uuid = sleeping(ground, &kvm, cast)?;
                ground.rkt(&["status", "--wait-ready", &uuid])?;
                ground.words(&["export", "--overwrite", &uuid, &ground.word("exported.aci")])
            }
            Self::StopMachine => ground.words(&["stop", &sleeping(ground, &kvm, cast)?]),
            Self::GcMachine => {
                ground.rkt(&["run", &kvm, "--net=none", &cast.quick])?;
                ground.rkt(&["prepare", &kvm, &cast.layers])?;
                ground.words(&COLLECT)
            }
        })
    }
}

fn umoci(words: &[&str]) -> Result<(), TaskError> {
    let mut umoci = Command::new("umoci");
    call(umoci.args(words).stdout(Stdio::null()).stderr(Stdio::null()))
}

/// Nothing is stored any more.
pub(super) fn empty(ground: &Ground) -> Result<(), TaskError> {
    let mut remove = Command::new("rm");
    call(remove.args(["-rf", "--one-file-system"]).arg(ground.data()))
}

/// Starts a pod that stays; its UUID.
fn sleeping(ground: &Ground, stage1: &str, cast: &Cast) -> Result<String, TaskError> {
    let file = ground.word("uuid");
    // It must not be a child of ours: who traces waits for all its children.
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$@\" > /dev/null 2>&1 &", "sh"]).stdin(Stdio::null());
    let save = format!("--uuid-file-save={file}");
    let words = ground.words(&["run", stage1, "--net=none", &save, &cast.sleeper]);
    drop(fs::remove_file(&file));
    call(shell.args(words).env(crate::ground::MARK, &ground.top))?;
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let uuid = fs::read_to_string(&file).unwrap_or_default().trim().to_owned();
        if uuid.len() == 36 && ground.data().join("pods/run").join(&uuid).join("pid").exists() {
            return Ok(uuid);
        }
        drop(Command::new("sleep").arg("0.02").status());
    }
    Err(TaskError::Missing("a pod that sleeps did not start in time".to_owned()))
}
