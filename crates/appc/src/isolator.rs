//! Isolators: what a manifest asks of the executor for an app or a pod.

use crate::json::Json;
use crate::quantity::{BadQuantity, Quantity};
use crate::read::{self, ManifestError, bad};

/// A requirement as it stands in a manifest; unknown ones are kept as they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Isolator {
    /// Its name, such as `resource/memory`.
    pub name: String,
    /// Its value, of a shape that the name decides.
    pub value: Json,
}

/// What an isolator means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// At most this many thousandths of a core; `None` asks for nothing.
    Cpu(Option<u64>),
    /// At most this many bytes; `None` asks for nothing.
    Memory(Option<u64>),
    /// A weight of 2 to 262144.
    CpuShares(u64),
    /// -1000 to 1000.
    OomScoreAdj(i64),
    /// At most this many processes.
    Pids(u64),
    /// The bounding set is exactly this.
    CapsRetain(Vec<String>),
    /// The bounding set is the default set without these.
    CapsRemove(Vec<String>),
    /// Whether exec may gain privileges.
    NoNewPrivileges(bool),
    /// Only these system calls; others fail with the error, or kill.
    SeccompRetain(Vec<String>, Option<String>),
    /// All but these system calls.
    SeccompRemove(Vec<String>, Option<String>),
    /// Known to the specification, applied by nobody here.
    Unenforced,
    /// Not known: reported as ignored.
    Unknown,
}

/// An isolator whose value breaks the rules of its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadIsolator {
    /// The value has another shape.
    #[error("isolator {name}: {problem}")]
    Value {
        /// The isolator.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A quantity in it is none.
    #[error("isolator {name}")]
    Quantity {
        /// The isolator.
        name: String,
        /// What is wrong.
        #[source]
        source: BadQuantity,
    },
}

impl Isolator {
    /// `resource/memory` or `resource/cpu` with one limit.
    pub fn limit(name: &str, quantity: &Quantity) -> Self {
        let value = Json::from(quantity.as_str());
        Self {
            name: name.to_owned(),
            value: Json::object([("request", value.clone()), ("limit", value)]),
        }
    }

    /// An isolator whose value is a set of words.
    pub fn set(name: &str, words: &[String]) -> Self {
        let words: Vec<Json> = words.iter().map(|w| Json::from(w.as_str())).collect();
        Self { name: name.to_owned(), value: Json::object([("set", Json::List(words))]) }
    }

    /// An isolator whose value is a number.
    pub fn number(name: &str, value: i64) -> Self {
        Self { name: name.to_owned(), value: value.into() }
    }

    /// Checks the value and says what it means.
    ///
    /// # Errors
    /// See [`BadIsolator`].
    pub fn meaning(&self) -> Result<Meaning, BadIsolator> {
        let wrong = |problem| BadIsolator::Value { name: self.name.clone(), problem };
        let whole = |least: i64, most: i64, problem| match &self.value {
            Json::Number(n) => {
                n.as_i64().filter(|n| (least..=most).contains(n)).ok_or_else(|| wrong(problem))
            }
            _ => Err(wrong(problem)),
        };
        Ok(match self.name.as_str() {
            "resource/cpu" => Meaning::Cpu(self.limit_of(false)?.map(|q| q.milli())),
            "resource/memory" => Meaning::Memory(self.limit_of(false)?.map(|q| q.value())),
            "resource/block-bandwidth" | "resource/block-iops" | "resource/network-bandwidth" => {
                self.limit_of(true)?;
                Meaning::Unenforced
            }
            "os/linux/cpu-shares" => {
                let shares = whole(2, 262_144, "cpu-shares must be between 2 and 262144")?;
                Meaning::CpuShares(shares.unsigned_abs())
            }
            "os/linux/oom-score-adj" => Meaning::OomScoreAdj(whole(
                -1000,
                1000,
                "oom-score-adj must be between -1000 and 1000",
            )?),
            "os/linux/pids-limit" => Meaning::Pids(
                whole(1, i64::MAX, "pids-limit must be a positive number")?.unsigned_abs(),
            ),
            "os/linux/capabilities-retain-set" => Meaning::CapsRetain(self.words()?),
            "os/linux/capabilities-remove-set" => Meaning::CapsRemove(self.words()?),
            "os/linux/no-new-privileges" => match self.value {
                Json::Bool(on) => Meaning::NoNewPrivileges(on),
                _ => return Err(wrong("must be true or false")),
            },
            "os/linux/seccomp-retain-set" => Meaning::SeccompRetain(self.words()?, self.errno()?),
            "os/linux/seccomp-remove-set" => Meaning::SeccompRemove(self.words()?, self.errno()?),
            "os/linux/selinux-context" => {
                for key in ["user", "role", "type"] {
                    let text = self.value.get(key).and_then(Json::as_text).unwrap_or_default();
                    if text.is_empty() || text.contains(':') {
                        return Err(wrong("user, role and type must be given, without colons"));
                    }
                }
                if self.value.get("level").and_then(Json::as_text).unwrap_or_default().is_empty() {
                    return Err(wrong("level must be given"));
                }
                Meaning::Unenforced
            }
            "os/linux/apparmor-profile" => {
                if self.value.get("profile").and_then(Json::as_text).unwrap_or_default().is_empty()
                {
                    return Err(wrong("profile must be given"));
                }
                Meaning::Unenforced
            }
            "os/unix/sysctl" => match &self.value {
                Json::Object(members) if members.iter().all(|(_, v)| v.as_text().is_some()) => {
                    Meaning::Unenforced
                }
                _ => return Err(wrong("values must be strings")),
            },
            _ => Meaning::Unknown,
        })
    }

