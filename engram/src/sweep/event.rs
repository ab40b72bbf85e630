//! Events of a sweep, from the slots that run its tasks to the view of its progress.

/// Event of a slot. A full channel makes slots wait, and with them nobody else: a run that prints
/// more than is read fills a pipe.
pub(crate) enum SlotEvent {
    /// A task has started there.
    Started(usize, Option<String>),
    /// A line of its output.
    Line(usize, String),
    /// It has ended, well or with an error.
    Ended(usize, Result<(), String>),
    /// The machine cannot be reached; the task waits for another one.
    Lost(usize, String),
}
