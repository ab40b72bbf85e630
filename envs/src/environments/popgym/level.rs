//! Level of difficulty, which every world of POPGym has three of.

use serde::Deserialize;

/// Level of difficulty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The package's `…Easy`.
    Easy,
    /// The package's `…Medium`.
    Medium,
    /// The package's `…Hard`.
    Hard,
}

impl Level {
    /// The number that belongs to this level.
    pub(crate) fn of<T: Copy>(self, [easy, medium, hard]: [T; 3]) -> T {
        match self {
            Level::Easy => easy,
            Level::Medium => medium,
            Level::Hard => hard,
        }
    }
}
