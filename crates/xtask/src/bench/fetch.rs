//! `bench fetch`: images of the corpus from a registry on loopback into a store, beside other tools and beside
//! `zcat | tar`, which is what unpacking costs when nothing is verified.

use super::engine::Engine;
use super::require;
use super::stopwatch::{Floor, Plan, Samples};
use super::verdict::Verdict;
use crate::error::{At, TaskError};
use crate::ground::Ground;
use crate::say;
use crate::workspace::{Workspace, call, read};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ROUNDS: usize = 3;
const PATIENCE: usize = 300;
/// One that nothing else here uses, so that another registry of the same corpus may run.
const PORT: &str = "5965";
/// Names are made of the corpus's own list; these are judged.
const ONE_LAYER: &str = "debian";
const MANY_FILES: &str = "manyfiles";
const LAYERS: &str = "layers20";
const FLAT: &str = "layers20-flat";

const OURS: &str = "rkt fetch";
const FLOOR: &str = "zcat | tar";
const TOOLS: &str = "skopeo, umoci";
const PODMAN: &str = "podman pull";

/// The corpus: a folder that was named, or the usual one.
pub(super) fn corpus(workspace: &Workspace, word: Option<&String>) -> Result<PathBuf, TaskError> {
    let folder = word.map_or_else(|| workspace.path("target/corpus"), PathBuf::from);
    let folder = std::path::absolute(&folder).at("find", &folder)?;
    if folder.join("corpus.tsv").exists() {
        return Ok(folder);
    }
    let shown = folder.display();
    Err(TaskError::Missing(format!(
        "there is no corpus in {shown}: make it with tests/corpus/make-corpus.sh \
         -s busybox,debian,python3,layers20,manyfiles {shown}"
    )))
}

/// Measures and judges.
pub(super) fn run(workspace: &Workspace, corpus: &Path) -> Result<(), TaskError> {
    require(&["skopeo", "umoci", "podman", "docker-registry", "jq"])?;
    let path = corpus.join("corpus.tsv");
    let text = fs::read_to_string(&path).at("read", &path)?;
    let images: Vec<&str> = text.lines().filter_map(|line| line.split('\t').next()).collect();
    let floor = Floor::build(workspace)?;
    let ground = Ground::make(workspace, "registry")?;
    let registry = Registry::start(workspace, corpus, &ground)?;
    let bench = Bench { workspace, corpus, floor };
    let mut verdict = Verdict::default();
    if images.contains(&LAYERS) && images.contains(&FLAT) {
        bench.layers(&mut verdict)?;
    }
    for image in &images {
        bench.image(image, &mut verdict)?;
    }
    registry.stop()?;
    ground.end()?;
    verdict.end()
}

struct Bench<'a> {
    workspace: &'a Workspace,
    corpus: &'a Path,
    floor: Floor,
}

impl Bench<'_> {
    fn measure(&self, plan: &Plan, place: Place, names: &[&str]) -> Result<Samples, TaskError> {
        let samples = self.floor.measure(plan, &place.ground.top)?;
        place.end()?;
        samples.show(names);
        Ok(samples)
    }

    fn image(&self, image: &str, verdict: &mut Verdict) -> Result<(), TaskError> {
        say::title(image);
        let place = Place::make(self.workspace, image)?;
        let before = place.before();
        let mut plan = Plan::new(ROUNDS, 2, PATIENCE);
        plan.add(FLOOR, place.least(self.corpus, image)?, Some(&before));
        plan.add(OURS, place.fetch(image), Some(&before));
        plan.add(TOOLS, place.tools(image)?, Some(&before));
        plan.add(PODMAN, place.podman(image), Some(&before));
        let samples = self.measure(&plan, place, &[FLOOR, OURS, TOOLS, PODMAN])?;
        let cpu = samples.ratio(OURS, FLOOR, |run| run.cpu);
        let what = format!("{image}: CPU / zcat | tar");
        match image {
            ONE_LAYER => verdict.most(&what, cpu, 1.0, None),
            MANY_FILES => verdict.most(&what, cpu, 1.5, None),
            _ => Verdict::show(&what, cpu),
        }
        for other in [TOOLS, PODMAN] {
            let ratio = samples.ratio(OURS, other, |run| run.cpu);
            Verdict::show(&format!("{image}: CPU / {other}"), ratio);
            let ratio = samples.ratio(OURS, other, |run| run.wall);
            Verdict::show(&format!("{image}: wall / {other}"), ratio);
        }
        // The window of gzip is far below the measure's own step.
        verdict.most(&format!("{image}: peak MiB"), samples.most(OURS, |run| run.peak), 32.0, None);
        Ok(())
    }

    /// The same tree in twenty layers and in one.
    fn layers(&self, verdict: &mut Verdict) -> Result<(), TaskError> {
        say::title("twenty layers and one");
        let place = Place::make(self.workspace, "layers")?;
        let before = place.before();
        let mut plan = Plan::new(ROUNDS + 2, 2, PATIENCE);
        for image in [FLAT, LAYERS] {
            plan.add(image, place.fetch(image), Some(&before));
        }
        let samples = self.measure(&plan, place, &[FLAT, LAYERS])?;
        let ratio = samples.ratio(LAYERS, FLAT, |run| run.wall);
        verdict.most("layers20: wall / layers20-flat", ratio, 1.0, None);
        Ok(())
    }
}

/// Where one image is unpacked by all.
struct Place {
    engine: Engine,
    ground: Ground,
}

