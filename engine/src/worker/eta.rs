//! The time that is left, from finished steps alone.

use std::time::Duration;

use crate::rollout::Stage;

/// Estimates the time left of one stage after another.
///
/// The time to the first finished step is left out of the mean: on a graphics card it holds the
/// compilation of the kernels.
#[derive(Debug, Default)]
pub struct Eta {
    stage: Option<Stage>,
    /// Steps done and the time at the first finished step of this stage.
    first: Option<(usize, Duration)>,
    last_done: usize,
    left: Option<Duration>,
}

impl Eta {
    /// Takes note that at `now` there are `done` of `total` steps finished, and returns the
    /// estimate: `None` until two steps are done, unchanged until another one is.
    pub fn finished(
        &mut self,
        stage: Stage,
        done: usize,
        total: usize,
        now: Duration,
    ) -> Option<Duration> {
        if self.stage != Some(stage) || done < self.last_done {
            *self = Self { stage: Some(stage), ..Self::default() };
        }
        if done > self.last_done {
            self.last_done = done;
            match self.first {
                None => self.first = Some((done, now)),
                Some((first_done, first_at)) => {
                    let per_step = now.saturating_sub(first_at) / count(done - first_done);
                    self.left = Some(per_step * count(total.saturating_sub(done)));
                }
            }
        }
        self.left
    }
}

fn count(steps: usize) -> u32 {
    u32::try_from(steps).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn nothing_is_promised_before_two_steps_are_done() {
        let mut eta = Eta::default();
        assert_eq!(eta.finished(Stage::Refining, 0, 10, secs(0)), None);
        assert_eq!(eta.finished(Stage::Refining, 1, 10, secs(60)), None);
        assert_eq!(eta.finished(Stage::Refining, 2, 10, secs(63)), Some(secs(24)));
    }

    #[test]
    fn the_first_step_with_its_compilation_does_not_count() {
        let mut eta = Eta::default();
        eta.finished(Stage::Refining, 1, 4, secs(100));
        eta.finished(Stage::Refining, 2, 4, secs(102));
        assert_eq!(eta.finished(Stage::Refining, 3, 4, secs(106)), Some(secs(3)));
        assert_eq!(eta.finished(Stage::Refining, 4, 4, secs(108)), Some(secs(0)));
    }

    #[test]
    fn the_estimate_is_frozen_between_steps() {
        let mut eta = Eta::default();
        eta.finished(Stage::Refining, 1, 4, secs(1));
        let estimate = eta.finished(Stage::Refining, 2, 4, secs(2));
        assert_eq!(eta.finished(Stage::Refining, 2, 4, secs(50)), estimate);
    }

    #[test]
    fn another_stage_or_another_clip_starts_anew() {
        let mut eta = Eta::default();
        eta.finished(Stage::Refining, 1, 4, secs(1));
        eta.finished(Stage::Refining, 2, 4, secs(2));
        assert_eq!(eta.finished(Stage::DecodingVideo, 1, 4, secs(3)), None);
        eta.finished(Stage::DecodingVideo, 2, 4, secs(4));
        assert_eq!(eta.finished(Stage::DecodingVideo, 0, 4, secs(5)), None);
        assert_eq!(eta.finished(Stage::DecodingVideo, 1, 4, secs(6)), None);
    }
}
