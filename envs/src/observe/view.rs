//! View of a state: the parts of it that an agent sees, and how much of the past.
//!
//! A [`StateLayout`] gives each part of a state a letter: `p` for positions, `v` for velocities,
//! `l` for a length, `a` for the last action. `observe = "pa"` shows the positions and the last
//! action, in the order in which the state holds them. `concat = 5` shows the last five such
//! observations side by side, the oldest first, and zeros for those before the episode: a window
//! into the past for agents without memory.

use engram_mdp::{ActionSpec, Dtype, EnvSpec, ObservationMut, ObservationSpec};
use serde::Deserialize;

use crate::error::{ParameterError, within};

/// Parts of a state that an agent sees: `full`, or letters of the environment's layout.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Parts(String);

impl From<&str> for Parts {
    fn from(letters: &str) -> Self {
        Parts(letters.into())
    }
}

/// The parts of an environment's state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StateLayout {
    /// Every part, each once.
    pub(crate) parts: &'static [Part],
    /// The letters that `full` stands for.
    pub(crate) full: &'static str,
}

/// A part of a state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// Its letter in `observe`.
    pub(crate) letter: char,
    /// Its name for people, and in `observe` where the part stands alone.
    pub(crate) name: &'static str,
    /// Its indices in the state.
    pub(crate) indices: &'static [usize],
}

impl StateLayout {
    /// Checks the keys `observe` and `concat`.
    pub(crate) fn check(
        &self,
        observe: &Parts,
        concat: Option<usize>,
    ) -> Result<(), ParameterError> {
        if let Some(concat) = concat {
            within("concat", concat, 1..=1000)?;
        }
        match self.seen(observe) {
            Some(_) => Ok(()),
            None => Err(ParameterError::new("observe", &observe.0, self.choices())),
        }
    }

    /// View of the parts, which were checked.
    pub(crate) fn view(&self, observe: &Parts, concat: Option<usize>) -> View {
        let seen = self.seen(observe).expect("the parts were checked");
        let mut kept: Vec<usize> = seen.iter().flat_map(|part| part.indices).copied().collect();
        kept.sort_unstable();
        let letters: String = seen.iter().map(|part| part.letter).collect();
        let mut description = match &seen[..] {
            _ if letters == self.full => "observe=full".into(),
            [alone] => format!("observe={}", alone.name),
            _ => format!("observe={letters}"),
        };
        if let Some(concat) = concat {
            description += &format!(", concat={concat}");
        }
        let window = vec![0.0; concat.unwrap_or(1) * kept.len()];
        View { description, kept, window }
    }

    /// The parts that are seen, in the order of the layout; none if a letter is unknown or stands
    /// there twice.
    fn seen(&self, observe: &Parts) -> Option<Vec<&Part>> {
        let named = self.parts.iter().find(|part| part.name == observe.0);
        let letters = match (observe.0.as_str(), named) {
            ("full", _) => self.full,
            (_, Some(part)) => return Some(vec![part]),
            (letters, None) => letters,
        };
        let seen: Vec<&Part> =
            self.parts.iter().filter(|part| letters.contains(part.letter)).collect();
        (!seen.is_empty() && seen.len() == letters.chars().count()).then_some(seen)
    }

    fn choices(&self) -> String {
        let part = |part: &Part| format!("{} ({})", part.letter, part.name);
        let parts: Vec<String> = self.parts.iter().map(part).collect();
        format!("full (the same as {}), or letters of: {}", self.full, parts.join(", "))
    }
}

/// View of one environment's state: the numbers that are kept of it, in the last observations.
#[derive(Clone, Debug)]
pub(crate) struct View {
    description: String,
    kept: Vec<usize>,
    /// The last observations, the oldest first.
    window: Vec<f32>,
}

