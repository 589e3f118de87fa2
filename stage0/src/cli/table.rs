//! Tables for people and for `cut`: cells separated by tabs, columns aligned at multiples of eight.

use super::print::safe_line;

/// The distance of two tab stops.
const STOP: usize = 8;

/// Rows of cells that are aligned together.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a row. Whatever a cell contains stays in it: control characters are escaped.
    pub(crate) fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows
            .push(cells.into_iter().map(|cell| safe_line(cell.as_ref()).into_owned()).collect());
    }

    /// Every row on a line of its own. Each cell but the last of a row ends in at least one tab.
    pub(crate) fn render(&self) -> String {
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.rows {
            let cells = row.len().saturating_sub(1);
            for (column, cell) in row.iter().take(cells).enumerate() {
                let width = (length(cell) + 1).next_multiple_of(STOP);
                match widths.get_mut(column) {
                    Some(widest) => *widest = width.max(*widest),
                    None => widths.push(width),
                }
            }
        }
        let mut text = String::new();
        for row in &self.rows {
            let last = row.len().saturating_sub(1);
            for (column, cell) in row.iter().enumerate() {
                text.push_str(cell);
                if column < last {
                    let width = widths.get(column).copied().unwrap_or_default();
                    let tabs = width.saturating_sub(length(cell)).div_ceil(STOP).max(1);
                    text.extend(std::iter::repeat_n('\t', tabs));
                }
            }
            text.push('\n');
        }
        text
    }
}

fn length(cell: &str) -> usize {
    if cell.is_ascii() { cell.len() } else { cell.chars().count() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_by_tab_stops() {
        let mut table = Table::new();
        table.row(["UUID", "APP", "IMAGE NAME", "STATE", "NETWORKS"]);
        table.row(["226cfdbd", "sleeper", "example.com/sleeper:2.1.0", "prepared", ""]);
        table.row(["", "s2", "example.com/echo:1.0", "", ""]);
        let lines = [
            "UUID\t\tAPP\tIMAGE NAME\t\t\tSTATE\t\tNETWORKS",
            "226cfdbd\tsleeper\texample.com/sleeper:2.1.0\tprepared\t",
            "\t\ts2\texample.com/echo:1.0\t\t\t\t",
        ];
        assert_eq!(table.render(), lines.join("\n") + "\n");
    }

    #[test]
    fn keeps_each_cell_in_its_place() {
        let mut table = Table::new();
        table.row(["a\tb\nc", "\u{1b}[2J", "größe"]);
        assert_eq!(table.render(), "a\\tb\\nc\t\\u001b[2J\tgröße\n");
        let mut narrow = Table::new();
        narrow.row(["", "x"]);
        assert_eq!(narrow.render(), "\tx\n");
        assert_eq!(Table::new().render(), "");
    }
}
