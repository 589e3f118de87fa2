//! An image's app section and the user's wishes, merged to an app of a pod.

use super::error::PrepareError;
use super::request::{AppRequest, Everyone};
use appc::json::Json;
use appc::{
    AcName, App, EnvVar, ImageId, ImageManifest, Isolator, Mount, RuntimeApp, RuntimeImage, arches,
    is_env_name,
};
use std::path::{Component, Path, PathBuf};

/// What separates the parts of an image name, the last of which names the app.
const APP_NAME_SEPARATOR: char = '/';

/// The one operating system whose programs run here.
const SYSTEM: &str = "linux";
/// How an image that was made elsewhere notes the two halves of its command line.
const ENTRYPOINT: &str = "appc.io/docker/entrypoint";
const CMD: &str = "appc.io/docker/cmd";
/// Either of these stands for an app's capabilities.
const CAPABILITIES: [&str; 2] =
    ["os/linux/capabilities-retain-set", "os/linux/capabilities-remove-set"];

/// The app that these wishes make of an image.
pub(super) fn app(
    image: &ImageManifest,
    request: &AppRequest,
    everyone: &Everyone,
) -> Result<RuntimeApp, PrepareError> {
    check_labels(image)?;
    let mut section = match (&image.app, &request.exec) {
        (Some(section), _) => section.clone(),
        (None, Some(exec)) => App::running(vec![exec.clone()]),
        (None, None) => return Err(PrepareError::NoApp(request.image.clone())),
    };
    section.exec = Some(exec(image, &section, request));
    if section.exec.as_ref().is_none_or(|words| words.first().is_none_or(String::is_empty)) {
        return Err(PrepareError::EmptyExec(image.name.to_string()));
    }
    if let Some(user) = &request.user {
        section.user.clone_from(user);
    }
    if let Some(group) = &request.group {
        section.group.clone_from(group);
    }
    if let Some(gids) = &request.supplementary_gids {
        section.supplementary_gids.clone_from(gids);
    }
    if let Some(directory) = &request.working_directory {
        section.working_directory.clone_from(directory);
    }
    environment(&mut section.environment, request, everyone);
    for isolator in &request.isolators {
        replace(&mut section.isolators, isolator);
    }
    section.user_annotations.extend(request.user_annotations.clone());
    section.user_labels.extend(request.user_labels.clone());
    Ok(RuntimeApp {
        name: match &request.name {
            Some(name) => name.clone(),
            None => app_name(image)?,
        },
        image: runtime_image(image, &request.image),
        app: Some(section),
        read_only_root_fs: request.read_only.unwrap_or(false),
        mounts: mounts(&request.mounts, &everyone.mounts),
        annotations: request.annotations.clone(),
    })
}

/// How a pod names the image of an app.
pub(super) fn runtime_image(image: &ImageManifest, id: &ImageId) -> RuntimeImage {
    RuntimeImage {
        name: Some(image.name.clone()),
        id: Some(id.clone()),
        labels: image.labels.clone(),
    }
}

/// The last part of the image's name, as far as it may be an app's.
fn app_name(image: &ImageManifest) -> Result<AcName, PrepareError> {
    let name = image.name.as_str();
    let last = name.rsplit(APP_NAME_SEPARATOR).next().unwrap_or(name);
    AcName::sanitise(last).map_err(|source| PrepareError::Name { name: name.to_owned(), source })
}

/// What runs: a program of the user's replaces all that the image says; arguments come after it, or take the place of
/// the half that an image made elsewhere means to be replaced.
fn exec(image: &ImageManifest, section: &App, request: &AppRequest) -> Vec<String> {
    let own = section.exec.clone().unwrap_or_default();
    let mut words = match &request.exec {
        Some(program) => vec![program.clone()],
        None if request.args.is_empty() => own,
        None => {
            let half = |name| {
                let json = Json::parse(image.annotation(name)?.as_bytes()).ok()?;
                let Json::List(words) = json else { return None };
                words
                    .iter()
                    .map(|word| word.as_text().map(str::to_owned))
                    .collect::<Option<Vec<_>>>()
            };
            let (entrypoint, cmd) =
                (half(ENTRYPOINT).unwrap_or_default(), half(CMD).unwrap_or_default());
            let whole: Vec<String> = entrypoint.iter().chain(&cmd).cloned().collect();
            if !cmd.is_empty() && whole == own { entrypoint } else { own }
        }
    };
    words.extend(request.args.iter().cloned());
    words
}

/// What is nearest to the app wins: its own flag, then what every app gets by flag, by file, then the image, and the
/// caller's variables where nobody says anything.
fn environment(own: &mut Vec<EnvVar>, request: &AppRequest, everyone: &Everyone) {
    for variable in everyone.env_files.iter().chain(&everyone.set_env).chain(&request.environment) {
        match own.iter_mut().find(|known| known.name == variable.name) {
            Some(known) => known.value.clone_from(&variable.value),
            None => own.push(variable.clone()),
        }
    }
    for variable in everyone.inherited.iter().filter(|variable| is_env_name(&variable.name)) {
        if !own.iter().any(|known| known.name == variable.name) {
            own.push(variable.clone());
        }
    }
}

fn replace(isolators: &mut Vec<Isolator>, new: &Isolator) {
    let same = |name: &str| {
        let both = |names: &[&str]| names.contains(&name) && names.contains(&new.name.as_str());
        name == new.name || both(&CAPABILITIES)
    };
    isolators.retain(|isolator| !same(&isolator.name));
    isolators.push(new.clone());
}

