//! `dist`: what is installed. Static programs, built apart from the debug build so that the two keep their caches.

use crate::error::{At, TaskError};
use crate::kernel::{self, Kernel};
use crate::say;
use crate::workspace::{Workspace, call, read};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Without a target, `+crt-static` would also reach procedural macros, which must be shared objects.
const TARGET: &str = "x86_64-unknown-linux-gnu";
const BUILD: &str = "target/static";
const OUT: &str = "target/dist";
/// Everything in one file at a fixed address. Moving a program elsewhere at each start means to write into hundreds of
/// its pages, once for `rkt` and once for each entrypoint: a tenth of a pod's start. Stack, heap and mappings stay
/// at addresses of chance.
const FLAGS: &str = "-C target-feature=+crt-static -C relocation-model=static";
/// Packages whose programs are always built: `rkt`, and what packs the stage1 images.
const PACKAGES: [&str; 2] = ["stage0", "images"];

/// The flavour whose pods have a kernel of their own.
const MACHINE: &str = "kvm";

/// How much time the build may take for the sake of speed and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Link-time optimisation, as installed.
    Release,
    /// The same code, linked in seconds.
    Quick,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Quick => "quick",
        }
    }

    /// Takes `--quick` off the front of some arguments.
    pub(crate) fn take(words: &[String]) -> (Self, &[String]) {
        match words {
            [first, rest @ ..] if first == "--quick" => (Self::Quick, rest),
            _ => (Self::Release, words),
        }
    }
}

/// Which stage1 images are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavours {
    /// The one that `rkt` takes unless told otherwise.
    Usual,
    /// Those whose pods run on the host's kernel.
    Containers,
    /// All, with this kernel for those that have one of their own.
    All(Kernel),
}

impl Flavours {
    /// Their names, each with the packages of its programs.
    fn packages(self) -> &'static [(&'static str, &'static [&'static str])] {
        const ALL: [(&str, &[&str]); 3] = [
            ("nspawn", &["stage1-nspawn"]),
            ("fly", &["stage1-fly"]),
            (MACHINE, &["stage1-kvm", "fs-server", "guest-init"]),
        ];
        match self {
            Self::Usual => &ALL[..1],
            Self::Containers => &ALL[..2],
            Self::All(_) => &ALL,
        }
    }
}

/// `cargo xtask dist [--quick] [--kernel=stock]`
pub(crate) fn run(workspace: &Workspace, words: &[String]) -> Result<(), TaskError> {
    let (profile, rest) = Profile::take(words);
    let (kernel, []) = Kernel::take(rest) else {
        let usage = "usage: cargo xtask dist [--quick] [--kernel=stock]";
        return Err(TaskError::Usage(usage.to_owned()));
    };
    for path in build(workspace, profile, Flavours::All(kernel))? {
        let size = fs::metadata(&path).at("read", &path)?.len();
        let shown = path.strip_prefix(workspace.root()).unwrap_or(&path);
        say::line(&format!("{:>9} {}", size, shown.display()));
    }
    Ok(())
}

/// Builds and installs; the installed files.
pub(crate) fn build(
    workspace: &Workspace,
    profile: Profile,
    flavours: Flavours,
) -> Result<Vec<PathBuf>, TaskError> {
    let kernel = match flavours {
        Flavours::All(kernel) => Some(kernel::provide(workspace, kernel)?),
        Flavours::Usual | Flavours::Containers => None,
    };
    let programs = Programs::build(workspace, profile, flavours)?;
    let out = workspace.path(OUT);
    fs::create_dir_all(&out).at("make", &out)?;
    let installed = out.join("rkt");
    install(&programs.path("rkt"), &installed)?;
    let images: Vec<String> = flavours
        .packages()
        .iter()
        .map(|(name, _)| match &kernel {
            Some(folder) if *name == MACHINE => with_kernel(folder),
            _ => (*name).to_owned(),
        })
        .collect();
    let packed = programs.pack(&out, &images)?;
    Ok([installed].into_iter().chain(packed).collect())
}

/// The flavour that has a kernel of its own, as the packing program is told of it.
pub(crate) fn with_kernel(folder: &Path) -> String {
    format!("{MACHINE}={}", folder.display())
}

/// Static programs that were built.
#[derive(Debug)]
pub(crate) struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Builds `rkt`, the programs of these flavours, and what packs them.
    pub(crate) fn build(
        workspace: &Workspace,
        profile: Profile,
        flavours: Flavours,
    ) -> Result<Self, TaskError> {
        let words =
            ["build", "--profile", profile.name(), "--target", TARGET, "--target-dir", BUILD];
        let mut cargo = workspace.cargo(&words);
        let of_flavours = flavours.packages().iter().flat_map(|(_, packages)| packages.iter());
        let packages = PACKAGES.iter().chain(of_flavours).flat_map(|package| ["-p", package]);
        cargo.args(["--bins", "--locked"]).args(packages).env("RUSTFLAGS", FLAGS);
        call(&mut cargo)?;
        Ok(Self { folder: workspace.path(BUILD).join(TARGET).join(profile.name()) })
    }

    /// Where one of them lies.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Packs stage1 images into a folder; their files.
    pub(crate) fn pack(&self, out: &Path, images: &[String]) -> Result<Vec<PathBuf>, TaskError> {
        let mut pack = Command::new(self.path("images"));
        pack.arg(&self.folder).arg(out).arg(version(&self.path("rkt"))?).args(images);
        Ok(read(&mut pack)?.lines().map(PathBuf::from).collect())
    }
}

/// The version that the built program claims: the one it looks for in its stage1 images.
fn version(rkt: &Path) -> Result<String, TaskError> {
    let printed = read(Command::new(rkt).arg("version"))?;
    let found = printed.lines().find_map(|line| line.strip_prefix("rkt Version: "));
    found.map(|version| version.trim().to_owned()).ok_or_else(|| TaskError::Output {
        program: "rkt version".to_owned(),
        problem: printed.clone(),
    })
}

/// Puts a program in its place. One that runs keeps its file; one that is the same keeps its name's.
fn install(from: &Path, to: &Path) -> Result<(), TaskError> {
    let bytes = fs::read(from).at("read", from)?;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let hidden = to.with_extension("new");
    fs::write(&hidden, bytes).at("write", &hidden)?;
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o755)).at("change", &hidden)?;
    fs::rename(&hidden, to).at("replace", to)
}
