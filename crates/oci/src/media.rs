//! Media types, OCI's and Docker's.

/// An OCI index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// A Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// An OCI manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// A Docker manifest of schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// An OCI configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A Docker configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// An OCI layer that is not compressed.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// An OCI layer under gzip.
pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// An OCI layer under zstd.
pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// A Docker layer.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// What to ask a registry for when an image is wanted, the preferred first.
pub const ACCEPT: [&str; 4] = [INDEX, DOCKER_LIST, MANIFEST, DOCKER_MANIFEST];

/// What a document or blob is, whoever defined its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A list of manifests.
    Index,
    /// A manifest.
    Manifest,
    /// A Docker manifest of schema 1, which is not read.
    Schema1,
    /// An image configuration.
    Config,
    /// A layer.
    Layer(Packing),
}

/// How a layer is said to be compressed. Docker's types lie: the layer's first bytes decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// gzip
    Gzip,
    /// zstd
    Zstd,
}

/// What this type stands for, if it is known. Parameters (`; charset=…`) and case do not count.
pub fn kind(media_type: &str) -> Option<Kind> {
    let bare = bare(media_type).to_ascii_lowercase();
    match bare.as_str() {
        INDEX | DOCKER_LIST => return Some(Kind::Index),
        MANIFEST | DOCKER_MANIFEST => return Some(Kind::Manifest),
        CONFIG | DOCKER_CONFIG => return Some(Kind::Config),
        "application/vnd.docker.distribution.manifest.v1+json"
        | "application/vnd.docker.distribution.manifest.v1+prettyjws" => {
            return Some(Kind::Schema1);
        }
        _ => {}
    }
    let oci = bare
        .strip_prefix(LAYER)
        .or_else(|| bare.strip_prefix("application/vnd.oci.image.layer.nondistributable.v1.tar"))
        .map(|end| (end, '+'));
    let docker = bare
        .strip_prefix("application/vnd.docker.image.rootfs.diff.tar")
        .or_else(|| bare.strip_prefix("application/vnd.docker.image.rootfs.foreign.diff.tar"))
        .map(|end| (end, '.'));
    let (end, separator) = oci.or(docker)?;
    if end.is_empty() {
        return Some(Kind::Layer(Packing::Plain));
    }
    match end.strip_prefix(separator)? {
        "gzip" => Some(Kind::Layer(Packing::Gzip)),
        "zstd" => Some(Kind::Layer(Packing::Zstd)),
        _ => None,
    }
}

/// A media type without its parameters.
pub fn bare(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (text, wanted) in [
            (INDEX, Some(Kind::Index)),
            (DOCKER_LIST, Some(Kind::Index)),
            ("application/vnd.oci.image.manifest.v1+json; charset=utf-8", Some(Kind::Manifest)),
            (DOCKER_CONFIG, Some(Kind::Config)),
            (LAYER, Some(Kind::Layer(Packing::Plain))),
            (LAYER_GZIP, Some(Kind::Layer(Packing::Gzip))),
            (LAYER_ZSTD, Some(Kind::Layer(Packing::Zstd))),
            (DOCKER_LAYER, Some(Kind::Layer(Packing::Gzip))),
            ("application/vnd.docker.image.rootfs.diff.tar.zstd", Some(Kind::Layer(Packing::Zstd))),
            (
                "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                Some(Kind::Layer(Packing::Gzip)),
            ),
            ("application/vnd.docker.distribution.manifest.v1+prettyjws", Some(Kind::Schema1)),
            ("application/vnd.oci.image.layer.v1.tar+xz", None),
            ("application/vnd.oci.image.layer.v1.tarx", None),
            ("application/vnd.example.layer", None),
            ("", None),
        ] {
            assert_eq!(kind(text), wanted, "{text}");
        }
    }
}