/// An app's own mounts, then those of every app whose place is free. Two of one kind at one place both stay: which of
/// them is seen is the flavour's to say.
fn mounts(own: &[Mount], every: &[Mount]) -> Vec<Mount> {
    let taken: Vec<PathBuf> = own.iter().map(|mount| clean(&mount.path)).collect();
    let free = every.iter().filter(|mount| !taken.contains(&clean(&mount.path)));
    own.iter().chain(free).cloned().collect()
}

/// An absolute path without `.`, `..` and double slashes.
pub(super) fn clean(path: &str) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

/// An image must say for what it was made.
pub(super) fn check_labels(image: &ImageManifest) -> Result<(), PrepareError> {
    let os = image.label("os").ok_or(PrepareError::MissingLabel("os"))?;
    let arch = image.label("arch").ok_or(PrepareError::MissingLabel("arch"))?;
    let bad = |label, value: &str, known: &[&str]| PrepareError::Label {
        label,
        value: value.to_owned(),
        known: known.join(", "),
    };
    if os != SYSTEM {
        return Err(bad("os", os, &[SYSTEM]));
    }
    let known = arches(os).unwrap_or_default();
    if known.contains(&arch) { Ok(()) } else { Err(bad("arch", arch, known)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(app: &str, more: &str) -> ImageManifest {
        let text = format!(
            r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/My_app","labels":[
            {{"name":"os","value":"linux"}},{{"name":"arch","value":"amd64"}}]{app}{more}}}"#
        )
        .replace("My_app", "my.app");
        ImageManifest::from_json(text.as_bytes()).unwrap()
    }

    const APP: &str = r#","app":{"exec":["/bin/x","a"],"user":"1","group":"2","environment":[
        {"name":"A","value":"image"},{"name":"B","value":"image"}],
        "isolators":[{"name":"os/linux/capabilities-remove-set","value":{"set":["CAP_KILL"]}}]}"#;

    fn request() -> AppRequest {
        AppRequest::of(ImageId::from_hash(&[7; 64]))
    }

    fn var(name: &str, value: &str) -> EnvVar {
        EnvVar { name: name.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn exec_and_arguments() {
        let docker = r#","annotations":[{"name":"appc.io/docker/entrypoint","value":"[\"/bin/x\"]"},
            {"name":"appc.io/docker/cmd","value":"[\"a\"]"}]"#;
        for (more, exec, args, wanted) in [
            ("", None, vec![], vec!["/bin/x", "a"]),
            ("", None, vec!["b"], vec!["/bin/x", "a", "b"]),
            ("", Some("/y"), vec!["b"], vec!["/y", "b"]),
            (docker, None, vec!["b"], vec!["/bin/x", "b"]),
            (docker, None, vec![], vec!["/bin/x", "a"]),
            (docker, Some("/y"), vec![], vec!["/y"]),
        ] {
            let mut wish = request();
            wish.exec = exec.map(str::to_owned);
            wish.args = args.into_iter().map(str::to_owned).collect();
            let app = app(&image(APP, more), &wish, &Everyone::default()).unwrap();
            assert_eq!(app.app.unwrap().exec.unwrap(), wanted);
            assert_eq!(app.name.as_str(), "my-app");
        }
        let no_app = app(&image("", ""), &request(), &Everyone::default()).unwrap_err();
        assert!(no_app.to_string().contains("has no app section and --exec"), "{no_app}");
    }

    #[test]
    fn the_nearest_variable_wins() {
        let mut wish = request();
        wish.environment = vec![var("A", "app")];
        let everyone = Everyone {
            set_env: vec![var("A", "flag"), var("B", "flag")],
            env_files: vec![var("A", "file"), var("B", "file"), var("C", "file")],
            inherited: vec![var("C", "host"), var("D", "host"), var("BASH_FUNC_x%%", "host")],
            mounts: Vec::new(),
        };
        let app = app(&image(APP, ""), &wish, &everyone).unwrap().app.unwrap();
        let seen: Vec<_> =
            app.environment.iter().map(|v| (v.name.as_str(), v.value.as_str())).collect();
        assert_eq!(seen, [("A", "app"), ("B", "flag"), ("C", "file"), ("D", "host")]);
    }

    #[test]
    fn one_set_of_capabilities() {
        let mut wish = request();
        wish.isolators =
            vec![Isolator::set("os/linux/capabilities-retain-set", &["CAP_CHOWN".to_owned()])];
        let app = app(&image(APP, ""), &wish, &Everyone::default()).unwrap().app.unwrap();
        assert_eq!(app.isolators, wish.isolators);
    }

    #[test]
    fn an_apps_own_mount_beats_that_of_all() {
        let mount = |text: &str| Mount::parse_flag(text).unwrap();
        let own = [mount("volume=a,target=/x/../y")];
        let every = [mount("volume=b,target=/y/"), mount("volume=c,target=/z")];
        let names: Vec<_> =
            mounts(&own, &every).iter().map(|mount| mount.volume.to_string()).collect();
        assert_eq!(names, ["a", "c"]);
    }

    #[test]
    fn labels_are_looked_at() {
        for (labels, text) in [
            (r#"{"name":"os","value":"linux"}"#, "missing arch label in the image manifest"),
            ("", "missing os label in the image manifest"),
        ] {
            let manifest = format!(
                r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"a","labels":[{labels}]}}"#
            );
            let manifest = ImageManifest::from_json(manifest.as_bytes()).unwrap();
            assert_eq!(check_labels(&manifest).unwrap_err().to_string(), text);
        }
    }
}
