//! A stage1 by somebody else: scripts for the host's shell, packed as an image.

use crate::image::Image;
use serde_json::{Value, json};

/// Which entrypoints it has and which interface version it claims.
#[derive(Debug, Clone, Copy)]
pub struct Stub<'a> {
    /// Entrypoints beside `run`.
    pub others: &'a [&'a str],
    /// The version it claims; `None`: it claims none.
    pub version: Option<u32>,
}

impl Stub<'_> {
    /// Only `run`, no version: the least that a stage1 may be.
    pub const LEAST: Stub<'static> = Stub { others: &[], version: None };

    /// The image.
    pub fn image(&self) -> Image {
        let mut annotations: Vec<Value> = vec![annotation("run", "/run")];
        let mut image = Image::empty("stage1-stub")
            .program("run", include_bytes!("../stub-stage1/run"))
            .link("flavor", "stub");
        for &other in self.others {
            annotations.push(annotation(other, &format!("/{other}")));
            image = match other {
                "stop" => image.program("stop", include_bytes!("../stub-stage1/stop")),
                "gc" => image.program("gc", include_bytes!("../stub-stage1/gc")),
                _ => panic!("the stub has no entrypoint {other}"),
            };
        }
        if let Some(version) = self.version {
            annotations.push(annotation("interface-version", &version.to_string()));
        }
        image.with("annotations", Value::Array(annotations))
    }
}

fn annotation(name: &str, value: &str) -> Value {
    json!({ "name": format!("coreos.com/rkt/stage1/{name}"), "value": value })
}
