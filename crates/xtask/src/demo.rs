//! `demo`: from a fresh clone to a running pod. The image is made of this machine's own programs, so nothing is fetched.

use crate::dist::{self, Flavours, Profile};
use crate::error::{At, TaskError};
use crate::say;
use crate::setup::present;
use crate::workspace::{Workspace, call, read};
use nix::unistd::Uid;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PROGRAMS: [&str; 6] = ["sh", "ls", "cat", "uname", "id", "sleep"];
/// What runs in the pod.
const SCRIPT: &str = "echo \"Hello from a pod on $(uname -s) $(uname -r).\"
echo \"I am process $$ of user $(id -u), on host $(uname -n), and my root holds: $(echo /*)\"
echo \"My network:\"
cat /proc/net/dev";
const MANIFEST: &str = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/demo",
"labels":[{"name":"version","value":"1"},{"name":"os","value":"linux"},{"name":"arch","value":"amd64"}],
"app":{"exec":["/bin/sh","/hello"],"user":"0","group":"0"}}
"#;

/// `cargo xtask demo [--quick]`
pub(crate) fn run(workspace: &Workspace, words: &[String]) -> Result<(), TaskError> {
    let (profile, []) = Profile::take(words) else {
        return Err(TaskError::Usage("usage: cargo xtask demo [--quick]".to_owned()));
    };
    if !Uid::effective().is_root() && !present("sudo") {
        let text = "starting a pod needs root, and there is no sudo here".to_owned();
        return Err(TaskError::Missing(text));
    }
    say::title("building rkt and its usual stage1 image");
    dist::build(workspace, profile, Flavours::Usual)?;
    let scratch = Scratch::make()?;
    let image = scratch.path.join("demo.aci");
    say::title("packing an image of this machine's programs");
    pack(&scratch.path.join("image"), &image)?;
    let rkt = Rkt { program: workspace.path("target/dist/rkt"), data: scratch.path.join("data") };
    let image = image.to_string_lossy();
    rkt.show(&["--insecure-options=image", "run", "--net=none", &image])?;
    rkt.show(&["list"])?;
    rkt.show(&["image", "list"])?;
    rkt.show(&["gc", "--grace-period=0s"])?;
    scratch.remove()
}

/// The program under a data folder of its own.
struct Rkt {
    program: PathBuf,
    data: PathBuf,
}

impl Rkt {
    /// Runs it, after saying how.
    fn show(&self, words: &[&str]) -> Result<(), TaskError> {
        let mut command = as_root(&self.program);
        command.arg(format!("--dir={}", self.data.display())).args(words);
        let all: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        let (program, space) = (command.get_program().to_string_lossy(), " ");
        say::title(&format!("{program}{space}{}", all.join(space)));
        call(&mut command)
    }
}

/// A call of a program as root.
fn as_root(program: &Path) -> Command {
    if Uid::effective().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    command
}

/// A folder for one demonstration, removed with all that root left in it.
struct Scratch {
    path: PathBuf,
    removed: bool,
}

impl Scratch {
    fn make() -> Result<Self, TaskError> {
        let path = std::env::temp_dir().join(format!("rkt-demo-{}", std::process::id()));
        fs::create_dir(&path).at("make", &path)?;
        Ok(Self { path, removed: false })
    }

    fn remove(mut self) -> Result<(), TaskError> {
        self.removed = true;
        call(&mut self.removal())
    }

    /// Never beyond this file system: what is still mounted there is not ours to empty.
    fn removal(&self) -> Command {
        let mut command = as_root(Path::new("rm"));
        command.args(["-rf", "--one-file-system"]).arg(&self.path);
        command
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.removed
            && let Err(error) = call(&mut self.removal())
        {
            say::problem(&error);
        }
    }
}

/// Fills a folder with a manifest and a root, and packs it: the form that App Container images have.
fn pack(folder: &Path, image: &Path) -> Result<(), TaskError> {
    let root = folder.join("rootfs");
    for name in ["bin", "etc", "tmp"] {
        let path = root.join(name);
        fs::create_dir_all(&path).at("make", path)?;
    }
    let own: Option<Vec<PathBuf>> = PROGRAMS.iter().map(|name| find(name)).collect();
    match (own, find("busybox")) {
        (Some(programs), _) => fill(&root, &programs)?,
        (None, Some(busybox)) => fill(&root, &[busybox])?,
        (None, None) => {
            let text = format!("the demonstration needs {} or busybox", PROGRAMS.join(", "));
            return Err(TaskError::Missing(text));
        }
    }
    write(&root.join("hello"), SCRIPT)?;
    write(&root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n")?;
    write(&root.join("etc/group"), "root:x:0:\n")?;
    write(&folder.join("manifest"), MANIFEST)?;
    let mut tar = Command::new("tar");
    tar.args(["--create", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--file"]);
    call(tar.arg(image).arg("--directory").arg(folder).args(["manifest", "rootfs"]))
}

/// Copies programs and what they load. A single one is taken to be busybox, which is all of them.
fn fill(root: &Path, programs: &[PathBuf]) -> Result<(), TaskError> {
    let mut loaded = BTreeSet::new();
    for (name, program) in PROGRAMS.iter().zip(programs.iter().cycle()) {
        loaded.extend(libraries(program)?);
        copy(program, &root.join("bin").join(name))?;
    }
    for library in loaded {
        let inside = library.strip_prefix("/").unwrap_or(&library);
        copy(&library, &root.join(inside))?;
    }
    Ok(())
}

/// A program in the search path.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The shared objects of a program, the loader among them; none if it is static.
fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>, TaskError> {
    let mut ldd = Command::new("ldd");
    match read(ldd.arg(program).env("LC_ALL", "C").stderr(Stdio::null())) {
        Ok(text) => Ok(paths(&text)),
        // That is how ldd says that a program is static.
        Err(TaskError::Program { .. }) => Ok(BTreeSet::new()),
        Err(other) => Err(other),
    }
}

/// `name => /path (address)` and `/path (address)`.
fn paths(ldd: &str) -> BTreeSet<PathBuf> {
    let path =
        |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    ldd.lines().filter_map(path).collect()
}

fn copy(from: &Path, to: &Path) -> Result<(), TaskError> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).at("make", folder)?;
    }
    fs::copy(from, to).at("copy", from)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).at("change", to)
}

fn write(path: &Path, text: &str) -> Result<(), TaskError> {
    fs::write(path, text).at("write", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_both_forms_of_line() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/libc.so.6 (0x0000)\n\t/lib64/ld.so (0x1)\n";
        let found: Vec<_> = paths(text).into_iter().collect();
        assert_eq!(found, [Path::new("/lib/libc.so.6"), Path::new("/lib64/ld.so")]);
        assert_eq!(paths("\tstatically linked\n"), BTreeSet::new());
    }

    #[test]
    fn an_image_holds_a_manifest_and_a_shell_with_its_libraries() {
        let scratch = Scratch::make().unwrap();
        let image = scratch.path.join("x.aci");
        pack(&scratch.path.join("image"), &image).unwrap();
        let list = read(Command::new("tar").arg("--list").arg("--file").arg(&image)).unwrap();
        for name in ["manifest", "rootfs/", "rootfs/bin/sh", "rootfs/hello"] {
            assert!(list.lines().any(|line| line == name), "{name} is not in {list}");
        }
        scratch.remove().unwrap();
        assert!(!image.exists());
    }
}
