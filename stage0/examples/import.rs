//! Imports images of this host into a store and makes their trees: `import DATA REFERENCE...`. Prints the id of each; used
//! to measure what an import costs.

#![expect(clippy::print_stdout, reason = "a tool for people")]

use stage0::fetch::{Fetcher, PullPolicy, Quiet};
use stage0::image_ref::ImageRef;
use stage0::insecure::Insecure;
use stage0::store::Store;
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let data = words.next().ok_or("import DATA REFERENCE...")?;
    let store = Store::open(Path::new(&data))?;
    for reference in words {
        let fetcher = Fetcher::new(&store, Insecure::parse("image")?, PullPolicy::New, &Quiet);
        let id = fetcher.fetch(&ImageRef::parse(&reference)?, None)?;
        let _lock = store.prepare_lock(sys::lock::Mode::Shared)?;
        println!("{id} {}", stage0::render::ready(&store, &id)?.tree_id);
    }
    Ok(())
}
