//! Client settings as `-X key=value` and as a file of such lines, the way kcat and librdkafka's tools read them.

use std::path::Path;

use super::{Properties, SourceError};

/// One `key=value`.
pub fn parse(text: &str) -> Result<(String, String), SourceError> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err(SourceError::Setting {
            name: text.to_owned(),
            why: "expected KEY=VALUE, as in security.protocol=SASL_SSL".to_owned(),
        }),
    }
}

/// A file of `key=value` lines; empty ones and those that start with `#` are skipped.
pub fn from_file(path: &Path) -> Result<Properties, SourceError> {
    let what = || format!("reading {}", path.display());
    let text = std::fs::read_to_string(path).map_err(|source| SourceError::Io { what: what(), source })?;
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| {
            parse(line).map_err(|_| SourceError::Setting {
                name: format!("in {}:{number}", path.display()),
                why: "expected KEY=VALUE".to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_reads_like_the_flags() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.properties");
        std::fs::write(&path, "# how to reach it\nbootstrap.servers = a:1\n\nsasl.password=x=y\n").unwrap();
        let properties = from_file(&path).unwrap();
        assert_eq!(properties["bootstrap.servers"], "a:1");
        assert_eq!(properties["sasl.password"], "x=y");
        std::fs::write(&path, "a=1\nnonsense\n").unwrap();
        assert!(from_file(&path).unwrap_err().to_string().contains("client.properties:2"));
        assert!(parse("=1").is_err());
    }
}