impl View {
    /// Spec of the environment called `name`, which has this view.
    pub(crate) fn spec(&self, name: &str, action: ActionSpec) -> EnvSpec {
        EnvSpec {
            name: format!("{name}({})", self.description),
            observation: ObservationSpec { dtype: Dtype::F32, shape: vec![self.window.len()] },
            action,
            frame_stack: 1,
            action_repeat: 1,
        }
    }

    /// Shows the first state of an episode.
    pub(crate) fn begin(&mut self, state: &[f32], observation: ObservationMut<'_>) {
        self.window.fill(0.0);
        self.show(state, observation);
    }

    /// Shows the next state.
    pub(crate) fn show(&mut self, state: &[f32], observation: ObservationMut<'_>) {
        let newest = self.window.len() - self.kept.len();
        self.window.copy_within(self.kept.len().., 0);
        for (to, &index) in self.window[newest..].iter_mut().zip(&self.kept) {
            *to = state[index];
        }
        observation.floats().copy_from_slice(&self.window);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: StateLayout = StateLayout {
        parts: &[
            Part { letter: 'p', name: "positions", indices: &[0, 2] },
            Part { letter: 'v', name: "velocities", indices: &[1, 3] },
            Part { letter: 'a', name: "last action", indices: &[4] },
        ],
        full: "pv",
    };
    const STATE: [f32; 5] = [1.0, 2.0, 3.0, 4.0, 5.0];

    fn seen(observe: &str) -> Vec<f32> {
        let mut view = LAYOUT.view(&observe.into(), None);
        let mut row = vec![0.0; view.window.len()];
        view.begin(&STATE, ObservationMut::F32(&mut row));
        row
    }

    #[test]
    fn the_kept_numbers_stand_in_the_order_of_the_state_whatever_the_order_of_the_letters() {
        assert_eq!(seen("full"), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(seen("vp"), seen("full"));
        assert_eq!(seen("p"), [1.0, 3.0]);
        assert_eq!(seen("velocities"), [2.0, 4.0]);
        assert_eq!(seen("av"), [2.0, 4.0, 5.0]);
    }

    #[test]
    fn a_window_holds_the_last_observations_the_oldest_first_and_is_emptied_at_a_reset() {
        let mut view = LAYOUT.view(&"p".into(), Some(3));
        let mut row = [9.0; 6];
        view.begin(&STATE, ObservationMut::F32(&mut row));
        assert_eq!(row, [0.0, 0.0, 0.0, 0.0, 1.0, 3.0]);
        for step in 1..=3 {
            let state = STATE.map(|x| x + 10.0 * step as f32);
            view.show(&state, ObservationMut::F32(&mut row));
        }
        assert_eq!(row, [11.0, 13.0, 21.0, 23.0, 31.0, 33.0]);
        view.begin(&STATE, ObservationMut::F32(&mut row));
        assert_eq!(row, [0.0, 0.0, 0.0, 0.0, 1.0, 3.0]);
    }

    #[test]
    fn the_spec_names_what_is_seen() {
        let name = |observe: &str, concat| {
            LAYOUT
                .view(&observe.into(), concat)
                .spec("world", ActionSpec::Discrete { count: 2 })
                .name
        };
        assert_eq!(name("vp", None), "world(observe=full)");
        assert_eq!(name("p", Some(5)), "world(observe=positions, concat=5)");
        assert_eq!(name("av", None), "world(observe=va)");
    }

    #[test]
    fn a_bad_part_or_window_is_answered_with_what_there_is() {
        let message =
            |observe: &str, concat| LAYOUT.check(&observe.into(), concat).unwrap_err().to_string();
        let expected = "`observe` is px; it must be full (the same as pv), or letters of: \
                        p (positions), v (velocities), a (last action)";
        assert_eq!(message("px", None), expected);
        assert!(message("pp", None).starts_with("`observe` is pp"));
        assert!(message("", None).starts_with("`observe` is "));
        assert_eq!(message("p", Some(0)), "`concat` is 0; it must be 1 to 1000");
    }
}
