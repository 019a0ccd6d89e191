//! Every way a picture, a session or codes come in: dropped, pasted, chosen in the native dialog, named on the
//! command line. All of them end in the same loader, off the window's thread.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use eframe::egui;
use engine::media::{Fit, Frame, FrameSize, image_from_bytes, load_image, write_png};
use engine::rollout::{Session as SavedSession, SessionError};

use super::keeper::Kept;
use super::session::Picture;
use crate::codes::StoredCodes;

/// How the names of files of sessions and codes end.
const JSON_ENDING: &str = "json";

/// What an imported pack is called where nobody says otherwise.
const PACK_NAME: &str = "videoworld2";

/// What came in.
pub enum Arrival {
    Picture {
        pixels: Arc<Frame>,
        source: String,
        path: Option<PathBuf>,
    },
    /// A picture, and what the model sees of it.
    Fitted {
        picture: Picture,
        fit: Fit,
        start: Arc<Frame>,
        /// The one it was asked for with.
        number: u64,
    },
    /// A rollout that was saved.
    Session(Kept),
    /// A file of codes.
    Codes(StoredCodes),
    /// A folder of weights, and the one that is to be made a pack of them.
    Weights {
        from: PathBuf,
        to: PathBuf,
    },
    /// The folder for the published files, and the one that is to be made a pack of them.
    PlaceToFetch {
        from: PathBuf,
        to: PathBuf,
    },
    /// A folder chosen as pack.
    Pack(PathBuf),
    Saved(PathBuf),
    /// One sentence about what went wrong.
    Failed(String),
}

/// Names of what is being read, the latest last.
#[derive(Clone)]
struct Names {
    names: Arc<Mutex<Vec<String>>>,
    ctx: egui::Context,
}

impl Names {
    fn list(&self) -> MutexGuard<'_, Vec<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The window says that `name` is being read until what is returned is dropped.
    fn say(&self, name: &str) -> Reading {
        self.list().push(name.to_owned());
        self.ctx.request_repaint();
        Reading { names: self.clone(), name: name.to_owned() }
    }
}

struct Reading {
    names: Names,
    name: String,
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut names = self.names.list();
        if let Some(at) = names.iter().position(|name| *name == self.name) {
            names.remove(at);
        }
        drop(names);
        self.names.ctx.request_repaint();
    }
}

/// Threads that read and write files, resize pictures and show dialogs, and the way back from them.
pub struct Intake {
    sender: Sender<Arrival>,
    receiver: Receiver<Arrival>,
    ctx: egui::Context,
    names: Names,
}

impl Intake {
    pub fn new(ctx: egui::Context) -> Self {
        let (sender, receiver) = channel();
        let names = Names { names: Arc::default(), ctx: ctx.clone() };
        Self { sender, receiver, ctx, names }
    }

    /// The picture that is being read or resized.
    pub fn reading(&self) -> Option<String> {
        self.names.list().last().cloned()
    }

    pub fn poll(&self) -> Option<Arrival> {
        self.receiver.try_recv().ok()
    }

    /// Runs `work` on its own thread and delivers what it returns.
    fn run(&self, work: impl FnOnce() -> Option<Arrival> + Send + 'static) {
        let (sender, ctx) = (self.sender.clone(), self.ctx.clone());
        let spawned = thread::Builder::new().name("files".to_owned()).spawn(move || {
            if let Some(arrival) = work() {
                sender.send(arrival).ok();
                ctx.request_repaint();
            }
        });
        if let Err(error) = spawned {
            let reason = format!("no thread could be started to read files: {error}");
            self.sender.send(Arrival::Failed(reason)).ok();
        }
    }

    pub fn open_path(&self, path: PathBuf) {
        let names = self.names.clone();
        self.run(move || Some(load(path, &names)));
    }

    /// Brings a picture to the model's size, which takes a while for a large one.
    pub fn fit(&self, picture: Picture, fit: Fit, size: FrameSize, number: u64) {
        // Said from now on, so that it is not silent until the thread runs.
        let reading = self.names.say(&picture.source);
        self.run(move || {
            let start = Arc::new(fit.apply(&picture.pixels, size));
            drop(reading);
            Some(Arrival::Fitted { picture, fit, start, number })
        });
    }

    /// A dropped file, which may have no path of its own.
    pub fn open_dropped(&self, file: egui::DroppedFileHandle) {
        let names = self.names.clone();
        self.run(move || {
            let path = file.path().to_path_buf();
            if path.is_file() {
                return Some(load(path, &names));
            }
            let name = name_of(&path);
            let _reading = names.say(&name);
            let pixels = file
                .bytes()
                .and_then(|bytes| image_from_bytes(&bytes, &name).map_err(|e| e.to_string()));
            Some(match pixels {
                Ok(pixels) => picture(pixels, name, None),
                Err(reason) => Arrival::Failed(reason),
            })
        });
    }

    /// A picture from the clipboard.
    pub fn open_pasted(&self, image: Arc<egui::ColorImage>) {
        let name = "clipboard";
        let reading = self.names.say(name);
        self.run(move || {
            let _reading = reading;
            let [width, height] = image.size;
            let bytes = image.pixels.iter().flat_map(|pixel| {
                let [r, g, b, _] = pixel.to_srgba_unmultiplied();
                [r, g, b]
            });
            let pixels = Frame::from_raw(width as u32, height as u32, bytes.collect());
            Some(match pixels {
                Some(pixels) if width > 0 && height > 0 => picture(pixels, name.to_owned(), None),
                _ => Arrival::Failed("the clipboard holds an empty picture".to_owned()),
            })
        });
    }

