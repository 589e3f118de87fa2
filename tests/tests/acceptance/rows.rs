//! The table of rows against the tests there are.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const LAST: u32 = 235;

/// The rows of `ROWS.md`: what stands in the first column, and the tests named in the second.
fn table() -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ROWS.md")).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("| ")).skip(2);
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let tests = cells[1].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        (cells[0].to_owned(), tests)
    };
    lines.map(row).collect()
}

/// The tests in the files beside this one, about real images, and for the lab, as `file::name`.
fn tests() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let entries =
        ["acceptance", "corpus", "lab"].map(|name| fs::read_dir(folder.join(name)).unwrap());
    let mut found = BTreeSet::new();
    for entry in entries.into_iter().flatten().flatten() {
        let path = entry.path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line.trim() == "#[test]" {
                let head = lines.find(|line| !line.starts_with("#[")).unwrap_or_default();
                let name = head.trim_start_matches("fn ").split('(').next().unwrap();
                found.insert(format!("{module}::{name}"));
            }
        }
    }
    found
}

#[test]
fn every_row_has_its_line() {
    let mut numbers = Vec::new();
    for (row, proof) in table() {
        let mut ends = row.split('-').map(str::parse::<u32>);
        let (Some(Ok(first)), last) = (ends.next(), ends.next()) else {
            assert!(!proof.is_empty(), "{row} has no test");
            continue;
        };
        numbers.extend(first..=last.map_or(first, Result::unwrap));
    }
    assert_eq!(numbers, (1..=LAST).collect::<Vec<_>>());
}

#[test]
fn every_test_that_is_named_exists() {
    let there = tests();
    for (row, proof) in table() {
        for test in proof {
            assert!(there.contains(&test), "row {row}: no test {test}");
        }
    }
}
