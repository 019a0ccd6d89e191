//! Everything a user can ask for without pointing at something. One list feeds the menu, the
//! palette, the keys, the key overlay and the tests; `studio::execute` carries it out.

use eframe::egui::{self, Key, KeyboardShortcut, Modifiers};

/// A command. The order is the order of the palette.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    Step,
    PlayPause,
    Back,
    Forward,
    Branch,
    Refine,
    Sampling,
    PauseWork,
    Cancel,
    Undo,
    Redo,
    NextFrame,
    PreviousFrame,
    ForwardTen,
    BackTen,
    FirstFrame,
    LastFrame,
    NextStep,
    PreviousStep,
    PlayForward,
    PlayBackward,
    Pause,
    Faster,
    Slower,
    NormalSpeed,
    MarkIn,
    MarkOut,
    ClearMarks,
    ToggleLoop,
    CompareMode,
    ToggleCompare,
    SwapSides,
    Candidate1,
    Candidate2,
    Candidate3,
    Candidate4,
    Candidate5,
    Candidate6,
    Candidate7,
    Candidate8,
    Candidate9,
    OpenGallery,
    OpenFrame,
    OpenSession,
    RestoreSession,
    SaveSession,
    OpenPack,
    ImportWeights,
    FetchWeights,
    PolicyCodes,
    OpenCodes,
    ToggleFit,
    SaveFrame,
    CopyFrame,
    MapColour,
    MapReset,
    Present,
    FullScreen,
    NextTheme,
    Palette,
    Keys,
    ConnectRemote,
    ComputeHere,
    VerifyDevice,
    RestartEngine,
    Escape,
    Quit,
}

/// The candidates, best first.
pub const CANDIDATES: [Command; 9] = [
    Command::Candidate1,
    Command::Candidate2,
    Command::Candidate3,
    Command::Candidate4,
    Command::Candidate5,
    Command::Candidate6,
    Command::Candidate7,
    Command::Candidate8,
    Command::Candidate9,
];

const CTRL_SHIFT: Modifiers = Modifiers::COMMAND.plus(Modifiers::SHIFT);

const fn plain(key: Key) -> KeyboardShortcut {
    KeyboardShortcut::new(Modifiers::NONE, key)
}

const fn shift(key: Key) -> KeyboardShortcut {
    KeyboardShortcut::new(Modifiers::SHIFT, key)
}

const fn ctrl(key: Key) -> KeyboardShortcut {
    KeyboardShortcut::new(Modifiers::COMMAND, key)
}

impl Command {
    pub const ALL: [Self; 67] = [
        Self::Step,
        Self::PlayPause,
        Self::Back,
        Self::Forward,
        Self::Branch,
        Self::Refine,
        Self::Sampling,
        Self::PauseWork,
        Self::Cancel,
        Self::Undo,
        Self::Redo,
        Self::NextFrame,
        Self::PreviousFrame,
        Self::ForwardTen,
        Self::BackTen,
        Self::FirstFrame,
        Self::LastFrame,
        Self::NextStep,
        Self::PreviousStep,
        Self::PlayForward,
        Self::PlayBackward,
        Self::Pause,
        Self::Faster,
        Self::Slower,
        Self::NormalSpeed,
        Self::MarkIn,
        Self::MarkOut,
        Self::ClearMarks,
        Self::ToggleLoop,
        Self::CompareMode,
        Self::ToggleCompare,
        Self::SwapSides,
        Self::Candidate1,
        Self::Candidate2,
        Self::Candidate3,
        Self::Candidate4,
        Self::Candidate5,
        Self::Candidate6,
        Self::Candidate7,
        Self::Candidate8,
        Self::Candidate9,
        Self::OpenGallery,
        Self::OpenFrame,
        Self::OpenSession,
        Self::RestoreSession,
        Self::SaveSession,
        Self::OpenPack,
        Self::ImportWeights,
        Self::FetchWeights,
        Self::PolicyCodes,
        Self::OpenCodes,
        Self::ToggleFit,
        Self::SaveFrame,
        Self::CopyFrame,
        Self::MapColour,
        Self::MapReset,
        Self::Present,
        Self::FullScreen,
        Self::NextTheme,
        Self::Palette,
        Self::Keys,
        Self::ConnectRemote,
        Self::ComputeHere,
        Self::VerifyDevice,
        Self::RestartEngine,
        Self::Escape,
        Self::Quit,
    ];

