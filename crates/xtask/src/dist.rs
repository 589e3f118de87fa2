//! `dist`: what is installed. Static programs, built apart from the debug build so that the two keep their caches.

use crate::error::{At, TaskError};
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
/// Packages whose programs are built. The last one packs those of the others.
const PACKAGES: [&str; 4] = ["stage0", "stage1-fly", "stage1-nspawn", "images"];

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

/// `cargo xtask dist [--quick]`
pub(crate) fn run(workspace: &Workspace, words: &[String]) -> Result<(), TaskError> {
    let (profile, []) = Profile::take(words) else {
        return Err(TaskError::Usage("usage: cargo xtask dist [--quick]".to_owned()));
    };
    for path in build(workspace, profile)? {
        let size = fs::metadata(&path).at("read", &path)?.len();
        let shown = path.strip_prefix(workspace.root()).unwrap_or(&path);
        say::line(&format!("{:>9} {}", size, shown.display()));
    }
    Ok(())
}

/// Builds and installs; the installed files.
pub(crate) fn build(workspace: &Workspace, profile: Profile) -> Result<Vec<PathBuf>, TaskError> {
    let words = ["build", "--profile", profile.name(), "--target", TARGET, "--target-dir", BUILD];
    let mut cargo = workspace.cargo(&words);
    cargo.args(["--bins", "--locked"]).args(PACKAGES.iter().flat_map(|package| ["-p", package]));
    cargo.env("RUSTFLAGS", FLAGS);
    call(&mut cargo)?;
    let programs = workspace.path(BUILD).join(TARGET).join(profile.name());
    let out = workspace.path(OUT);
    fs::create_dir_all(&out).at("make", &out)?;
    let rkt = programs.join("rkt");
    let installed = out.join("rkt");
    install(&rkt, &installed)?;
    let mut pack = Command::new(programs.join("images"));
    let packed = read(pack.arg(&programs).arg(&out).arg(version(&rkt)?))?;
    Ok([installed].into_iter().chain(packed.lines().map(PathBuf::from)).collect())
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
