//! The score as text: one line a fault, then why it is not exact.

use std::fmt;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

use super::{Named, Score};

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_preset(NOTHING).set_header(["fault", "expected as", "injected", "found", "missed", "pattern"]);
        for fault in &self.faults {
            table.add_row([
                fault.spec.clone(),
                fault.expect.to_string(),
                fault.injected.to_string(),
                fault.found.map_or_else(|| "-".to_owned(), |found| found.to_string()),
                fault.missed.to_string(),
                fault.pattern.map_or("-", Named::name).to_owned(),
            ]);
        }
        for column in table.column_iter_mut().skip(2).take(3) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        writeln!(f, "{}", table.trim_fmt())?;
        if self.exact {
            return writeln!(f, "exact: everything injected was found, nothing was invented");
        }
        writeln!(f, "not exact:")?;
        for fault in self.faults.iter().filter(|fault| fault.missed > 0) {
            writeln!(f, "  missed {} of {}", fault.missed, fault.spec)?;
            fault.examples.iter().try_for_each(|example| writeln!(f, "    {example}"))?;
        }
        for fault in self.faults.iter().filter(|fault| fault.pattern == Some(Named::Missed)) {
            writeln!(f, "  missed what {} hits have in common", fault.spec)?;
        }
        for invented in &self.invented {
            writeln!(f, "  invented {} of {}", invented.count, invented.kind)?;
            for example in &invented.examples {
                match &example.finding {
                    Some(id) => writeln!(f, "    finding {id}: {}", example.what)?,
                    None => writeln!(f, "    {}", example.what)?,
                }
            }
        }
        self.problems.iter().try_for_each(|problem| writeln!(f, "  {problem}"))
    }
}

impl Named {
    fn name(self) -> &'static str {
        match self {
            Named::Found => "found",
            Named::Missed => "missed",
            Named::TooFew => "too few",
        }
    }
}
