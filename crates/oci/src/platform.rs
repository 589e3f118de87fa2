//! Platforms: what an image was built for, and what a host can run.

use crate::document::{DocumentError, Members};
use appc::json::Json;

/// An operating system on a processor, in the words of OCI (which are Go's).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Platform {
    /// The operating system, such as `linux`.
    pub os: String,
    /// The architecture, such as `amd64`.
    pub architecture: String,
    /// The architecture's variant, such as `v8`; empty if it does not matter.
    pub variant: String,
}

impl Platform {
    /// The platform of this machine.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            "loongarch64" => "loong64",
            other => other,
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: variant().into() }
    }

    pub(crate) fn read(json: &Json) -> Result<Self, DocumentError> {
        let members = Members::of(json, "platform")?;
        Ok(Self {
            os: members.owned("os")?,
            architecture: members.owned("architecture")?,
            variant: members.owned("variant")?,
        })
    }

    /// Whether a host of this platform runs what was built for the other: the same system and architecture, and no
    /// later variant.
    pub fn runs(&self, other: &Self) -> bool {
        self.os == other.os
            && self.architecture == other.architecture
            && match self.architecture.as_str() {
                "amd64" | "arm" | "arm64" => match (self.level(), other.level()) {
                    (Some(own), Some(wanted)) => wanted <= own,
                    _ => self.variant == other.variant,
                },
                _ => other.variant.is_empty() || self.variant == other.variant,
            }
    }

    /// The variant as a number; what none means depends on the architecture.
    fn level(&self) -> Option<u32> {
        let text = match (self.architecture.as_str(), self.variant.as_str()) {
            ("amd64", "") => "1",
            ("arm", "") => "6",
            ("arm64", "") => "8",
            (_, variant) => variant.strip_prefix('v').unwrap_or(variant),
        };
        // `v8.1` and later are compatible with `v8`, but not the other way round.
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        let number = |digits: &str| digits.parse::<u32>().ok().filter(|n| *n < 1000);
        number(major)?.checked_mul(1000)?.checked_add(number(minor)?)
    }
}

#[cfg(target_arch = "x86_64")]
fn variant() -> &'static str {
    use std::arch::is_x86_feature_detected as has;
    let v2 =
        has!("cmpxchg16b") && has!("popcnt") && has!("sse3") && has!("ssse3") && has!("sse4.2");
    let v3 = has!("avx2")
        && has!("bmi1")
        && has!("bmi2")
        && has!("f16c")
        && has!("fma")
        && has!("lzcnt")
        && has!("movbe");
    let v4 = has!("avx512f")
        && has!("avx512bw")
        && has!("avx512cd")
        && has!("avx512dq")
        && has!("avx512vl");
    match (v2, v3, v4) {
        (true, true, true) => "v4",
        (true, true, false) => "v3",
        (true, false, _) => "v2",
        _ => "v1",
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn variant() -> &'static str {
    if cfg!(target_arch = "arm") { "v7" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_runs_what() {
        let platform = |text: &str| {
            let mut words = text.split('/').map(str::to_owned);
            let mut word = || words.next().unwrap_or_default();
            Platform { os: word(), architecture: word(), variant: word() }
        };
        for (host, image, wanted) in [
            ("linux/amd64/v3", "linux/amd64", true),
            ("linux/amd64/v3", "linux/amd64/v2", true),
            ("linux/amd64/v3", "linux/amd64/v4", false),
            ("linux/amd64/v1", "linux/amd64/v1", true),
            ("linux/arm/v7", "linux/arm/v6", true),
            ("linux/arm/v7", "linux/arm/v5", true),
            ("linux/arm/v7", "linux/arm", true),
            ("linux/arm/v7", "linux/arm/v8", false),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm64/v8", "linux/arm64", true),
            ("linux/arm64", "linux/arm64/v8.1", false),
            ("linux/arm64", "linux/arm/v7", false),
            ("linux/amd64/v2", "linux/386", false),
            ("linux/amd64/v2", "windows/amd64", false),
            ("linux/amd64/v2", "linux/amd64/odd", false),
            ("linux/amd64/v2", "unknown/unknown", false),
            ("linux/riscv64", "linux/riscv64", true),
        ] {
            assert_eq!(platform(host).runs(&platform(image)), wanted, "{image} on {host}");
        }
        assert!(Platform::host().runs(&Platform { variant: String::new(), ..Platform::host() }));
    }
}