    /// Name and explanation.
    pub fn text(self) -> (&'static str, &'static str) {
        match self {
            Self::Step => {
                ("Step", "Predict the next clip, or take it from recorded codes, and play it")
            }
            Self::PlayPause => {
                ("Play or pause", "Play to the end of the task, predicting what is missing")
            }
            Self::Back => ("Back", "Go one clip back; nothing is lost"),
            Self::Forward => ("Forward", "Go one clip forward on this branch"),
            Self::Branch => ("Branch", "Predict this clip again with another seed"),
            Self::Refine => {
                ("Refine", "Refine the clips of this branch, also those that were cancelled")
            }
            Self::Sampling => {
                ("Sampling…", "How freely codes are drawn, and how long video is refined")
            }
            Self::PauseWork => {
                ("Pause or resume work", "Hold the work between two steps; nothing is lost")
            }
            Self::Cancel => {
                ("Cancel all jobs", "Stop the work at the next step and keep what is finished")
            }
            Self::Undo => ("Undo move", "Return to where you were in the tree"),
            Self::Redo => ("Redo move", "Take the undone move again"),
            Self::NextFrame => ("Next frame", "One frame forward"),
            Self::PreviousFrame => ("Previous frame", "One frame back"),
            Self::ForwardTen => ("10 frames forward", "Ten frames forward"),
            Self::BackTen => ("10 frames back", "Ten frames back"),
            Self::FirstFrame => ("First frame", "To the starting frame"),
            Self::LastFrame => ("Last frame", "To the end of this branch"),
            Self::NextStep => ("Next code step", "To the next step of the codes"),
            Self::PreviousStep => ("Previous code step", "To the previous step of the codes"),
            Self::PlayForward => {
                ("Play forward", "Play what is painted; again for twice the speed")
            }
            Self::PlayBackward => ("Play backward", "Play backward; again for twice the speed"),
            Self::Pause => ("Pause", "Rest on this frame, and play no faster than normal next"),
            Self::Faster => ("Faster", "Play faster"),
            Self::Slower => ("Slower", "Play slower"),
            Self::NormalSpeed => ("Normal speed", "Play at the clip's own speed"),
            Self::MarkIn => ("Set in point", "The loop begins at this frame"),
            Self::MarkOut => ("Set out point", "The loop ends at this frame"),
            Self::ClearMarks => ("Clear in and out", "Play over the whole video again"),
            Self::ToggleLoop => ("Loop", "Start again at the end"),
            Self::CompareMode => {
                ("Next compare mode", "Best alone, wipe, side by side, difference")
            }
            Self::ToggleCompare => {
                ("Compare on or off", "Switch between the best alone and the last compare mode")
            }
            Self::SwapSides => ("Swap A and B", "Exchange the sides of wipe and side by side"),
            Self::Candidate1 => ("Take candidate 1", "Go on with the most likely code"),
            Self::Candidate2 => ("Take candidate 2", "Go on with the second most likely code"),
            Self::Candidate3 => ("Take candidate 3", "Go on with candidate 3"),
            Self::Candidate4 => ("Take candidate 4", "Go on with candidate 4"),
            Self::Candidate5 => ("Take candidate 5", "Go on with candidate 5"),
            Self::Candidate6 => ("Take candidate 6", "Go on with candidate 6"),
            Self::Candidate7 => ("Take candidate 7", "Go on with candidate 7"),
            Self::Candidate8 => ("Take candidate 8", "Go on with candidate 8"),
            Self::Candidate9 => ("Take candidate 9", "Go on with candidate 9"),
            Self::OpenGallery => {
                ("Choose starting frame", "Show the gallery of unseen environments")
            }
            Self::OpenFrame => ("Open picture…", "Start from a picture of your own"),
            Self::OpenSession => ("Open session…", "Go on with a rollout that was saved"),
            Self::RestoreSession => (
                "Restore last session",
                "Go on with the rollout of the last time and what it lacked",
            ),
            Self::SaveSession => {
                ("Save session…", "Write the rollout and its starting frame into one file")
            }
            Self::OpenPack => ("Open pack…", "Use another trained system"),
            Self::ImportWeights => {
                ("Import weights…", "Make a pack of a folder with the published files")
            }
            Self::FetchWeights => {
                ("Fetch weights…", "Fetch the published files, after a question, and import them")
            }
            Self::PolicyCodes => ("Policy's codes", "Step asks the policy for the next clip"),
            Self::OpenCodes => ("Open codes…", "Step plays the codes that rollout or encode wrote"),
            Self::ToggleFit => (
                "Crop or letterbox",
                "Bring a picture of another shape to the model's; its rollout begins anew",
            ),
            Self::SaveFrame => ("Save frame…", "Write the frame on the stage as PNG"),
            Self::CopyFrame => ("Copy frame", "Put the frame on the stage on the clipboard"),
            Self::MapColour => ("Colour the map by…", "Action, environment or step"),
            Self::MapReset => {
                ("Show the whole map", "End pan, zoom and selection of the map; its colours stay")
            }
            Self::Present => ("Present", "Only stage, strip and captions; Esc leaves"),
            Self::FullScreen => ("Full screen", "Use the whole screen"),
            Self::NextTheme => ("Next theme", "Dark, light, high contrast"),
            Self::Palette => ("Search commands", "Find a command by its name"),
            Self::Keys => ("Show keys", "All keys at a glance"),
            Self::ConnectRemote => {
                ("Remote…", "Compute on another machine, where videoworld-studio serve runs")
            }
            Self::ComputeHere => ("This machine", "Compute on this machine again"),
            Self::VerifyDevice => (
                "Verify device",
                "Compare what the device computes with the processor, part by part",
            ),
            Self::RestartEngine => {
                ("Restart engine", "Start the worker again; the rollout is kept")
            }
            Self::Escape => {
                ("Close or leave", "Close what is open, leave presentation, leave full screen")
            }
            Self::Quit => ("Quit", "Close the studio"),
        }
    }

