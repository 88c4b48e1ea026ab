//! Tables for people: aligned columns, as wide as the terminal is.

use anstyle::Style;
use console::{Term, measure_text_width, truncate_str};

use super::output::{Plain, styled};

const GAP: &str = "  ";
/// A column that is cut is left at least so much.
const CUT_TO_LEAST: usize = 12;

/// What a column is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// Above it.
    pub(super) head: &'static str,
    /// What becomes of it where the terminal is narrow.
    pub(super) narrow: Narrow,
}

/// What becomes of a column where not all have room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Narrow {
    /// It stays as it is.
    Stays,
    /// It is cut.
    Cut,
    /// It goes, the one with the lowest number first.
    Goes(u8),
}

/// What stands in a column of one row: plain text, and how it is shown.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A text that others may have written.
    pub(super) fn new(text: &str) -> Self {
        Self { text: Plain(text).to_string(), style: Style::new() }
    }

    /// The same in a style.
    pub(super) fn styled(text: &str, style: Style) -> Self {
        Self { style, ..Self::new(text) }
    }
}

/// How many columns the terminal has to which standard output goes; none if it goes elsewhere.
pub(super) fn terminal_width() -> Option<usize> {
    Term::stdout().size_checked().map(|(_, columns)| usize::from(columns))
}

/// The table, heads first, without an end of line after its last row. Every row has as many cells as there are `columns`.
pub(super) fn table(columns: &[Column], rows: &[Vec<Cell>], width: Option<usize>) -> String {
    let widest = |i: usize, column: &Column| {
        let cells = rows.iter().map(|row| measure_text_width(&row[i].text));
        cells.chain([column.head.len()]).max().unwrap_or_default()
    };
    let all = columns.iter().enumerate();
    // Which columns are shown, each with its width.
    let mut shown: Vec<(usize, usize)> = all.map(|(i, column)| (i, widest(i, column))).collect();
    if let Some(width) = width {
        fit(&mut shown, columns, width);
    }
    let line = |cell: &dyn Fn(usize) -> Cell| {
        let mut line = String::new();
        for (at, (i, width)) in shown.iter().enumerate() {
            let Cell { text, style } = cell(*i);
            let text = truncate_str(&text, *width, "…");
            let padding = width.saturating_sub(measure_text_width(&text));
            let is_last = at + 1 == shown.len();
            line.push_str(&if style == Style::new() { text.to_string() } else { styled(&text, style) });
            if !is_last {
                line.push_str(&" ".repeat(padding));
                line.push_str(GAP);
            }
        }
        line.trim_end().to_owned()
    };
    let heads = line(&|i| Cell::styled(columns[i].head, Style::new().bold()));
    let rows = rows.iter().map(|row| line(&|i| row[i].clone()));
    std::iter::once(heads).chain(rows).collect::<Vec<_>>().join("\n")
}

/// Cuts and drops columns until the others have room, or none is left that may.
fn fit(shown: &mut Vec<(usize, usize)>, columns: &[Column], width: usize) {
    loop {
        let gaps = GAP.len() * shown.len().saturating_sub(1);
        let taken = gaps + shown.iter().map(|(_, width)| width).sum::<usize>();
        let Some(over) = taken.checked_sub(width).filter(|over| *over > 0) else { return };
        let cut = shown.iter_mut().find(|(i, width)| columns[*i].narrow == Narrow::Cut && *width > CUT_TO_LEAST);
        if let Some((_, width)) = cut {
            *width = width.saturating_sub(over).max(CUT_TO_LEAST);
            continue;
        }
        let order = |i: usize| match columns[i].narrow {
            Narrow::Goes(number) => Some(number),
            Narrow::Cut => Some(u8::MAX),
            Narrow::Stays => None,
        };
        let goes = shown.iter().filter_map(|(i, _)| Some((order(*i)?, *i))).min();
        let Some((_, goes)) = goes else { return };
        shown.retain(|(i, _)| *i != goes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column { head: "STATE", narrow: Narrow::Stays },
        Column { head: "JOB", narrow: Narrow::Stays },
        Column { head: "AGE", narrow: Narrow::Goes(0) },
        Column { head: "WHY", narrow: Narrow::Cut },
    ];

    fn shown(width: Option<usize>) -> Vec<String> {
        let row = |cells: [&str; 4]| cells.map(Cell::new).to_vec();
        let rows =
            [row(["failed", "0190", "3m", "a store that\u{1b}[2J can't be reached"]), row(["ok", "é", "12h", ""])];
        table(&COLUMNS, &rows, width).lines().map(|line| console::strip_ansi_codes(line).into_owned()).collect()
    }

    #[test]
    fn columns_are_aligned_and_nothing_in_them_reaches_the_terminal() {
        let lines = [
            "STATE   JOB   AGE  WHY",
            "failed  0190  3m   a store that\u{fffd}[2J can't be reached",
            "ok      é     12h",
        ];
        assert_eq!(shown(None), lines);
        assert_eq!(shown(Some(80)), lines);
    }

    #[test]
    fn where_the_terminal_is_narrow_a_column_is_cut_and_others_go_but_never_what_names_a_row() {
        assert_eq!(shown(Some(40))[1], "failed  0190  3m   a store that\u{fffd}[2J can…");
        assert_eq!(shown(Some(28))[1], "failed  0190  a store tha…");
        assert_eq!(shown(Some(20))[1], "failed  0190");
        assert_eq!(shown(Some(5))[1], "failed  0190");
        assert!(shown(Some(40)).iter().all(|line| measure_text_width(line) <= 40));
    }
}
