//! What the window remembers between runs, in one small JSON file.

use std::path::{Path, PathBuf};

use engine::media::Fit;
use serde::{Deserialize, Serialize};

use crate::theme::ThemeChoice;

/// Recent files that are remembered.
const RECENT_KEPT: usize = 8;

/// Where this user's files of the studio lie; `None` on a machine without such a folder.
pub fn data_folder() -> Option<PathBuf> {
    dirs::data_dir().map(|folder| folder.join("videoworld-studio"))
}

/// Choices that outlive a run. A file that is damaged or of another version gives the defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    pub theme: ThemeChoice,
    /// Size of everything, 1 is normal.
    pub zoom: f32,
    pub fit: Fit,
    /// Pictures opened last, latest first.
    pub recent: Vec<PathBuf>,
    /// Address of the machine that was connected to last; its token is never written.
    pub remote: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            theme: ThemeChoice::default(),
            zoom: 1.0,
            fit: Fit::default(),
            recent: Vec::new(),
            remote: String::new(),
        }
    }
}

impl Settings {
    /// Where the settings of this user lie; `None` on a machine without such a folder.
    pub fn default_path() -> Option<PathBuf> {
        data_folder().map(|folder| folder.join("settings.json"))
    }

    /// Reads settings; a missing or unreadable file gives the defaults.
    pub fn load(path: &Path) -> Self {
        let read = std::fs::read(path).ok();
        let mut settings: Self =
            read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        settings.zoom =
            if settings.zoom.is_finite() { settings.zoom.clamp(0.75, 2.5) } else { 1.0 };
        settings
    }

    /// Writes the settings so that a crash leaves either the old file or the new one.
    ///
    /// # Errors
    /// When the folder cannot be made or the file cannot be written.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        engine::media::write_atomic(path, &serde_json::to_vec_pretty(self)?)?;
        Ok(())
    }

    /// Puts a file in front of the recent ones.
    pub fn opened(&mut self, path: PathBuf) {
        self.recent.retain(|known| *known != path);
        self.recent.insert(0, path);
        self.recent.truncate(RECENT_KEPT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep").join("settings.json");
        let mut settings =
            Settings { theme: ThemeChoice::Light, zoom: 1.25, ..Settings::default() };
        settings.opened("/a.png".into());
        settings.opened("/b.png".into());
        settings.opened("/a.png".into());
        settings.save(&path).unwrap();
        assert_eq!(Settings::load(&path), settings);
        assert_eq!(settings.recent.len(), 2);
    }

    #[test]
    fn a_damaged_file_gives_the_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.json");
        std::fs::write(&path, "{\"zoom\": \"large\"").unwrap();
        assert_eq!(Settings::load(&path), Settings::default());
        assert_eq!(Settings::load(&folder.path().join("none.json")), Settings::default());
    }
}