    /// The keys that give this command; the first one is shown.
    pub fn shortcuts(self) -> &'static [KeyboardShortcut] {
        macro_rules! keys {
            ($($key:expr),*) => {{
                const KEYS: &[KeyboardShortcut] = &[$($key),*];
                KEYS
            }};
        }
        match self {
            Self::Step => keys![plain(Key::N), plain(Key::E)],
            Self::PlayPause => keys![plain(Key::Space)],
            Self::Back => keys![plain(Key::Backspace)],
            Self::Forward => keys![shift(Key::Backspace)],
            Self::Branch => keys![plain(Key::B)],
            Self::Refine => keys![ctrl(Key::Enter)],
            Self::PauseWork => keys![plain(Key::P)],
            Self::Cancel => {
                keys![KeyboardShortcut::new(Modifiers::COMMAND.plus(Modifiers::ALT), Key::Enter)]
            }
            Self::Undo => keys![ctrl(Key::Z)],
            Self::Redo => keys![KeyboardShortcut::new(CTRL_SHIFT, Key::Z), ctrl(Key::Y)],
            Self::NextFrame => keys![plain(Key::ArrowRight), plain(Key::Period)],
            Self::PreviousFrame => keys![plain(Key::ArrowLeft), plain(Key::Comma)],
            Self::ForwardTen => keys![shift(Key::ArrowRight)],
            Self::BackTen => keys![shift(Key::ArrowLeft)],
            Self::FirstFrame => keys![plain(Key::Home)],
            Self::LastFrame => keys![plain(Key::End)],
            Self::NextStep => keys![plain(Key::ArrowDown)],
            Self::PreviousStep => keys![plain(Key::ArrowUp)],
            Self::PlayForward => keys![plain(Key::L)],
            Self::PlayBackward => keys![plain(Key::J)],
            Self::Pause => keys![plain(Key::K)],
            Self::Faster => keys![plain(Key::CloseBracket)],
            Self::Slower => keys![plain(Key::OpenBracket)],
            Self::MarkIn => keys![plain(Key::I)],
            Self::MarkOut => keys![plain(Key::O)],
            Self::ClearMarks => keys![shift(Key::I)],
            Self::ToggleLoop => keys![ctrl(Key::Slash)],
            Self::CompareMode => keys![plain(Key::W)],
            Self::ToggleCompare => keys![plain(Key::C)],
            Self::SwapSides => keys![plain(Key::X)],
            Self::Candidate1 => keys![plain(Key::Num1)],
            Self::Candidate2 => keys![plain(Key::Num2)],
            Self::Candidate3 => keys![plain(Key::Num3)],
            Self::Candidate4 => keys![plain(Key::Num4)],
            Self::Candidate5 => keys![plain(Key::Num5)],
            Self::Candidate6 => keys![plain(Key::Num6)],
            Self::Candidate7 => keys![plain(Key::Num7)],
            Self::Candidate8 => keys![plain(Key::Num8)],
            Self::Candidate9 => keys![plain(Key::Num9)],
            Self::OpenGallery => keys![plain(Key::G)],
            Self::OpenFrame => keys![ctrl(Key::O)],
            Self::OpenPack => keys![KeyboardShortcut::new(CTRL_SHIFT, Key::O)],
            Self::SaveSession => keys![ctrl(Key::S)],
            Self::SaveFrame => keys![plain(Key::S)],
            Self::MapColour => keys![plain(Key::M)],
            Self::Present => keys![plain(Key::F5)],
            Self::FullScreen => keys![plain(Key::F11)],
            Self::Palette => keys![ctrl(Key::P), ctrl(Key::K)],
            Self::Keys => keys![plain(Key::F1), plain(Key::Questionmark), shift(Key::Questionmark)],
            Self::Escape => keys![plain(Key::Escape)],
            Self::Quit => keys![ctrl(Key::Q)],
            // Ctrl+C reaches the window as a copy event, see `pressed`.
            Self::NormalSpeed
            | Self::OpenSession
            | Self::RestoreSession
            | Self::ImportWeights
            | Self::FetchWeights
            | Self::PolicyCodes
            | Self::OpenCodes
            | Self::ToggleFit
            | Self::CopyFrame
            | Self::MapReset
            | Self::NextTheme
            | Self::ConnectRemote
            | Self::ComputeHere
            | Self::VerifyDevice
            | Self::Sampling
            | Self::RestartEngine => &[],
        }
    }

    /// The key to show beside the command, empty if it has none.
    pub fn key(self, ctx: &egui::Context) -> String {
        match (self, self.shortcuts()) {
            (Self::CopyFrame, _) => short(&ctx.format_shortcut(&ctrl(Key::C))),
            (_, [first, ..]) => short(&ctx.format_shortcut(first)),
            (_, []) => String::new(),
        }
    }

    /// Takes those of `commands` whose keys were pressed out of the input.
    ///
    /// Keys that mean something in a text field are left alone while one has the focus.
    pub fn pressed(ctx: &egui::Context, commands: &[Self]) -> Vec<Self> {
        let typing = ctx.text_edit_focused();
        // An open menu or list takes Escape for itself.
        let popup = egui::Popup::is_any_open(ctx);
        let mut keys: Vec<(KeyboardShortcut, Self)> = commands
            .iter()
            .flat_map(|command| command.shortcuts().iter().map(|key| (*key, *command)))
            .filter(|(key, command)| match command {
                Self::Escape => !popup,
                _ => !typing || !key.conflicts_with_text_editing(),
            })
            .collect();
        // egui ignores extra Shift and Alt, so the key with more modifiers has to ask first.
        keys.sort_by_key(|(key, _)| std::cmp::Reverse(modifier_count(key.modifiers)));
        ctx.input_mut(|input| {
            let mut pressed: Vec<Self> = keys
                .iter()
                .filter(|(key, _)| input.consume_shortcut(key))
                .map(|(_, command)| *command)
                .collect();
            let copies = commands.contains(&Self::CopyFrame) && !typing;
            if copies && input.events.contains(&egui::Event::Copy) {
                pressed.push(Self::CopyFrame);
            }
            pressed
        })
    }
}

