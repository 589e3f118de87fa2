//! The engine: makes up inputs for the target that `RKT_FUZZ_TARGET` names, led by what they reach in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;
use targets::Target;

static TARGET: OnceLock<Target> = OnceLock::new();

fuzz_target!(init: {
    let name = std::env::var("RKT_FUZZ_TARGET").expect("RKT_FUZZ_TARGET names a target");
    let target = targets::named(&name).expect("there is a target of this name");
    TARGET.get_or_init(|| target);
}, |data: &[u8]| {
    if let Some(target) = TARGET.get() {
        (target.run)(data);
    }
});
