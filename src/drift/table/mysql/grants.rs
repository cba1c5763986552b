//! What this user may do, from what `SHOW GRANTS` says.

const WRITES: [&str; 6] = ["ALL", "ALL PRIVILEGES", "INSERT", "UPDATE", "DELETE", "DROP"];

/// The first of the grants that lets its holder change the table. In doubt it does.
pub fn writer<'g>(grants: &'g [String], database: &str, table: &str) -> Option<&'g str> {
    grants.iter().map(String::as_str).find(|grant| writes(grant, database, table).unwrap_or(false))
}

/// `None` for what grants no privileges: a role, a proxy.
fn writes(grant: &str, database: &str, table: &str) -> Option<bool> {
    let (privileges, rest) = grant.strip_prefix("GRANT ")?.split_once(" ON ")?;
    let (object, _) = rest.split_once(" TO ")?;
    let object = object.strip_prefix("TABLE ").unwrap_or(object);
    let (on, of) = object.split_once('.')?;
    let is_here = like(&bare(on), database) && (of == "*" || bare(of).eq_ignore_ascii_case(table));
    Some(is_here && each(privileges).any(|privilege| WRITES.contains(&privilege)))
}

/// The names of the privileges, without the columns they are limited to.
fn each(privileges: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    let is_between = move |character: char| {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        character == ',' && depth == 0
    };
    privileges.split(is_between).map(|one| one.split('(').next().unwrap_or_default().trim())
}

fn bare(name: &str) -> String {
    name.trim_matches('`').replace("``", "`")
}

/// A database as grants name it: `*`, or a pattern with `%`, `_` and backslashes.
fn like(pattern: &str, text: &str) -> bool {
    fn rest(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['%', more @ ..] => (0..=text.len()).any(|skipped| rest(more, &text[skipped..])),
            ['_', more @ ..] => !text.is_empty() && rest(more, &text[1..]),
            ['\\', one, more @ ..] | [one, more @ ..] => text.first() == Some(one) && rest(more, &text[1..]),
        }
    }
    let lower = |text: &str| text.to_lowercase().chars().collect::<Vec<_>>();
    pattern == "*" || rest(&lower(pattern), &lower(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_that_writes_is_seen() {
        for (grant, is_writer) in [
            ("GRANT USAGE ON *.* TO `a`@`%`", false),
            ("GRANT SELECT ON `shop`.`orders` TO `a`@`%`", false),
            ("GRANT SELECT (`insert`, `id`) ON `shop`.`orders` TO `a`@`%`", false),
            ("GRANT SELECT (`id`), UPDATE (`note`, `id`) ON `shop`.`orders` TO `a`@`%`", true),
            ("GRANT ALL PRIVILEGES ON *.* TO `a`@`localhost` WITH GRANT OPTION", true),
            ("GRANT SELECT, INSERT ON `sh%`.* TO `a`@`%`", true),
            ("GRANT SELECT, DELETE ON `other`.* TO `a`@`%`", false),
            ("GRANT DELETE ON `sh\\_p`.* TO `a`@`%`", false),
            ("GRANT DROP ON `shop`.`items` TO `a`@`%`", false),
            ("GRANT SELECT, SUPER, DROP ON *.* TO `a`@`%`", true),
            ("GRANT INSERT ON TABLE `Shop`.`Orders` TO `a`@`%`", true),
            ("GRANT `writer`@`%` TO `a`@`%`", false),
            ("GRANT PROXY ON ''@'%' TO 'root'@'localhost' WITH GRANT OPTION", false),
        ] {
            assert_eq!(writer(&[grant.to_owned()], "shop", "orders").is_some(), is_writer, "{grant}");
        }
    }
}