/// Keys with a usual sign are shown by it.
fn short(keys: &str) -> String {
    let sign = |key: &str| match key {
        "Backspace" => "⌫".to_owned(),
        "Left" => "←".to_owned(),
        "Right" => "→".to_owned(),
        "Up" => "↑".to_owned(),
        "Down" => "↓".to_owned(),
        "OpenBracket" => "[".to_owned(),
        "CloseBracket" => "]".to_owned(),
        "Slash" => "/".to_owned(),
        "Escape" => "Esc".to_owned(),
        other => other.to_owned(),
    };
    keys.split('+').map(sign).collect::<Vec<_>>().join(" ")
}

fn modifier_count(modifiers: Modifiers) -> usize {
    [modifiers.alt, modifiers.shift, modifiers.command, modifiers.ctrl, modifiers.mac_cmd]
        .into_iter()
        .filter(|held| *held)
        .count()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_list_holds_every_command_once() {
        let unique: HashSet<_> = Command::ALL.into_iter().collect();
        assert_eq!(unique.len(), Command::ALL.len());
        // The last variant's place in the enum says how many there are.
        assert_eq!(Command::Quit as usize + 1, Command::ALL.len());
    }

    #[test]
    fn no_two_commands_share_a_key() {
        for mac in [false, true] {
            // On a Mac "command" is its own key, elsewhere it is Ctrl.
            let real =
                |m: Modifiers| (m.alt, m.shift, m.ctrl || (!mac && m.command), mac && m.command);
            let mut taken = std::collections::HashMap::new();
            for command in Command::ALL {
                for key in command.shortcuts() {
                    let place = (real(key.modifiers), key.logical_key);
                    if let Some(other) = taken.insert(place, command) {
                        panic!("{command:?} and {other:?} are both on {key:?}");
                    }
                }
            }
            // Taken by egui for the size of the window's contents, and by the clipboard.
            let ctrl = real(Modifiers::COMMAND);
            for key in [Key::Plus, Key::Minus, Key::Num0, Key::C, Key::V, Key::X, Key::A] {
                assert!(!taken.contains_key(&(ctrl, key)), "Ctrl+{key:?} is taken");
            }
        }
    }

    #[test]
    fn every_command_explains_itself() {
        for command in Command::ALL {
            let (name, explanation) = command.text();
            assert!(!name.is_empty() && name.len() < 32, "{command:?}");
            assert!(!explanation.is_empty() && !explanation.ends_with('.'), "{command:?}");
        }
    }
}
