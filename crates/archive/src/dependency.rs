//! Which images make up a tree, in which order, and what each whitelist lets through.

use appc::{Dependency, ImageId, ImageManifest};
use std::collections::BTreeSet;
use std::rc::Rc;

/// No chain of dependencies is longer.
const DEPTH: usize = 64;
/// No tree is rendered from more images, counting one that is reached twice as two.
const STEPS: usize = 1000;

/// Why no plan can be made; `E` is why an image was not found.
#[derive(Debug, thiserror::Error)]
pub enum PlanError<E: std::error::Error> {
    /// An image depends on itself.
    #[error("image {0} depends on itself")]
    Cycle(String),
    /// Too many images, or one below the other too often.
    #[error("image {0} has too many dependencies")]
    TooMany(String),
    /// A dependency is missing.
    #[error("dependency {name} of image {of}")]
    Missing {
        /// The image that depends.
        of: String,
        /// The image that is missing.
        name: String,
        /// Why.
        #[source]
        source: E,
    },
}

/// Finds the image that a dependency means.
pub type Lookup<'a, E> = dyn FnMut(&Dependency) -> Result<(ImageId, ImageManifest), E> + 'a;

/// A cleaned whitelist.
type List = Rc<BTreeSet<Vec<u8>>>;

/// One image of a plan.
#[derive(Debug, Clone)]
pub struct Step {
    /// The image.
    pub image: ImageId,
    own: Option<List>,
    above: Vec<List>,
}

impl Step {
    /// An image of which everything is taken.
    pub fn whole(image: ImageId) -> Self {
        Self { image, own: None, above: Vec::new() }
    }

    /// Whether something of this image comes into the tree. An image's own list does not filter its folders; the lists
    /// of the images that depend on it do.
    pub(crate) fn takes(&self, path: &[u8], is_dir: bool) -> bool {
        let own = is_dir || self.own.as_ref().is_none_or(|list| list.contains(path));
        own && self.above.iter().all(|list| list.contains(path))
    }
}

/// The images of a tree, the lowest first: later ones replace what earlier ones brought.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
}

/// Flattens the dependencies of an image, depth first, each before the image that needs it.
///
/// # Errors
/// See [`PlanError`].
pub fn plan<E: std::error::Error>(
    image: ImageId,
    manifest: &ImageManifest,
    lookup: &mut Lookup<'_, E>,
) -> Result<Plan, PlanError<E>> {
    let mut planner = Planner { steps: Vec::new(), path: Vec::new(), lists: Vec::new(), lookup };
    planner.add(image, manifest)?;
    Ok(Plan { steps: planner.steps })
}

struct Planner<'a, E> {
    steps: Vec<Step>,
    /// The images on the way down to the current one.
    path: Vec<ImageId>,
    /// Their whitelists.
    lists: Vec<List>,
    lookup: &'a mut Lookup<'a, E>,
}

impl<E: std::error::Error> Planner<'_, E> {
    fn add(&mut self, image: ImageId, manifest: &ImageManifest) -> Result<(), PlanError<E>> {
        let name = || manifest.name.to_string();
        if self.path.contains(&image) {
            return Err(PlanError::Cycle(name()));
        }
        if self.path.len() >= DEPTH || self.steps.len() >= STEPS {
            return Err(PlanError::TooMany(name()));
        }
        let own = (!manifest.path_whitelist.is_empty()).then(|| {
            Rc::new(manifest.path_whitelist.iter().map(|p| clean(p)).collect::<BTreeSet<_>>())
        });
        self.path.push(image.clone());
        let above = self.lists.clone();
        self.lists.extend(own.clone());
        for dependency in &manifest.dependencies {
            let found = (self.lookup)(dependency).map_err(|source| PlanError::Missing {
                of: name(),
                name: dependency.image_name.to_string(),
                source,
            })?;
            self.add(found.0, &found.1)?;
        }
        self.path.pop();
        self.lists.truncate(above.len());
        if self.steps.len() >= STEPS {
            return Err(PlanError::TooMany(name()));
        }
        self.steps.push(Step { image, own, above });
        Ok(())
    }
}

