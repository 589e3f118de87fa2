//! The checks that `--insecure-options` switches off, as one value that travels from the command line to whoever checks.

/// Which protections the user gave up; everything is in force by default.
#[expect(
    clippy::struct_excessive_bools,
    reason = "one independent switch a word of --insecure-options"
)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Insecure {
    /// Image signatures are not asked for.
    pub image: bool,
    /// Certificates of https servers are not verified.
    pub tls: bool,
    /// Images may come over plain http.
    pub http: bool,
    /// Public keys may come over plain http.
    pub pubkey: bool,
    /// Apps keep every capability.
    pub capabilities: bool,
    /// Sensitive paths of /proc and /sys are neither hidden nor read-only.
    pub paths: bool,
    /// No system call filter is installed.
    pub seccomp: bool,
}

/// Why a list of insecure options cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadInsecure {
    /// A word that is not one of [`Insecure::WORDS`].
    #[error("unknown option {0:?} (the options are {list})", list = Insecure::WORDS.join(", "))]
    Unknown(String),
    /// One word written twice.
    #[error("duplicated option {0:?}")]
    Duplicate(String),
}

impl Insecure {
    /// Every word of the list, in the order that help shows.
    pub const WORDS: [&'static str; 12] = [
        "none",
        "image",
        "tls",
        "ondisk",
        "http",
        "pubkey",
        "capabilities",
        "paths",
        "seccomp",
        "all-fetch",
        "all-run",
        "all",
    ];

    /// Reads a comma-separated list; letter case does not matter, an empty list is none.
    pub fn parse(list: &str) -> Result<Self, BadInsecure> {
        let mut found = Self::default();
        if list.is_empty() {
            return Ok(found);
        }
        let lower = list.to_ascii_lowercase();
        let mut seen: Vec<&str> = Vec::new();
        for word in lower.split(',') {
            if seen.contains(&word) {
                return Err(BadInsecure::Duplicate(word.to_owned()));
            }
            seen.push(word);
            found.apply(word)?;
        }
        Ok(found)
    }

    /// What either of two lists gives up.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            image: self.image || other.image,
            tls: self.tls || other.tls,
            http: self.http || other.http,
            pubkey: self.pubkey || other.pubkey,
            capabilities: self.capabilities || other.capabilities,
            paths: self.paths || other.paths,
            seccomp: self.seccomp || other.seccomp,
        }
    }

    fn apply(&mut self, word: &str) -> Result<(), BadInsecure> {
        match word {
            // Trees are not hashed at start, so there is no check left that `ondisk` could lift.
            "none" | "ondisk" => {}
            "image" => self.image = true,
            "tls" => self.tls = true,
            "http" => self.http = true,
            "pubkey" => self.pubkey = true,
            "capabilities" => self.capabilities = true,
            "paths" => self.paths = true,
            "seccomp" => self.seccomp = true,
            "all-fetch" => self.fetch(),
            "all-run" => self.run(),
            "all" => {
                self.fetch();
                self.run();
            }
            other => return Err(BadInsecure::Unknown(other.to_owned())),
        }
        Ok(())
    }

    fn fetch(&mut self) {
        (self.image, self.tls, self.http, self.pubkey) = (true, true, true, true);
    }

    fn run(&mut self) {
        (self.capabilities, self.paths, self.seccomp) = (true, true, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lists() {
        let none = Insecure::default();
        let image = Insecure { image: true, ..none };
        let fetch = Insecure { image: true, tls: true, http: true, pubkey: true, ..none };
        let run = Insecure { capabilities: true, paths: true, seccomp: true, ..none };
        let all = Insecure { capabilities: true, paths: true, seccomp: true, ..fetch };
        for (list, meaning) in [
            ("", none),
            ("none", none),
            ("ondisk", none),
            ("image", image),
            ("image,ondisk,none", image),
            ("IMAGE", image),
            ("http,tls", Insecure { http: true, tls: true, ..none }),
            ("all-fetch", fetch),
            ("all-run", run),
            ("all", all),
            ("all-fetch,all-run", all),
        ] {
            assert_eq!(Insecure::parse(list), Ok(meaning), "{list}");
        }
    }

    #[test]
    fn lists_add_up() {
        let or = |one, other| Insecure::parse(one).unwrap().or(Insecure::parse(other).unwrap());
        assert_eq!(or("all-fetch", "all-run"), Insecure::parse("all").unwrap());
        assert_eq!(or("image,seccomp", "none"), Insecure::parse("image,seccomp").unwrap());
    }

    #[test]
    fn refuses_unknown_and_repeated_words() {
        assert!(matches!(Insecure::parse("foo"), Err(BadInsecure::Unknown(word)) if word == "foo"));
        assert!(
            matches!(Insecure::parse("image,"), Err(BadInsecure::Unknown(word)) if word.is_empty())
        );
        let twice = Insecure::parse("image,http,Image").unwrap_err();
        assert_eq!(twice.to_string(), "duplicated option \"image\"");
    }
}