    pub fn ask_for_picture(&self, folder: Option<PathBuf>) {
        let names = self.names.clone();
        self.run(move || {
            let mut dialog = rfd::FileDialog::new()
                .set_title("Open a starting frame")
                .add_filter("Pictures", &["png", "jpg", "jpeg", "webp", "bmp", "gif"]);
            if let Some(folder) = folder {
                dialog = dialog.set_directory(folder);
            }
            dialog.pick_file().map(|path| load(path, &names))
        });
    }

    /// `folder` is where the window keeps rollouts by itself.
    pub fn ask_for_session(&self, folder: Option<PathBuf>) {
        let names = self.names.clone();
        self.run(move || {
            let mut dialog = rfd::FileDialog::new()
                .set_title("Open a session")
                .add_filter("Sessions", &[JSON_ENDING]);
            if let Some(folder) = folder {
                dialog = dialog.set_directory(folder);
            }
            dialog.pick_file().map(|path| load(path, &names))
        });
    }

    pub fn ask_for_codes(&self) {
        self.run(|| {
            let dialog = rfd::FileDialog::new()
                .set_title("Open codes that rollout or encode wrote")
                .add_filter("Codes", &[JSON_ENDING]);
            dialog.pick_file().map(|path| {
                load_codes(&path).unwrap_or_else(|error| Arrival::Failed(format!("{error:#}")))
            })
        });
    }

    /// Two dialogs, one after the other.
    pub fn ask_for_weights(&self) {
        self.run(|| {
            let (from, to) = ask_for_folders("The folder with the published weights")?;
            Some(Arrival::Weights { from, to })
        });
    }

    /// The same two; nothing is fetched before a question that comes after them.
    pub fn ask_where_to_fetch(&self) {
        self.run(|| {
            let (from, to) = ask_for_folders("The folder to fetch the published weights into")?;
            Some(Arrival::PlaceToFetch { from, to })
        });
    }

    pub fn ask_to_save_session(&self, saved: SavedSession) {
        self.run(move || {
            let path = rfd::FileDialog::new()
                .set_title("Save the session")
                .add_filter("Sessions", &[JSON_ENDING])
                .set_file_name("session.json")
                .save_file()?;
            Some(match saved.save(&path) {
                Ok(()) => Arrival::Saved(path),
                Err(error) => Arrival::Failed(error.to_string()),
            })
        });
    }

    pub fn ask_for_pack(&self) {
        self.run(|| {
            let dialog = rfd::FileDialog::new().set_title("Open a pack folder");
            dialog.pick_folder().map(Arrival::Pack)
        });
    }

    pub fn ask_to_save(&self, frame: Frame) {
        self.run(move || {
            let path = rfd::FileDialog::new()
                .set_title("Save the frame")
                .add_filter("PNG", &["png"])
                .set_file_name("frame.png")
                .save_file()?;
            Some(match write_png(&path, &frame) {
                Ok(()) => Arrival::Saved(path),
                Err(error) => Arrival::Failed(error.to_string()),
            })
        });
    }
}

/// That of the published files, and that of the pack to make.
fn ask_for_folders(title: &str) -> Option<(PathBuf, PathBuf)> {
    let from = rfd::FileDialog::new().set_title(title).pick_folder()?;
    let to = rfd::FileDialog::new()
        .set_title("The folder to make for the pack")
        .set_file_name(PACK_NAME)
        .save_file()?;
    Some((from, to))
}

/// A picture or, by its ending, a session or codes.
fn load(path: PathBuf, names: &Names) -> Arrival {
    let name = name_of(&path);
    let _reading = names.say(&name);
    if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case(JSON_ENDING)) {
        return match SavedSession::load(&path) {
            Ok(saved) => Arrival::Session(Kept { path, saved: Arc::new(saved) }),
            Err(error @ SessionError::Foreign(..)) => load_codes(&path)
                .unwrap_or_else(|_| Arrival::Failed(format!("{error}; nor is it a file of codes"))),
            Err(error) => Arrival::Failed(error.to_string()),
        };
    }
    match load_image(&path) {
        Ok(pixels) => picture(pixels, name, Some(path)),
        Err(error) => Arrival::Failed(error.to_string()),
    }
}

/// Codes are told by the file's name alone: paths are too long for a window.
fn load_codes(path: &Path) -> anyhow::Result<Arrival> {
    let mut stored = StoredCodes::read(path)?;
    stored.source = name_of(path);
    Ok(Arrival::Codes(stored))
}

fn picture(pixels: Frame, source: String, path: Option<PathBuf>) -> Arrival {
    Arrival::Picture { pixels: Arc::new(pixels), source, path }
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .map_or_else(|| "picture".to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_pasted_picture_arrives_with_its_pixels() {
        let intake = Intake::new(egui::Context::default());
        let image = egui::ColorImage::new([2, 1], vec![egui::Color32::RED, egui::Color32::BLUE]);
        intake.open_pasted(Arc::new(image));
        let arrival = intake.receiver.recv_timeout(Duration::from_secs(10));
        let Ok(Arrival::Picture { pixels, .. }) = arrival else {
            panic!("no picture arrived");
        };
        assert_eq!(pixels.as_raw(), &[255, 0, 0, 0, 0, 255]);
    }

    #[test]
    fn a_file_that_is_no_picture_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.png");
        std::fs::write(&path, "not a picture").unwrap();
        let intake = Intake::new(egui::Context::default());
        let Arrival::Failed(reason) = load(path, &intake.names) else {
            panic!("text was taken for a picture");
        };
        assert!(reason.contains("notes.png"), "{reason}");
    }
}
