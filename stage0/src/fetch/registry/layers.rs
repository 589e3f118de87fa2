//! Several layers that come at once, told as one.

use crate::fetch::Progress;
use crate::store;
use oci::{Descriptor, Digest, Manifest};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Adds up the layers of one image.
pub(super) struct Layers<'p> {
    progress: &'p dyn Progress,
    /// Every layer of the image, with its size.
    sizes: BTreeMap<Digest, u64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    missing: usize,
    begun: bool,
    came: BTreeMap<Digest, u64>,
}

impl<'p> Layers<'p> {
    pub(super) fn new(progress: &'p dyn Progress, manifest: &Manifest) -> Self {
        let size = |layer: &Descriptor| (layer.digest.clone(), layer.size);
        Self {
            progress,
            sizes: manifest.layers.iter().map(size).collect(),
            state: Mutex::default(),
        }
    }

    /// No more will come.
    pub(super) fn finish(&self) {
        if self.state.lock().is_ok_and(|state| state.begun) {
            self.progress.end();
        }
    }

    /// The bytes of all layers that are missing, once it is known which ones.
    fn total(&self, state: &State) -> Option<u64> {
        let size = |layer: &Digest| self.sizes.get(layer).copied().unwrap_or_default();
        if state.missing >= self.sizes.len() {
            return Some(self.sizes.values().copied().fold(0, u64::saturating_add));
        }
        (state.came.len() >= state.missing)
            .then(|| state.came.keys().map(size).fold(0, u64::saturating_add))
    }
}

impl store::Progress for Layers<'_> {
    fn layers(&self, missing: usize, total: usize) {
        let Ok(mut state) = self.state.lock() else { return };
        state.missing = missing;
        if missing > 0 && !state.begun {
            state.begun = true;
            let what = match (missing, total) {
                (1, 1) => "layer".to_owned(),
                (all, total) if all == total => format!("{total} layers"),
                (some, total) => format!("{some} of {total} layers"),
            };
            self.progress.begin(&what, self.total(&state));
        }
    }

    fn read(&self, blob: &Descriptor, bytes: u64) {
        let Ok(mut state) = self.state.lock() else { return };
        if !state.begun || !self.sizes.contains_key(&blob.digest) {
            return;
        }
        state.came.insert(blob.digest.clone(), bytes);
        let came = state.came.values().copied().fold(0, u64::saturating_add);
        self.progress.at(came, self.total(&state));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Progress as _;

    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);

    impl Progress for Told {
        fn begin(&self, what: &str, total: Option<u64>) {
            self.0.lock().unwrap().push(format!("{what} {total:?}"));
        }
        fn at(&self, bytes: u64, total: Option<u64>) {
            self.0.lock().unwrap().push(format!("{bytes} {total:?}"));
        }
        fn end(&self) {
            self.0.lock().unwrap().push("end".to_owned());
        }
    }

    #[test]
    fn layers_are_one_transfer() {
        let layer = |text: &str, size: u64| Descriptor {
            media_type: oci::media::LAYER.to_owned(),
            digest: Digest::of(text.as_bytes()),
            size,
            annotations: BTreeMap::new(),
            platform: None,
            data: None,
        };
        let (a, b, config) = (layer("a", 10), layer("b", 20), layer("c", 5));
        let layers = vec![a.clone(), b.clone()];
        let annotations = BTreeMap::new();
        let manifest = Manifest { media_type: None, config: config.clone(), layers, annotations };
        let tell = |missing: usize, blobs: &[(&Descriptor, u64)]| {
            let told = Told::default();
            let layers = Layers::new(&told, &manifest);
            layers.read(&config, 5);
            layers.layers(missing, 2);
            for (blob, bytes) in blobs {
                layers.read(blob, *bytes);
            }
            layers.finish();
            told.0.into_inner().unwrap()
        };
        assert_eq!(
            tell(2, &[(&a, 4), (&b, 9), (&a, 10)]),
            ["2 layers Some(30)", "4 Some(30)", "13 Some(30)", "19 Some(30)", "end"]
        );
        assert_eq!(tell(1, &[(&b, 9)]), ["1 of 2 layers None", "9 Some(20)", "end"]);
        assert!(tell(0, &[]).is_empty());
    }
}
