//! `layers`: who may use whom. ARCHITECTURE.md says it in a table, cargo knows how it is.
//!
//! A row is a package, a column one that it may use, `x` marks the permission. A mark at or right of the column that has
//! the row's own name would allow a cycle and is refused. Tests may use more, as long as no cycle arises.

use crate::error::{At, TaskError};
use crate::metadata::Metadata;
use crate::workspace::Workspace;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

const FILE: &str = "ARCHITECTURE.md";
const HEADING: &str = "## Who may use whom";

/// Pairs of a user and what it uses.
type Edges = BTreeSet<(String, String)>;

/// What the table says.
#[derive(Debug, Default)]
struct Matrix {
    packages: BTreeSet<String>,
    allowed: Edges,
}

/// How it is.
#[derive(Debug, Default)]
struct Graph {
    packages: BTreeSet<String>,
    /// What a package needs to be built.
    needed: Edges,
    /// What only its tests need.
    tested: Edges,
}

/// `cargo xtask layers`
pub(crate) fn run(workspace: &Workspace, _: &[String]) -> Result<(), TaskError> {
    let path = workspace.path(FILE);
    let text = fs::read_to_string(&path).at("read", &path)?;
    let matrix = parse(&text).map_err(|problem| TaskError::Form { file: FILE, problem })?;
    let found = differences(&matrix, &graph(&Metadata::read(workspace)?));
    if found.is_empty() {
        return Ok(());
    }
    Err(TaskError::Broken { rule: "dependencies that ARCHITECTURE.md does not know", found })
}

fn graph(metadata: &Metadata) -> Graph {
    let packages = metadata.members().map(|package| package.name.clone()).collect();
    let mut graph = Graph { packages, ..Graph::default() };
    for package in metadata.members() {
        for used in package.dependencies.iter().filter(|used| used.path.is_some()) {
            let edge = (package.name.clone(), used.name.clone());
            let dev = used.kind.as_deref() == Some("dev");
            if dev {
                graph.tested.insert(edge)
            } else {
                graph.needed.insert(edge)
            };
        }
    }
    graph
}

fn parse(text: &str) -> Result<Matrix, String> {
    let section = text.split_once(HEADING).ok_or_else(|| format!("no heading {HEADING:?}"))?.1;
    let mut rows = section.lines().skip_while(|line| !line.starts_with('|')).map(cells);
    let columns = rows.next().ok_or("no table below the heading")?;
    let mut matrix = Matrix::default();
    matrix.packages.extend(columns.iter().skip(1).cloned());
    for row in rows.skip(1).take_while(|row| !row.is_empty()) {
        let Some((name, marks)) = row.split_first() else { continue };
        matrix.packages.insert(name.clone());
        let own = columns.iter().position(|column| column == name).unwrap_or(columns.len());
        for (at, mark) in marks.iter().enumerate().map(|(at, mark)| (at + 1, mark.as_str())) {
            match (mark, columns.get(at)) {
                ("", _) => {}
                ("x", Some(column)) if at < own => {
                    matrix.allowed.insert((name.clone(), column.clone()));
                }
                ("x", Some(column)) => {
                    return Err(format!("{name} may not use {column}: that allows a cycle"));
                }
                (other, _) => return Err(format!("row {name}: {other:?} is no mark")),
            }
        }
    }
    Ok(matrix)
}

fn cells(line: &str) -> Vec<String> {
    let inner = line.strip_prefix('|').map(|rest| rest.trim_end().trim_end_matches('|'));
    inner.map_or_else(Vec::new, |inner| {
        inner.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    })
}

fn differences(matrix: &Matrix, graph: &Graph) -> Vec<String> {
    let forbidden = graph
        .needed
        .difference(&matrix.allowed)
        .map(|(user, used)| format!("{user} uses {used}, which the table does not allow"));
    let unknown = graph
        .packages
        .difference(&matrix.packages)
        .map(|name| format!("{name} is not in the table"));
    let gone = matrix
        .packages
        .difference(&graph.packages)
        .map(|name| format!("{name} is in the table, but no package"));
    let all: Edges = graph.needed.union(&graph.tested).cloned().collect();
    let cycles = cyclic(&all).map(|name| format!("{name} needs itself, by way of its tests"));
    forbidden.chain(unknown).chain(gone).chain(cycles).collect()
}

/// A package from which a way leads back to it, if there is one.
fn cyclic(edges: &Edges) -> Option<String> {
    let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (user, used) in edges {
        uses.entry(user).or_default().insert(used);
    }
    // What uses nothing that is left cannot be on a cycle.
    while let Some(leaf) = uses
        .iter()
        .find(|(_, used)| used.iter().all(|used| !uses.contains_key(used)))
        .map(|(user, _)| *user)
    {
        uses.remove(leaf);
    }
    uses.keys().next().map(|name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# Map\n\n## Who may use whom\n\nWords.\n\n\
        | | `low` | `mid` |\n|---|---|---|\n| `mid` | x | |\n| `top` | x | x |\n\nMore | words.\n";

    fn edges(list: &[(&str, &str)]) -> Edges {
        list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    fn found(needed: &[(&str, &str)], tested: &[(&str, &str)], packages: &[&str]) -> Vec<String> {
        let packages = packages.iter().map(|name| (*name).to_owned()).collect();
        let graph = Graph { packages, needed: edges(needed), tested: edges(tested) };
        differences(&parse(TABLE).unwrap(), &graph)
    }

    const ALL: [&str; 3] = ["low", "mid", "top"];

    #[test]
    fn marks_are_permissions() {
        let matrix = parse(TABLE).unwrap();
        assert_eq!(matrix.allowed, edges(&[("mid", "low"), ("top", "low"), ("top", "mid")]));
        assert_eq!(found(&[("mid", "low"), ("top", "mid")], &[], &ALL), Vec::<String>::new());
    }

    #[test]
    fn other_edges_and_packages_are_named() {
        let problem = found(&[("mid", "top")], &[], &ALL);
        assert_eq!(problem, ["mid uses top, which the table does not allow"]);
        assert_eq!(found(&[], &[], &["low", "mid", "new", "top"]), ["new is not in the table"]);
        assert_eq!(found(&[], &[], &["low", "mid"]), ["top is in the table, but no package"]);
    }

    #[test]
    fn tests_may_use_more_but_not_each_other() {
        assert_eq!(found(&[("mid", "low")], &[("mid", "top")], &ALL), Vec::<String>::new());
        let problem = found(&[("mid", "low")], &[("low", "mid")], &ALL);
        assert_eq!(problem, ["low needs itself, by way of its tests"]);
    }

    #[test]
    fn a_table_that_allows_a_cycle_is_refused() {
        for (from, to) in [("| `mid` | x | |", "| `mid` | x | x |"), ("| x | x |", "| x | y |")] {
            parse(&TABLE.replace(from, to)).unwrap_err();
        }
        parse("# Map\n").unwrap_err();
    }
}
