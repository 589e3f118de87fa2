//! `licences`: what comes from others is compared with deny.toml: its licence, its source, its version, its name.

use crate::error::{At, TaskError};
use crate::metadata::{Metadata, Package};
use crate::workspace::Workspace;
use std::fs;

const FILE: &str = "deny.toml";

/// What deny.toml says, as far as this command enforces it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rules {
    /// Licences that are fine.
    allowed: Vec<String>,
    /// Packages that are not.
    banned: Vec<String>,
}

/// `cargo xtask licences`
pub(crate) fn run(workspace: &Workspace, _: &[String]) -> Result<(), TaskError> {
    let path = workspace.path(FILE);
    let text = fs::read_to_string(&path).at("read", &path)?;
    let rules = Rules::parse(&text);
    if rules.allowed.is_empty() {
        let problem = "lists no licence under [licenses] allow".to_owned();
        return Err(TaskError::Form { file: FILE, problem });
    }
    let metadata = Metadata::read(workspace)?;
    let mut found: Vec<String> =
        metadata.packages.iter().flat_map(|package| rules.judge(package)).collect();
    found.extend(metadata.members().flat_map(loose_versions));
    if found.is_empty() {
        return Ok(());
    }
    Err(TaskError::Broken { rule: "dependencies that deny.toml does not allow", found })
}

impl Rules {
    /// Reads the lists `allow` of `[licenses]` and `deny` of `[bans]`; other keys are for cargo-deny alone.
    fn parse(text: &str) -> Self {
        let mut rules = Self::default();
        let (mut section, mut list) = ("", "");
        for line in text.lines().map(|line| line.split('#').next().unwrap_or("").trim()) {
            if line.starts_with('[') && line.ends_with(']') && list.is_empty() {
                section = line;
                continue;
            }
            let rest = match line.split_once('=') {
                Some((key, value)) if list.is_empty() && value.trim().starts_with('[') => {
                    list = key.trim();
                    value
                }
                _ => line,
            };
            let first = rest.split('"').nth(1).map(str::to_owned);
            match (section, list) {
                ("[licenses]", "allow") => {
                    rules.allowed.extend(rest.split('"').skip(1).step_by(2).map(str::to_owned));
                }
                // { crate = "name", reason = ".." }: one a line.
                ("[bans]", "deny") => rules.banned.extend(first),
                _ => {}
            }
            if rest.ends_with(']') {
                list = "";
            }
        }
        rules
    }

    fn judge(&self, package: &Package) -> Vec<String> {
        let shown = format!("{} {}", package.name, package.version);
        let mut found = Vec::new();
        let licence = package.license.as_deref().unwrap_or("");
        if !Expression::new(licence).holds(&self.allowed) {
            found.push(format!("{shown}: licence {licence:?}"));
        }
        if package.source.as_ref().is_some_and(|source| !source.starts_with("registry+")) {
            found.push(format!("{shown}: not from a registry"));
        }
        if self.banned.contains(&package.name) {
            found.push(format!("{shown}: banned"));
        }
        found
    }
}

/// Versions of foreign packages that our own leave open.
fn loose_versions(package: &Package) -> Vec<String> {
    let exact = |req: &str| {
        req.trim_start_matches(['^', '=', '~']).split('.').filter(|part| !part.is_empty()).count()
            == 3
            && !req.contains('*')
    };
    let foreign = package.dependencies.iter().filter(|used| used.path.is_none());
    foreign
        .filter(|used| !exact(&used.req))
        .map(|used| {
            format!("{}: version {:?} of {} is not x.y.z", package.name, used.req, used.name)
        })
        .collect()
}

/// An SPDX expression, read from left to right: `AND` binds tighter than `OR`.
struct Expression(Vec<String>);

impl Expression {
    fn new(text: &str) -> Self {
        let spaced = text.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
        let mut words: Vec<String> = Vec::new();
        let mut exception = false;
        for word in spaced.split_whitespace() {
            // `A WITH B` is one licence of its own.
            match words.last_mut() {
                Some(last) if word == "WITH" || exception => {
                    last.push(' ');
                    last.push_str(word);
                }
                _ => words.push(word.to_owned()),
            }
            exception = word == "WITH";
        }
        words.reverse();
        Self(words)
    }

    /// Whether the licences that are fine are enough; what is malformed is not.
    fn holds(mut self, allowed: &[String]) -> bool {
        self.either(allowed) == Some(true) && self.0.is_empty()
    }

    fn either(&mut self, allowed: &[String]) -> Option<bool> {
        let mut value = self.both(allowed)?;
        while self.next_is("OR") {
            value |= self.both(allowed)?;
        }
        Some(value)
    }

    fn both(&mut self, allowed: &[String]) -> Option<bool> {
        let mut value = self.one(allowed)?;
        while self.next_is("AND") {
            value &= self.one(allowed)?;
        }
        Some(value)
    }

    fn one(&mut self, allowed: &[String]) -> Option<bool> {
        let word = self.0.pop()?;
        match word.as_str() {
            "(" => {
                let value = self.either(allowed)?;
                self.next_is(")").then_some(value)
            }
            "OR" | "AND" | ")" => None,
            _ => Some(allowed.contains(&word)),
        }
    }

    fn next_is(&mut self, word: &str) -> bool {
        let found = self.0.last().is_some_and(|next| next == word);
        if found {
            self.0.pop();
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Dependency;

    fn holds(text: &str) -> bool {
        let allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"];
        Expression::new(text).holds(&allowed.map(str::to_owned))
    }

    #[test]
    fn expressions_are_read_as_spdx_says() {
        for good in [
            "MIT",
            "GPL-3.0 OR MIT",
            "MIT/GPL-3.0",
            "GPL-3.0 OR MIT AND Apache-2.0",
            "(GPL-3.0 OR MIT) AND Apache-2.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
        ] {
            assert!(holds(good), "{good}");
        }
        for bad in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT OR Apache-2.0) AND GPL-3.0",
            "MIT WITH LLVM-exception",
            "MIT OR",
            "(MIT",
            "MIT MIT",
        ] {
            assert!(!holds(bad), "{bad}");
        }
    }

    #[test]
    fn two_lists_of_the_file_are_read() {
        let rules = Rules::parse(
            "[graph]\nallow = [\"X\"]\n[licenses]\nallow = [\n  \"MIT\", # a comment\n  \"ISC\",\n]\n\
             confidence = 0.9\n[bans]\nwildcards = \"deny\"\ndeny = [\n  { crate = \"tokio\", reason = \"r\" },\n]\n",
        );
        assert_eq!(rules.allowed, ["MIT", "ISC"]);
        assert_eq!(rules.banned, ["tokio"]);
    }

    #[test]
    fn each_rule_is_enforced() {
        let rules = Rules { allowed: vec!["MIT".into()], banned: vec!["tokio".into()] };
        let dependency = |req: &str, path: Option<&str>| Dependency {
            name: "used".into(),
            req: req.into(),
            kind: None,
            path: path.map(str::to_owned),
        };
        let package = Package {
            id: "id".into(),
            name: "tokio".into(),
            version: "1.0.0".into(),
            license: None,
            source: Some("git+https://example.com/x".into()),
            dependencies: vec![
                dependency("^1.2.3", None),
                dependency("*", Some("/here")),
                dependency("*", None),
                dependency("^1.2", None),
            ],
        };
        let found = rules.judge(&package);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(loose_versions(&package).len(), 2);
    }
}
