//! One arrow: the app knows the engine, the engine knows no user interface, and its modules import
//! what the table in ARCHITECTURE.md says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_engine_depends_on_no_user_interface() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--package", "engine", "--edges", "normal", "--prefix", "none", "--locked"])
        .current_dir(root())
        .output()
        .expect("cargo runs, as it runs this test");
    let tree = String::from_utf8_lossy(&tree.stdout);
    assert!(tree.lines().any(|line| line.starts_with("burn ")), "no dependency tree:\n{tree}");
    for line in tree.lines() {
        let name = line.split(' ').next().unwrap_or_default();
        let is_interface = ["egui", "eframe", "winit", "rfd", "videoworld-studio"]
            .iter()
            .any(|interface| name == *interface || name.starts_with("egui_"));
        assert!(!is_interface, "the engine depends on {name}");
    }
}

/// Crates that the table speaks of beside the engine's modules.
const CRATES: [&str; 2] = ["burn", "wgpu"];

/// What each module of the engine imports by the table, in its order.
fn table() -> Vec<(String, BTreeSet<String>)> {
    let text = read(&root().join("ARCHITECTURE.md"));
    let rows = text.lines().skip_while(|line| *line != "## engine/src").skip(1);
    let rows: Vec<(String, String)> = rows
        .take_while(|line| !line.starts_with("## "))
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|');
            let name = cells.next()?.trim().trim_end_matches(['`', '/']);
            Some((name.trim_end_matches(".rs").to_owned(), cells.nth(1)?.to_owned()))
        })
        .collect();
    let names: Vec<&str> = rows.iter().map(|(name, _)| name.as_str()).collect();
    let all_of = |at: usize, cell: &str| -> BTreeSet<String> {
        let words = cell.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let named = words.filter(|word| names.contains(word) || CRATES.contains(word));
        let above = if cell.contains("all above") { &names[..at] } else { &[] };
        named.chain(above.iter().copied()).map(str::to_owned).collect()
    };
    let cells = rows.iter().enumerate();
    cells.map(|(at, (name, cell))| (name.clone(), all_of(at, cell))).collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder can be read");
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// The files of modules that `file` declares for tests alone.
fn for_tests(file: &Path) -> Vec<PathBuf> {
    let folder = match file.file_name().and_then(|name| name.to_str()) {
        Some("mod.rs" | "lib.rs") => file.with_file_name(""),
        _ => file.with_extension(""),
    };
    let text = read(file);
    let after = text.split("#[cfg(test)]\n").skip(1).filter_map(|rest| rest.lines().next());
    let names = after.filter_map(|line| line.split_once("mod ")?.1.strip_suffix(';'));
    names.map(|name| folder.join(format!("{name}.rs"))).collect()
}

/// Names behind `crate::` in the code of a file, and the crates that it uses.
fn imports(path: &Path) -> BTreeSet<String> {
    let text = read(path);
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code: String = lines.flat_map(|line| [line, "\n"]).collect();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = BTreeSet::new();
    for behind in code.split("crate::").skip(1) {
        // Imports in braces would need a parser: one a line is the style here anyway.
        assert!(!behind.starts_with('{'), "{}: crate::{{", path.display());
        found.extend(behind.split(|c| !is_name(c)).next().map(str::to_owned));
    }
    let uses = |name: &str| {
        let path = format!("{name}::");
        code.match_indices(&path).any(|(at, _)| !code[..at].ends_with(|c| is_name(c) || c == ':'))
    };
    found.extend(CRATES.into_iter().filter(|name| uses(name)).map(str::to_owned));
    found
}

#[test]
fn every_module_imports_what_the_table_says() {
    let src = root().join("engine/src");
    let lib = read(&src.join("lib.rs"));
    let modules: BTreeSet<&str> = lib
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    let table = table();
    let named: BTreeSet<&str> = table.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(modules, named, "modules of the engine and rows of the table");
    let files = files_below(&src);
    let tests: BTreeSet<PathBuf> = files.iter().flat_map(|file| for_tests(file)).collect();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files.iter().filter(|file| !tests.contains(*file)) {
        let place = file.strip_prefix(&src).expect("it lies below");
        let first = place.iter().next().and_then(|name| name.to_str()).unwrap_or_default();
        found.entry(first.trim_end_matches(".rs").to_owned()).or_default().extend(imports(file));
    }
    for (at, (name, listed)) in table.iter().enumerate() {
        let imported = found.get_mut(name).expect("every module has a file");
        imported.retain(|other| {
            other != name && (modules.contains(&**other) || CRATES.contains(&&**other))
        });
        // The last one may import all others, whether it does or not.
        let is_right = match at + 1 == table.len() {
            true => imported.is_subset(listed),
            false => imported == listed,
        };
        assert!(is_right, "{name} imports {imported:?}, ARCHITECTURE.md says {listed:?}");
    }
}
