//! One arrow: the app knows the engine, the engine knows no user interface.

use std::path::Path;
use std::process::Command;

#[test]
fn the_engine_depends_on_no_user_interface() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--package", "engine", "--edges", "normal", "--prefix", "none", "--locked"])
        .current_dir(root)
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
