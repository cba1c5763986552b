//! Lines of a terminal: wrapping, indentation and colour. Every text passes here, so foreign characters are made
//! harmless in one place. Knows nothing of reports.

use std::io::{self, Write};

use crate::report::format::visible;

#[derive(Clone, Copy)]
pub enum Style {
    Plain,
    Heading,
    Dim,
    Good,
    Warn,
    Bad,
}

pub struct Page<'a> {
    out: &'a mut dyn Write,
    color: bool,
    width: usize,
}

impl<'a> Page<'a> {
    pub fn new(out: &'a mut dyn Write, color: bool, width: usize) -> Self {
        // Narrower than this nothing can be read; a terminal that reports no width gets the same.
        Self { out, color, width: width.max(40) }
    }

    pub fn blank(&mut self) -> io::Result<()> {
        writeln!(self.out)
    }

    /// A line that opens a part, set off by a blank one.
    pub fn heading(&mut self, text: &str) -> io::Result<()> {
        self.blank()?;
        self.text(0, Style::Heading, text)
    }

    /// Wrapped text, all of it indented and in one style.
    pub fn text(&mut self, indent: usize, style: Style, text: &str) -> io::Result<()> {
        for line in wrap(&visible(text), self.width.saturating_sub(indent)) {
            writeln!(self.out, "{:indent$}{}", "", self.paint(style, &line))?;
        }
        Ok(())
    }

    /// A styled lead in the margin and plain wrapped text beside it.
    pub fn block(&mut self, style: Style, lead: &str, indent: usize, text: &str) -> io::Result<()> {
        let padding = indent.saturating_sub(lead.chars().count());
        for (index, line) in wrap(&visible(text), self.width.saturating_sub(indent)).iter().enumerate() {
            if index == 0 && !lead.is_empty() {
                writeln!(self.out, "{}{:padding$}{line}", self.paint(style, lead), "")?;
            } else {
                writeln!(self.out, "{:indent$}{line}", "")?;
            }
        }
        Ok(())
    }

    fn paint(&self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Plain => return text.to_owned(),
            Style::Heading => "1",
            Style::Dim => "2",
            Style::Good => "1;32",
            Style::Warn => "1;33",
            Style::Bad => "1;31",
        };
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Lines of at most `width` characters, broken at spaces; a longer word stands alone, so that it can still be copied.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            lines.push(String::new());
            used = 0;
        }
        if let Some(line) = lines.last_mut() {
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += length;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn wrapping_keeps_every_word_and_breaks_only_what_is_too_long(text in "[a-zä ]{0,200}", width in 5usize..60) {
            let lines = wrap(&text, width);
            let words: Vec<&str> = text.split_whitespace().collect();
            let kept: Vec<&str> = lines.iter().flat_map(|line| line.split_whitespace()).collect();
            prop_assert_eq!(kept, words);
            for line in &lines {
                prop_assert!(line.chars().count() <= width || !line.contains(' '));
            }
        }
    }
}
