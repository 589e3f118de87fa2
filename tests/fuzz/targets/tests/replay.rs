//! What was found once, by a fuzzer or by hand, is run again: nothing of it may panic.

use std::fs;
use std::path::Path;

#[test]
fn corpora() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    for target in targets::TARGETS {
        let inputs = fs::read_dir(corpora.join(target.name)).expect("each target has a corpus");
        let mut count = 0;
        for input in inputs {
            let path = input.expect("it can be listed").path();
            let data = fs::read(&path).expect("it can be read");
            // Where it panics, the last one named is the culprit.
            println!("{}", path.display());
            (target.run)(&data);
            count += 1;
        }
        assert!(count > 0, "the corpus of {} is empty", target.name);
    }
}