impl Place {
    fn make(workspace: &Workspace, name: &str) -> Result<Self, TaskError> {
        let ground = Ground::make(workspace, name)?;
        let path = ground.top.join("scripts");
        fs::create_dir(&path).at("make", path)?;
        Ok(Self { engine: Engine::new(&ground), ground })
    }

    fn end(self) -> Result<(), TaskError> {
        drop(self.engine);
        self.ground.end()
    }

    /// Every command starts with an empty store. What was there is only moved: deleting files would make it dear to
    /// create the next ones.
    fn before(&self) -> String {
        let folder = |name| self.ground.word(name);
        let (old, all) =
            (folder("old"), [folder("data"), folder("out"), folder("engine")].join(" "));
        format!(
            "{}; mkdir -p {old}; now=$(mktemp -d {old}/XXXXXX); for folder in {all}; do \
             if [ -e $folder ]; then mv $folder $now; fi; done; sync",
            self.engine.release()
        )
    }

    fn fetch(&self, image: &str) -> Vec<String> {
        self.ground.words(&["fetch", &format!("docker://127.0.0.1:{PORT}/{image}:latest")])
    }

    /// A shell script; the words that run it.
    fn script(&self, name: &str, text: &str) -> Result<Vec<String>, TaskError> {
        let path = self.ground.top.join("scripts").join(name);
        fs::write(&path, text).at("write", &path)?;
        Ok(["sh", "-e"]
            .map(str::to_owned)
            .into_iter()
            .chain([path.display().to_string()])
            .collect())
    }

    /// Each layer into a folder of its own, nothing verified. Markers of what is gone are no files, and may even lie below
    /// one.
    fn least(&self, corpus: &Path, image: &str) -> Result<Vec<String>, TaskError> {
        let out = self.ground.word("out");
        let all = layers(corpus, image)?;
        let line = |(index, blob): (usize, &PathBuf)| {
            let tar = "tar --extract --preserve-permissions --numeric-owner --exclude='.wh.*'";
            let blob = blob.display();
            format!("mkdir {out}/{index}\nzcat {blob} | {tar} -C {out}/{index}\n")
        };
        let steps: String = all.iter().enumerate().map(line).collect();
        let text = format!("mkdir {out}\n{steps}");
        self.script(&format!("{image}-least"), &text)
    }

    fn tools(&self, image: &str) -> Result<Vec<String>, TaskError> {
        let out = self.ground.word("out");
        let text = format!(
            "skopeo copy -q --insecure-policy --src-tls-verify=false docker://127.0.0.1:{PORT}/{image}:latest oci:{out}:x\n\
             umoci unpack --image {out}:x {out}/bundle\n"
        );
        self.script(&format!("{image}-tools"), &text)
    }

    fn podman(&self, image: &str) -> Vec<String> {
        let image = format!("127.0.0.1:{PORT}/{image}:latest");
        self.engine.words(&["pull", "-q", "--tls-verify=false", &image])
    }
}

/// The blobs of an image's layers, the lowest first.
fn layers(corpus: &Path, image: &str) -> Result<Vec<PathBuf>, TaskError> {
    let layout = corpus.join("oci");
    let index = json(&layout.join("index.json"))?;
    let name = "/annotations/org.opencontainers.image.ref.name";
    let all = index.get("manifests").and_then(Value::as_array);
    let found = all.into_iter().flatten().find(|one| one.pointer(name).is_some_and(|n| n == image));
    let manifest = found.and_then(|one| blob(&layout, one));
    let form = || TaskError::Missing(format!("{image} is not in the corpus as corpus.tsv has it"));
    let manifest = json(&manifest.ok_or_else(form)?)?;
    let layers = manifest.get("layers").and_then(Value::as_array).ok_or_else(form)?;
    layers.iter().map(|layer| blob(&layout, layer).ok_or_else(form)).collect()
}

fn json(path: &Path) -> Result<Value, TaskError> {
    let text = fs::read_to_string(path).at("read", path)?;
    serde_json::from_str(&text).map_err(|error| TaskError::Output {
        program: format!("the maker of {}", path.display()),
        problem: error.to_string(),
    })
}

/// Where the blob of a descriptor lies.
fn blob(layout: &Path, descriptor: &Value) -> Option<PathBuf> {
    let (kind, hex) = descriptor.get("digest")?.as_str()?.split_once(':')?;
    Some(layout.join("blobs").join(kind).join(hex))
}

/// A registry with storage of its own that serves a corpus; stopped when dropped.
struct Registry {
    script: PathBuf,
    folder: PathBuf,
    stopped: bool,
}

impl Registry {
    fn start(workspace: &Workspace, corpus: &Path, ground: &Ground) -> Result<Self, TaskError> {
        let folder = ground.top.join("corpus");
        fs::create_dir(&folder).at("make", &folder)?;
        for name in ["oci", "corpus.tsv"] {
            let link = folder.join(name);
            symlink(corpus.join(name), &link).at("make", link)?;
        }
        let script = workspace.path("tests/corpus/serve-corpus.sh");
        let registry = Self { script, folder, stopped: false };
        say::title("filling a registry");
        let mut start = registry.command("start");
        // What outlives the script must not hold a pipe of ours.
        call(start.arg(PORT).stdin(Stdio::null()))?;
        Ok(registry)
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.script);
        command.arg(verb).arg(&self.folder);
        command
    }

    fn stop(mut self) -> Result<(), TaskError> {
        self.stopped = true;
        read(&mut self.command("stop")).map(drop)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if !self.stopped
            && let Err(error) = read(&mut self.command("stop"))
        {
            say::problem(&error);
        }
    }
}
