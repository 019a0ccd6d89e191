//! How the video plays: speed, direction, loop, and the points between which it stays.

use std::ops::RangeInclusive;

/// One end of the part that is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mark {
    In,
    Out,
}

impl Mark {
    pub fn label(self) -> &'static str {
        match self {
            Self::In => "In point",
            Self::Out => "Out point",
        }
    }
}

/// In and out point, frames of the joined line of clips. In lies before out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    first: Option<i64>,
    last: Option<i64>,
}

impl Marks {
    pub fn get(self, mark: Mark) -> Option<i64> {
        match mark {
            Mark::In => self.first,
            Mark::Out => self.last,
        }
    }

    /// Sets one end; the other one goes if it would lie on its wrong side.
    pub fn set(&mut self, mark: Mark, at: i64) {
        match mark {
            Mark::In => {
                self.first = Some(at);
                self.last = self.last.filter(|last| *last > at);
            }
            Mark::Out => {
                let at = at.max(1);
                self.last = Some(at);
                self.first = self.first.filter(|first| *first < at);
            }
        }
    }

    /// Where a handle that is dragged to `at` may stand: on its side of the other one, and within
    /// `0..=end`.
    pub fn nearest(self, mark: Mark, at: i64, end: i64) -> i64 {
        match mark {
            Mark::In => at.min(self.last.unwrap_or(end) - 1).max(0),
            Mark::Out => at.min(end).max(self.first.unwrap_or(0) + 1),
        }
    }

    pub fn any(self) -> bool {
        self.first.is_some() || self.last.is_some()
    }

    /// Frames that may be played.
    pub fn range(self) -> RangeInclusive<i64> {
        self.first.unwrap_or(0)..=self.last.unwrap_or(i64::MAX)
    }
}

/// Running time.
#[derive(Debug, Clone)]
pub struct Player {
    pub playing: bool,
    /// Towards the start.
    pub backward: bool,
    /// A clip that came just now plays to its end and rests, whatever marks and loop say.
    pub once: bool,
    /// Predict what is missing until the task is done.
    pub to_the_end: bool,
    pub speed: f32,
    pub looping: bool,
    pub marks: Marks,
    /// When the frame on the stage was put there, egui seconds.
    pub shown_at: Option<f64>,
}

impl Default for Player {
    fn default() -> Self {
        Self {
            playing: false,
            backward: false,
            once: false,
            to_the_end: false,
            speed: 1.0,
            looping: false,
            marks: Marks::default(),
            shown_at: None,
        }
    }
}

impl Player {
    /// Plays what just came, once.
    pub fn play_once(&mut self) {
        self.playing = true;
        self.backward = false;
        self.once = true;
        self.shown_at = None;
    }

    /// Frames that may be played now.
    pub fn range(&self) -> RangeInclusive<i64> {
        if self.once { Marks::default().range() } else { self.marks.range() }
    }

    /// Where to begin when play is asked for at `at`; `None` to begin there.
    pub fn entry(&self, at: i64) -> Option<i64> {
        let range = self.marks.range();
        let (first, last) = (*range.start(), *range.end());
        if self.backward {
            (at <= first || at > last).then_some(last).filter(|_| self.marks.any())
        } else {
            (at < first || at >= last).then_some(first)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_stays_before_out() {
        let mut marks = Marks::default();
        marks.set(Mark::In, 10);
        marks.set(Mark::Out, 20);
        assert_eq!(marks.range(), 10..=20);
        marks.set(Mark::In, 25);
        assert_eq!(marks.range(), 25..=i64::MAX, "an out point before it is dropped");
        marks.set(Mark::Out, 5);
        assert_eq!(marks.range(), 0..=5);
        marks.set(Mark::In, 2);
        assert_eq!(marks.nearest(Mark::In, 9, 100), 4);
        assert_eq!(marks.nearest(Mark::In, -3, 100), 0);
        assert_eq!(marks.nearest(Mark::Out, 1, 100), 3);
        assert_eq!(marks.nearest(Mark::Out, 400, 100), 100);
    }

    #[test]
    fn playing_begins_within_the_marks() {
        let mut player = Player::default();
        assert_eq!(player.entry(7), None);
        player.marks.set(Mark::In, 10);
        player.marks.set(Mark::Out, 20);
        assert_eq!(player.entry(7), Some(10));
        assert_eq!(player.entry(12), None);
        assert_eq!(player.entry(20), Some(10));
        player.backward = true;
        assert_eq!(player.entry(20), None);
        assert_eq!(player.entry(10), Some(20));
        player.marks = Marks::default();
        assert_eq!(player.entry(0), None);
    }
}
