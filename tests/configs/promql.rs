//! The names in an expression of PromQL. It need not be judged, Prometheus does that; only be taken apart.

use std::collections::BTreeSet;

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// With the labels that are asked for in its braces.
    pub metrics: Vec<(String, BTreeSet<String>)>,
    /// Labels after `by`, `on` and the like.
    pub grouped_by: BTreeSet<String>,
}

const OPERATORS: &[&str] = &["and", "or", "unless", "offset", "bool", "inf", "nan"];
const LISTS: &[&str] = &["by", "without", "on", "ignoring", "group_left", "group_right"];

pub fn names(expression: &str) -> Names {
    let mut found = Names::default();
    let mut rest = expression;
    let mut takes_list = false;
    while let Some(first) = rest.chars().next() {
        if first.is_ascii_alphabetic() || first == '_' {
            let (word, after) = word(rest);
            let next = after.trim_start();
            let is_call = next.starts_with('(') || ["by", "without"].contains(&self::word(next).0);
            takes_list = LISTS.contains(&word);
            if !takes_list && !is_call && !OPERATORS.contains(&word.to_lowercase().as_str()) {
                found.metrics.push((word.to_owned(), BTreeSet::new()));
            }
            rest = after;
        } else if first == '(' && takes_list {
            let end = rest.find(')').expect("the list of labels ends");
            found.grouped_by.extend(split(&rest[1..end]));
            (rest, takes_list) = (&rest[end..], false);
        } else if first == '{' {
            let (labels, after) = braces(rest);
            found.metrics.last_mut().expect("a metric stands before its labels").1.extend(labels);
            rest = after;
        } else if first == '[' {
            rest = &rest[rest.find(']').expect("the range ends")..];
        } else if first == '"' {
            rest = string(rest);
        } else if first.is_ascii_digit() {
            // A number, or a duration as in `offset 5m`.
            rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    found
}

fn word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    text.split_at(end)
}

fn split(list: &str) -> impl Iterator<Item = String> {
    list.split(',').map(|label| label.trim().to_owned()).filter(|label| !label.is_empty())
}

/// The labels between braces, and what follows.
fn braces(text: &str) -> (BTreeSet<String>, &str) {
    let mut labels = BTreeSet::new();
    let mut rest = &text[1..];
    loop {
        rest = rest.trim_start_matches([' ', ',', '\n']);
        if let Some(after) = rest.strip_prefix('}') {
            return (labels, after);
        }
        let (label, after) = word(rest);
        assert!(!label.is_empty(), "no label in {text}");
        labels.insert(label.to_owned());
        rest = string(&after[after.find('"').expect("a label is compared with a string")..]);
    }
}

/// What follows a string.
fn string(text: &str) -> &str {
    let mut escaped = false;
    let end = text[1..].find(|c: char| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    &text[end.expect("the string ends") + 2..]
}

/// Selector and label in Grafana's `label_values(selector, label)`.
pub fn of_label_values(query: &str) -> (&str, &str) {
    let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
    let inner = inner.unwrap_or_else(|| panic!("no label_values: {query}"));
    let (selector, label) = inner.rsplit_once(',').unwrap_or_else(|| panic!("no label: {query}"));
    (selector, label.trim())
}

/// The expression as Grafana sends it; `Err` with a variable that is not declared.
pub fn without_variables(expression: &str, declared: &[String]) -> Result<String, String> {
    let mut plain = String::new();
    let mut parts = expression.split('$');
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (name, after) = word(part);
        match name {
            "__rate_interval" | "__interval" => plain.push_str("1m"),
            _ if declared.iter().any(|d| d == name) => plain.push_str(".*"),
            _ => return Err(name.to_owned()),
        }
        plain.push_str(after);
    }
    Ok(plain)
}

#[test]
fn an_expression_is_taken_apart() {
    let found = names(
        r#"topk(10, max by (group, topic) (a_b{job=~"x|{y}", z!="\""}[5m] offset 5m)) > 1e3 and on (group) sum(c) or time()"#,
    );
    let labels = |labels: &[&str]| labels.iter().map(|&label| label.to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(found.metrics, [("a_b".to_owned(), labels(&["job", "z"])), ("c".to_owned(), labels(&[]))]);
    assert_eq!(found.grouped_by, labels(&["group", "topic"]));
    assert_eq!(of_label_values("label_values(a{b=\"c,d\"}, e)"), ("a{b=\"c,d\"}", "e"));
    let declared = ["job".to_owned()];
    assert_eq!(without_variables("a{b=~\"$job\"}[$__rate_interval]", &declared).as_deref(), Ok("a{b=~\".*\"}[1m]"));
    assert_eq!(without_variables("a{b=~\"$jobs\"}", &declared), Err("jobs".to_owned()));
}
