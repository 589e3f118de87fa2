//! Image names as they are typed: `name[:version][,label=value]…`.

use crate::image::Label;
use crate::name::{AcIdentifier, BadName};

/// Text that names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadImageName {
    /// The name is no AC identifier.
    #[error(transparent)]
    Name(#[from] BadName),
    /// More than one colon, or one after a comma.
    #[error("{0:?} has a colon in a wrong place: only one is allowed, right after the name")]
    Colon(String),
    /// A label without a value.
    #[error("label {0:?} must be given as name=value")]
    Label(String),
    /// A label given twice, or called `name`.
    #[error("label {0:?} is given twice or not allowed")]
    Twice(String),
}

/// Reads a name and the labels it asks for; `name:version` is short for the label `version`.
///
/// # Errors
/// See [`BadImageName`].
pub fn parse(text: &str) -> Result<(AcIdentifier, Vec<Label>), BadImageName> {
    let mut words = text.split(',');
    let first = words.next().unwrap_or_default();
    let (name, version) = first.split_once(':').map_or((first, None), |(n, v)| (n, Some(v)));
    if version.is_some_and(|v| v.contains(':')) {
        return Err(BadImageName::Colon(text.to_owned()));
    }
    let name = AcIdentifier::parse(name)?;
    let mut labels: Vec<Label> = Vec::new();
    let mut add = |label: &str, value: &str| {
        let label_name = AcIdentifier::parse(label)?;
        if label == "name" || labels.iter().any(|l| l.name == label_name) {
            return Err(BadImageName::Twice(label.to_owned()));
        }
        labels.push(Label { name: label_name, value: value.to_owned() });
        Ok(())
    };
    if let Some(version) = version {
        add("version", version)?;
    }
    for word in words {
        let (label, value) =
            word.split_once('=').ok_or_else(|| BadImageName::Label(word.to_owned()))?;
        if word.contains(':') {
            return Err(BadImageName::Colon(text.to_owned()));
        }
        add(label, value)?;
    }
    Ok((name, labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_versions_labels() {
        let (name, labels) = parse("example.com/a:1.0,os=linux,x=a=b").unwrap();
        let labels: Vec<_> = labels.iter().map(|l| (l.name.as_str(), l.value.as_str())).collect();
        assert_eq!(
            (name.as_str(), labels),
            ("example.com/a", vec![("version", "1.0"), ("os", "linux"), ("x", "a=b")])
        );
        assert_eq!(parse("example.com/a:").unwrap().1[0].value, "");
        assert_eq!(
            parse("quay.test/hyperkube:v1.9.0_coreos.0").unwrap().1[0].value,
            "v1.9.0_coreos.0"
        );
    }

    #[test]
    fn what_names_nothing() {
        for bad in ["A", "x,y", "x,name=foo", "a:b:c", "a,b=c:d", "a:1,version=2", "a,b=1,b=2", ""]
        {
            parse(bad).unwrap_err();
        }
    }
}
