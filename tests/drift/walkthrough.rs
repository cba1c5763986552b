//! The walk-through of the README, line by line.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

#[test]
fn the_pipeline_of_the_readme_has_the_ten_drifts_and_nothing_else() {
    let readme = include_str!("../../README.md");
    let block = readme.split("```console\n").find(|block| block.starts_with("$ ./scripts/pipeline start"));
    let block = block.and_then(|block| block.split("```").next()).expect("the README has the walk-through");
    let mut exits = Vec::new();
    for line in block.lines() {
        let command = line.strip_prefix("$ ").expect("a line is a command");
        let mut shell = Command::new("bash");
        let own = Path::new(env!("CARGO_BIN_EXE_sordini")).parent().expect("a directory");
        let path = format!("{}:{}", own.display(), std::env::var("PATH").unwrap_or_default());
        shell.current_dir(env!("CARGO_MANIFEST_DIR")).env("PATH", path).args(["-c", command]);
        // As from a shell: crates that ask for these names would be built anew, and everything that needs them, and once more later.
        let is_of_test = |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.starts_with(start));
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(is_of_test) {
                shell.env_remove(name);
            }
        }
        let said = shell.output().expect("bash starts");
        let out = String::from_utf8_lossy(&said.stdout).into_owned();
        if command.starts_with("sordini") {
            exits.push((said.status.code(), out));
        } else {
            assert!(said.status.success(), "{command}: {out}{}", String::from_utf8_lossy(&said.stderr));
        }
    }
    let [(agrees, before), (differs, after)] = exits.as_slice() else { panic!("two comparisons: {exits:?}") };
    assert_eq!((*agrees, *differs), (Some(0), Some(1)), "{before}\n{after}");
    assert!(after.contains("10 proven findings"), "{after}");
    assert!(after.contains("3 missing, 3 extra, 4 different, 0 stale"), "{after}");
    // A page names the first of each kind.
    let named = after.lines().filter_map(|line| line.trim().strip_prefix("id ")?.split_whitespace().next());
    let named: BTreeSet<&str> = named.collect();
    let wrong: BTreeSet<&str> = sordini_lab::load::WRONG.iter().map(|(_, key)| *key).collect();
    assert!(named.len() >= 9 && named.is_subset(&wrong), "{named:?} of {wrong:?}");
}
