//! The table that a run ends with.

use std::fmt::Write as _;

use crate::job::Outcome;

/// A row of the table.
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) target: String,
    pub(crate) measured: String,
    pub(crate) met: bool,
}

/// What a run found.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Report {
    pub(crate) fn row(&mut self, what: &str, target: &str, measured: String, met: bool) {
        println!("{what}: {measured} (target {target}){}", if met { "" } else { "  <-- missed" });
        self.rows.push(Row { what: what.to_owned(), target: target.to_owned(), measured, met });
    }

    /// Something that the rows rest on.
    pub(crate) fn note(&mut self, text: String) {
        println!("- {text}");
        self.notes.push(text);
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = "| | target | measured | met |\n|---|---|---|---|\n".to_owned();
        for Row { what, target, measured, met } in &self.rows {
            let met = if *met { "yes" } else { "**no**" };
            let _ = writeln!(text, "| {what} | {target} | {measured} | {met} |");
        }
        text.push('\n');
        for note in &self.notes {
            let _ = writeln!(text, "- {note}");
        }
        text
    }
}

/// Ratios of one contender to another, round by round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ratios {
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
    pub(crate) peak: f64,
}

/// The medians over the rounds: what disturbs a machine disturbs neighbours alike.
pub(crate) fn ratios(ours: &[Outcome], theirs: &[Outcome]) -> Ratios {
    let of = |value: fn(&Outcome) -> f64| median(ours.iter().zip(theirs).map(|(a, b)| value(a) / value(b)).collect());
    Ratios { wall: of(|o| o.wall_ms), cpu: of(|o| o.cpu_ms), peak: of(|o| o.peak_kib as f64) }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}