    fn limit_of(&self, is_default: bool) -> Result<Option<Quantity>, BadIsolator> {
        let wrong = |problem| BadIsolator::Value { name: self.name.clone(), problem };
        if !matches!(self.value, Json::Object(_)) {
            return Err(wrong("must be an object with request and limit"));
        }
        match (self.value.get("default"), is_default) {
            (None | Some(Json::Bool(false)), false) | (Some(Json::Bool(true)), true) => {}
            (_, false) => return Err(wrong("cannot be a default")),
            (_, true) => return Err(wrong("must be a default")),
        }
        let read = |key: &str| match self.value.get(key) {
            None => Ok(None),
            Some(Json::Text(text)) => Quantity::parse(text).map(Some),
            Some(Json::Number(number)) => Quantity::parse(&number.to_string()).map(Some),
            Some(_) => Quantity::parse("").map(Some),
        };
        let quantity = |key| {
            read(key).map_err(|source| BadIsolator::Quantity { name: self.name.clone(), source })
        };
        if quantity("request")?.is_some() && is_default {
            return Err(wrong("cannot have a request"));
        }
        quantity("limit")
    }

    fn words(&self) -> Result<Vec<String>, BadIsolator> {
        let wrong = |problem| BadIsolator::Value { name: self.name.clone(), problem };
        let Some(Json::List(values)) = self.value.get("set") else {
            return Err(wrong("set must be a list"));
        };
        let words: Option<Vec<String>> =
            values.iter().map(|v| v.as_text().map(str::to_owned)).collect();
        match words {
            Some(words) if !words.is_empty() => Ok(words),
            _ => Err(wrong("set must list at least one word")),
        }
    }

    fn errno(&self) -> Result<Option<String>, BadIsolator> {
        let wrong = || BadIsolator::Value {
            name: self.name.clone(),
            problem: "errno must be a name such as EPERM",
        };
        match self.value.get("errno") {
            None => Ok(None),
            Some(Json::Text(text)) if text.is_empty() => Ok(None),
            Some(Json::Text(text)) => {
                let shape = text.starts_with('E')
                    && text.len() > 1
                    && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
                if shape { Ok(Some(text.clone())) } else { Err(wrong()) }
            }
            Some(_) => Err(wrong()),
        }
    }

    pub(crate) fn read(json: &Json) -> Result<Self, ManifestError> {
        read::object(json, "isolator")?;
        let name = read::identifier(json, "name")?.to_string();
        let value = json
            .get("value")
            .cloned()
            .ok_or_else(|| bad("isolator", format!("{name} has no value")))?;
        Ok(Self { name, value })
    }

    pub(crate) fn write(&self) -> Json {
        Json::object([("name", self.name.as_str().into()), ("value", self.value.clone())])
    }
}

/// Reads and checks the isolators of an app as a set.
pub(crate) fn read_set(json: &Json) -> Result<Vec<Isolator>, ManifestError> {
    let all: Vec<Isolator> =
        read::list(json, "isolators")?.iter().map(Isolator::read).collect::<Result<_, _>>()?;
    let once = [
        "os/linux/seccomp-retain-set",
        "os/linux/seccomp-remove-set",
        "os/linux/selinux-context",
        "os/linux/apparmor-profile",
        "os/linux/oom-score-adj",
        "os/linux/cpu-shares",
    ];
    for isolator in &all {
        isolator.meaning().map_err(|e| bad("isolator", with_cause(&e)))?;
        let same = all.iter().filter(|other| other.name == isolator.name).count();
        if same > 1 && once.contains(&isolator.name.as_str()) {
            return Err(bad("isolators", format!("{} is given more than once", isolator.name)));
        }
    }
    let has = |name: &str| all.iter().any(|i| i.name == name);
    for pair in ["os/linux/seccomp-", "os/linux/capabilities-"] {
        if has(&format!("{pair}retain-set")) && has(&format!("{pair}remove-set")) {
            return Err(bad(
                "isolators",
                format!("{pair}retain-set and {pair}remove-set exclude each other"),
            ));
        }
    }
    Ok(all)
}

fn with_cause(error: &BadIsolator) -> String {
    match error {
        BadIsolator::Quantity { source, .. } => format!("{error}: {source}"),
        BadIsolator::Value { .. } => error.to_string(),
    }
}
