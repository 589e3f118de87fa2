//! The distribution's kernel for clouds: nothing to build, and modules to load.

use super::package::{self, Package};
use super::shelf::{Shelf, key};
use super::{bzimage, elf, modules};
use crate::error::{At, TaskError};
use crate::say;
use crate::setup::{self, Need};
use crate::workspace::call;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Depends on the current version of the kernel, whose name has the version in it.
const META: &str = "linux-image-cloud-amd64";
/// To be raised when something below changes what is made.
const RECIPE: &str = "1";
const DEPMOD: &str = "/usr/sbin/depmod";
/// What a pod needs; what these need themselves is found. A kernel may have some of them built in.
const MODULES: [&str; 8] = [
    "virtio_mmio",
    "virtio_blk",
    "vmw_vsock_virtio_transport",
    "virtio_rng",
    "virtiofs",
    "overlay",
    // EROFS asks for it by what it computes, which no list of dependencies says.
    "crc32c_generic",
    "erofs",
];

const NEEDS: [Need; 6] = [
    Need { what: "apt-get", package: "apt" },
    Need { what: DEPMOD, package: "kmod" },
    Need { what: "lz4", package: "lz4" },
    Need { what: "xz", package: "xz-utils" },
    Need { what: "zstd", package: "zstd" },
    Need { what: "gzip", package: "gzip" },
];

/// Takes it out of its package unless that was done; its folder.
pub(super) fn provide() -> Result<PathBuf, TaskError> {
    setup::install(&NEEDS, "unpacking a kernel needs")?;
    let shelf = Shelf::of_user()?;
    let wanted = MODULES.join(" ");
    let name = |image: &Package| {
        let key = key(&[
            ("recipe", RECIPE),
            ("version", &image.version),
            ("package", &image.sha256),
            ("modules", &wanted),
        ]);
        format!("stock-{key}")
    };
    if let Some(found) = shelf.find(&name(&image()?)) {
        return Ok(found);
    }
    package::renew_lists();
    let image = image()?;
    let name = name(&image);
    if let Some(found) = shelf.find(&name) {
        return Ok(found);
    }
    say::title(&format!("unpacking {} {}", image.name, image.version));
    shelf.make(&name, |out, scratch| unpack(&image, out, scratch))
}

/// The package of the kernel itself.
fn image() -> Result<Package, TaskError> {
    let meta = Package::current(META)?;
    let name = meta.leads_to("linux-image-").ok_or_else(|| {
        TaskError::Missing(format!("the package {META} depends on no kernel's package"))
    })?;
    Package::current(name)
}

fn unpack(image: &Package, out: &Path, scratch: &Path) -> Result<(), TaskError> {
    let root = scratch.join("package");
    image.unpack(&root)?;
    let release = image.name.trim_start_matches("linux-image-");
    let packed = root.join("boot").join(format!("vmlinuz-{release}"));
    take_kernel(&packed, &out.join("vmlinux"), scratch)?;
    call(Command::new(DEPMOD).arg("-b").arg(&root).arg(release))?;
    let tree = Modules { tree: root.join("lib/modules").join(release) };
    tree.copy(&out.join("modules"))
}

/// Writes the ELF file that a bzImage holds.
fn take_kernel(image: &Path, to: &Path, scratch: &Path) -> Result<(), TaskError> {
    let bad = |problem: &str| TaskError::Output {
        program: "dpkg-deb".to_owned(),
        problem: format!("{}: {problem}", image.display()),
    };
    let bytes = fs::read(image).at("read", image)?;
    let packed = bzimage::packed(&bytes).map_err(bad)?;
    let payload = scratch.join("payload");
    fs::write(&payload, packed.bytes).at("write", &payload)?;
    unpack_file(packed.packing.program(), &payload, to)?;
    let kernel = fs::read(to).at("read", to)?;
    if kernel.len() != packed.size {
        return Err(bad(&format!("{} bytes instead of {}", kernel.len(), packed.size)));
    }
    elf::pvh_entry(&kernel).map(drop).ok_or_else(|| bad("the kernel has no PVH entry"))
}

fn unpack_file(program: &str, from: &Path, to: &Path) -> Result<(), TaskError> {
    let input = File::open(from).at("read", from)?;
    let output = File::create(to).at("write", to)?;
    call(Command::new(program).arg("-dc").stdin(Stdio::from(input)).stdout(Stdio::from(output)))
}

/// A kernel's folder of modules, with an index.
struct Modules {
    tree: PathBuf,
}

impl Modules {
    fn index(&self, name: &str) -> Result<String, TaskError> {
        let path = self.tree.join(name);
        fs::read_to_string(&path).at("read", path)
    }

    /// Writes those that a pod needs, and their order.
    fn copy(&self, to: &Path) -> Result<(), TaskError> {
        fs::create_dir_all(to).at("make", to)?;
        let (dependencies, builtin) = (self.index("modules.dep")?, self.index("modules.builtin")?);
        let order = modules::order(&dependencies, &builtin, &MODULES)
            .map_err(|name| TaskError::Missing(format!("the kernel has no module {name}")))?;
        let mut list = String::new();
        for path in order {
            let name = format!("{}.ko", modules::name(path));
            self.copy_one(Path::new(path), &to.join(&name))?;
            list.push_str(&name);
            list.push('\n');
        }
        let path = to.join("ORDER");
        fs::write(&path, list).at("write", path)
    }

    fn copy_one(&self, path: &Path, to: &Path) -> Result<(), TaskError> {
        let from = self.tree.join(path);
        match path.extension().and_then(OsStr::to_str) {
            Some("xz") => unpack_file("xz", &from, to)?,
            Some("zst") => unpack_file("zstd", &from, to)?,
            _ => drop(fs::copy(&from, to).at("copy", &from)?),
        }
        let bytes = fs::read(to).at("read", to)?;
        let plain = modules::unsigned(&bytes).ok_or_else(|| TaskError::Output {
            program: "dpkg-deb".to_owned(),
            problem: format!("{} is no module, or its signature is not whole", from.display()),
        })?;
        fs::write(to, plain).at("write", to)
    }
}
