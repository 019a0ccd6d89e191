//! Short messages in the corner. What only informs goes by itself, errors stay until read.

/// How long a message without an error stays, seconds.
pub const INFO_SECONDS: f64 = 6.0;

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub struct Toast {
    pub id: u64,
    pub error: bool,
    /// One sentence for people.
    pub text: String,
    /// For a report: versions, device, what was being done. Empty if there is nothing to copy.
    pub details: String,
    /// Offers to start the engine again.
    pub restart: bool,
    /// When it was first drawn, egui seconds.
    pub since: Option<f64>,
}

/// The messages on show, oldest first.
#[derive(Debug, Default)]
pub struct Toasts {
    shown: Vec<Toast>,
    next_id: u64,
}

impl Toasts {
    pub fn info(&mut self, text: impl Into<String>) {
        self.push(false, text.into(), String::new(), false);
    }

    pub fn error(&mut self, text: impl Into<String>, details: String) {
        self.push(true, text.into(), details, false);
    }

    /// The engine died: an error that offers to start it again.
    pub fn engine_died(&mut self, text: impl Into<String>, details: String) {
        self.push(true, text.into(), details, true);
    }

    fn push(&mut self, error: bool, text: String, details: String, restart: bool) {
        if self.shown.iter().any(|toast| toast.text == text) {
            return;
        }
        self.next_id += 1;
        self.shown.push(Toast { id: self.next_id, error, text, details, restart, since: None });
    }

    pub fn dismiss(&mut self, id: u64) {
        self.shown.retain(|toast| toast.id != id);
    }

    /// Removes offers to restart an engine that runs again.
    pub fn engine_lives(&mut self) {
        self.shown.retain(|toast| !toast.restart);
    }

    /// Drops messages whose time is over and returns when the next one goes, seconds from `now`.
    pub fn tick(&mut self, now: f64) -> Option<f64> {
        for toast in &mut self.shown {
            toast.since.get_or_insert(now);
        }
        let left = |toast: &Toast| INFO_SECONDS - (now - toast.since.unwrap_or(now));
        self.shown.retain(|toast| toast.error || left(toast) > 0.0);
        let infos = self.shown.iter().filter(|toast| !toast.error);
        infos.map(left).reduce(f64::min)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Toast> {
        self.shown.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_stay_and_infos_go() {
        let mut toasts = Toasts::default();
        toasts.info("saved");
        toasts.error("broken", String::new());
        assert_eq!(toasts.tick(10.0), Some(INFO_SECONDS));
        assert_eq!(toasts.tick(12.0), Some(INFO_SECONDS - 2.0));
        assert_eq!(toasts.tick(10.0 + INFO_SECONDS), None);
        assert_eq!(toasts.iter().count(), 1);
        let error = toasts.iter().next().unwrap().id;
        toasts.dismiss(error);
        assert!(toasts.is_empty());
    }

    #[test]
    fn the_same_sentence_is_not_said_twice() {
        let mut toasts = Toasts::default();
        toasts.error("broken", String::new());
        toasts.error("broken", String::new());
        assert_eq!(toasts.iter().count(), 1);
    }
}
