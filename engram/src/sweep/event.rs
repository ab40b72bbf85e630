//! Events of a sweep, from the slots that run its tasks to the view of its progress.

/// What a slot tells. A full channel makes slots wait, and with them nobody else: a run that says
/// more than is read fills a pipe.
pub(crate) enum Event {
    /// A task has started there.
    Started(usize, Option<String>),
    /// What it said.
    Line(usize, String),
    /// It has ended, well or because of what.
    Ended(usize, Result<(), String>),
    /// The machine cannot be reached; the task waits for another one.
    Lost(usize, String),
}
