//! Kernel options: whether those that we wrote down are those that the build got.

use std::collections::BTreeMap;

/// What an option was set to: the text after `=`, or nothing for one that "is not set".
type Value<'a> = Option<&'a str>;

/// Lines of `wanted` that `got` does not have, each with what it has instead. Both are files of kernel options. An option
/// that is absent counts as one that is not set.
pub(super) fn lost(wanted: &str, got: &str) -> Vec<String> {
    let got: BTreeMap<&str, Value<'_>> = settings(got).collect();
    let missed = |(name, value): (&str, Value<'_>)| {
        let found = got.get(name).copied();
        match (value, found) {
            (value, Some(found)) if value == found => None,
            (None, None) => None,
            (Some(value), None) => Some(format!("{name}={value}: there is no such option here")),
            (value, Some(found)) => {
                Some(format!("{}: it is {}", shown(name, value), shown(name, found)))
            }
        }
    };
    settings(wanted).filter_map(missed).collect()
}

/// The settings of a file alone, one a line: what a build depends on of it.
pub(super) fn bare(text: &str) -> String {
    settings(text).map(|(name, value)| shown(name, value) + "\n").collect()
}

fn shown(name: &str, value: Value<'_>) -> String {
    match value {
        Some(value) => format!("{name}={value}"),
        None => format!("{name} is not set"),
    }
}

/// The settings of a file; other lines are comments.
fn settings(text: &str) -> impl Iterator<Item = (&str, Value<'_>)> {
    text.lines().filter_map(|line| {
        if let Some(rest) = line.strip_prefix("# CONFIG_") {
            let name = rest.strip_suffix(" is not set")?;
            let name = &line[2..2 + "CONFIG_".len() + name.len()];
            return (!name.contains(' ')).then_some((name, None));
        }
        let (name, value) = line.split_once('=')?;
        let value = Some(value.trim_end()).filter(|value| *value != "n");
        name.starts_with("CONFIG_").then_some((name, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: &str = "# a comment, A=B\nCONFIG_A=y\nCONFIG_TEXT=\"x=y z\"\n# CONFIG_OFF is not set\n\
        CONFIG_GONE=n\nCONFIG_NUMBER=64\n# CONFIG_OFF is off, is not set\n";

    #[test]
    fn nothing_is_lost_of_what_is_there() {
        let got = "CONFIG_MORE=y\nCONFIG_NUMBER=64\nCONFIG_A=y\nCONFIG_TEXT=\"x=y z\"\n# CONFIG_OFF is not set\n";
        assert_eq!(lost(WANTED, got), Vec::<String>::new());
    }

    #[test]
    fn each_difference_is_named() {
        let got = "# CONFIG_A is not set\nCONFIG_TEXT=\"x\"\nCONFIG_OFF=m\nCONFIG_GONE=y\n";
        let expected = [
            "CONFIG_A=y: it is CONFIG_A is not set",
            "CONFIG_TEXT=\"x=y z\": it is CONFIG_TEXT=\"x\"",
            "CONFIG_OFF is not set: it is CONFIG_OFF=m",
            "CONFIG_GONE is not set: it is CONFIG_GONE=y",
            "CONFIG_NUMBER=64: there is no such option here",
        ];
        assert_eq!(lost(WANTED, got), expected);
    }

    #[test]
    fn comments_do_not_count() {
        let text = "# CONFIG_B is not set\n\n# a word\nCONFIG_A=n\nCONFIG_C=\"c\" \n";
        assert_eq!(bare(text), "CONFIG_B is not set\nCONFIG_A is not set\nCONFIG_C=\"c\"\n");
    }

    #[test]
    fn our_list_has_settings_and_no_setting_twice() {
        let text = include_str!("../../../../images/kernel/linux-6.12.config");
        let names: Vec<&str> = settings(text).map(|(name, _)| name).collect();
        let mut once = names.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), names.len());
        // Without these a pod does not start, or its image loses its file capabilities.
        for name in ["CONFIG_PVH", "CONFIG_VIRTIO_MMIO", "CONFIG_EROFS_FS_SECURITY"] {
            assert!(names.contains(&name), "{name}");
        }
    }
}
