//! Secrets that do not stand in the file: `${env:NAME}` and `${file:/path}` in Kafka's settings, as Kafka's own
//! configuration providers write them.

use std::path::{Path, PathBuf};

use super::ConfigError;
use crate::source::Properties;

pub fn properties(properties: &mut Properties, path: &Path) -> Result<(), ConfigError> {
    properties.iter_mut().try_for_each(|(name, text)| value(name, text, path))
}

pub fn value(name: &str, value: &mut String, path: &Path) -> Result<(), ConfigError> {
    let expanded = expand(value, path.parent().unwrap_or(Path::new("")));
    *value = expanded.map_err(|what| ConfigError::Secret { path: path.to_owned(), name: name.to_owned(), what })?;
    Ok(())
}

/// A relative path starts where the file of settings lies.
fn expand(text: &str, beside: &Path) -> Result<String, String> {
    let Some(start) = text.find("${") else { return Ok(text.to_owned()) };
    let Some(length) = text[start..].find('}') else { return Err("\"${\" is not closed".to_owned()) };
    let (inner, rest) = (&text[start + 2..start + length], &text[start + length + 1..]);
    let value = match inner.split_once(':') {
        Some(("env", name)) => std::env::var(name).map_err(|_| format!("the variable {name} is not set"))?,
        Some(("file", file)) => {
            let file: PathBuf = beside.join(file);
            let text =
                std::fs::read_to_string(&file).map_err(|error| format!("reading {}: {error}", file.display()))?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        }
        _ => return Err(format!("\"${{{inner}}}\" is neither ${{env:NAME}} nor ${{file:PATH}}")),
    };
    // What a secret holds is never looked at again.
    Ok(format!("{}{value}{}", &text[..start], expand(rest, beside)?))
}