/// A path of a whitelist as entries have it: no slash at the ends, no dots; `..` ends at the root.
fn clean(path: &str) -> Vec<u8> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    parts.join("/").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn id(letter: char) -> ImageId {
        ImageId::parse(&format!("sha512-{}", letter.to_string().repeat(64))).unwrap()
    }

    fn manifest(name: char, dependencies: &str, whitelist: &[&str]) -> ImageManifest {
        let list: Vec<String> =
            dependencies.chars().map(|d| format!(r#"{{"imageName":"{d}"}}"#)).collect();
        let text = format!(
            r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"{name}","dependencies":[{}],"pathWhitelist":{whitelist:?}}}"#,
            list.join(",")
        );
        ImageManifest::from_json(text.as_bytes()).unwrap()
    }

    fn plan_of(images: &[(char, &str, &[&str])]) -> Result<Plan, PlanError<io::Error>> {
        let of = |name: char| {
            images.iter().find(|i| i.0 == name).map(|i| (id(i.0), manifest(i.0, i.1, i.2)))
        };
        let (root, first) = of('a').unwrap();
        plan(root, &first, &mut |d| {
            let name = d.image_name.as_str().chars().next().unwrap();
            of(name).ok_or_else(|| io::Error::other("not found"))
        })
    }

    fn order(plan: &Plan) -> String {
        plan.steps.iter().map(|s| s.image.hex().chars().next().unwrap()).collect()
    }

    #[test]
    fn dependencies_come_first_each_time() {
        let plan =
            plan_of(&[('a', "bc", &[]), ('b', "", &[]), ('c', "d", &[]), ('d', "", &[])]).unwrap();
        assert_eq!(order(&plan), "bdca");
        let plan =
            plan_of(&[('a', "bc", &[]), ('b', "d", &[]), ('c', "d", &[]), ('d', "", &[])]).unwrap();
        assert_eq!(order(&plan), "dbdca");
    }

    #[test]
    fn whitelists_hold_along_the_way_down() {
        let plan = plan_of(&[
            ('a', "bc", &["/x", "/../y"]),
            ('b', "", &["/x"]),
            ('c', "d", &["x", "/z"]),
            ('d', "", &[]),
        ])
        .unwrap();
        let [b, d, c, a] = &plan.steps[..] else { panic!() };
        assert!(b.takes(b"x", false) && !b.takes(b"y", false));
        assert!(d.takes(b"x", false) && !d.takes(b"z", false) && !d.takes(b"dir", true));
        assert!(c.takes(b"x", false) && !c.takes(b"y", false) && !c.takes(b"dir", true));
        assert!(a.takes(b"y", false) && a.takes(b"dir", true) && !a.takes(b"z", false));
    }

    #[test]
    fn circles_and_growth_are_refused() {
        assert!(matches!(plan_of(&[('a', "b", &[]), ('b', "a", &[])]), Err(PlanError::Cycle(_))));
        assert!(matches!(plan_of(&[('a', "a", &[])]), Err(PlanError::Cycle(_))));
        assert!(matches!(plan_of(&[('a', "b", &[])]), Err(PlanError::Missing { .. })));
        let wide = "bb";
        let images: Vec<(char, &str, &[&str])> = vec![
            ('a', wide, &[]),
            ('b', "cc", &[]),
            ('c', "dd", &[]),
            ('d', "ee", &[]),
            ('e', "ff", &[]),
        ];
        let deep = "0123456789";
        let mut all = images;
        all.push(('f', "00", &[]));
        let names: Vec<String> = deep.chars().map(|c| c.to_string().repeat(2)).collect();
        for (index, c) in deep.chars().enumerate() {
            all.push((c, names.get(index + 1).map_or("", String::as_str), &[]));
        }
        assert!(matches!(plan_of(&all), Err(PlanError::TooMany(_))));
    }
}
