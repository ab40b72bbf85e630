//! MiniGrid's Memory: a key or a ball lies in the first room; at the end of a hallway the way splits,
//! and who acts must go to the same object. The reward is 1 - 0.9 × decisions / 5 size² there, and
//! nothing at the other object. The episode is cut off after 5 size² decisions.
//!
//! ```text
//! #############     k: the object to remember
//! #         #b#     the agent starts anywhere in the middle row, and looks to the right
//! #### #### # #
//! #k ######## #     actions: left, right, forward; pick up, drop, toggle and the last one
//! #  >        #     have nothing to act upon here
//! #  ######## #
//! ```
//!
//! The observation is MiniGrid's image without its direction and its mission, which is always the
//! same.

use engram_mdp::{Action, ActionSpec, EnvSpec, Generator, ObservationMut, Seed};
use serde::Deserialize;

use super::grid::{Cell, Grid, Place, observation};
use crate::canvas::Canvas;
use crate::chance::Chance;
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::ParameterError;

/// The parameters of MiniGrid's Memory.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MiniGridMemoryConfig {
    /// Rows and columns of the world, walls among them: an odd number.
    pub size: usize,
    /// Length of the hallway.
    pub hallway: Hallway,
}

/// Length of the hallway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hallway {
    /// As long as the world allows.
    Full,
    /// Drawn for every episode.
    Random,
}

impl EnvironmentParameters for MiniGridMemoryConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        if (7..=99).contains(&self.size) && self.size % 2 == 1 {
            return Ok(());
        }
        Err(ParameterError::new("size", self.size, "an odd number from 7 to 99"))
    }

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            name: "minigrid-memory".into(),
            observation: observation(),
            action: ActionSpec::Discrete { count: 7 },
            frame_stack: 1,
            action_repeat: 1,
        }
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        let world = World::new(self);
        Box::new(MiniGridMemory { spec: self.spec(), generator: seed.generator(), world })
    }

    fn memoryless(&self) -> Option<f32> {
        Some(0.5)
    }
}

struct MiniGridMemory {
    spec: EnvSpec,
    generator: Generator,
    world: World,
}

impl Environment for MiniGridMemory {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        self.world.begin(&mut self.generator);
        self.world.grid.show(observation.bytes());
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        let outcome = self.world.step(action.index());
        self.world.grid.show(observation.bytes());
        outcome
    }

    fn success(&self) -> Option<bool> {
        Some(self.world.grid.place == self.world.right)
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption("go to the object that lies in the first room");
        self.world.grid.render(canvas);
        canvas.timeline(&[self.world.max_steps], self.world.time);
    }
}

/// Hidden state and rules.
struct World {
    hallway: Hallway,
    grid: Grid,
    /// Places beside the matching object and beside the other one.
    right: Place,
    wrong: Place,
    max_steps: u32,
    time: u32,
}

impl World {
    fn new(config: &MiniGridMemoryConfig) -> Self {
        World {
            hallway: config.hallway,
            grid: Grid::new(config.size, config.size),
            right: [0, 0],
            wrong: [0, 0],
            max_steps: 5 * (config.size * config.size) as u32,
            time: 0,
        }
    }

    fn begin(&mut self, chance: &mut impl Chance) {
        let (size, middle) = (self.grid.width, self.grid.width / 2);
        let end = match self.hallway {
            Hallway::Full => size - 3,
            Hallway::Random => 4 + chance.below(size - 6),
        };
        self.build(end);
        self.grid.place = [1 + chance.below(end), middle];
        self.grid.heading = 0;
        let objects = [Cell::Key, Cell::Ball];
        let cue = chance.below(2);
        self.grid.set([1, middle - 1], objects[cue]);
        // The ball lies above, or the key.
        let above = 1 - chance.below(2);
        self.grid.set([end + 1, middle - 2], objects[above]);
        self.grid.set([end + 1, middle + 2], objects[1 - above]);
        (self.right, self.wrong) = ([end + 1, middle - 1], [end + 1, middle + 1]);
        if cue != above {
            std::mem::swap(&mut self.right, &mut self.wrong);
        }
        self.time = 0;
    }

    /// Builds the walls of the room, of the hallway that ends at a column, and of the split.
    fn build(&mut self, end: usize) {
        let (size, middle) = (self.grid.width, self.grid.width / 2);
        self.grid.clear();
        for column in 1..5 {
            self.grid.set([column, middle - 2], Cell::Wall);
            self.grid.set([column, middle + 2], Cell::Wall);
        }
        for column in 4..end.max(5) {
            self.grid.set([column, middle - 1], Cell::Wall);
            self.grid.set([column, middle + 1], Cell::Wall);
        }
        for row in 0..size {
            if row != middle {
                self.grid.set([end, row], Cell::Wall);
            }
            self.grid.set([end + 2, row], Cell::Wall);
        }
    }

    fn step(&mut self, action: usize) -> Outcome {
        self.time += 1;
        self.grid.act(action);
        if self.grid.place == self.right {
            let passed = f64::from(self.time) / f64::from(self.max_steps);
            Outcome::terminated((1.0 - 0.9 * passed) as f32)
        } else if self.grid.place == self.wrong {
            Outcome::terminated(0.0)
        } else {
            Outcome::until(self.max_steps, self.time, 0.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use engram_mdp::Ending;
    use toml::Table;

    use super::*;
    use crate::environments::minigrid::grid::HOT;
    use crate::goldens::{Digest, SharedChance, strings};

    const EPISODES: usize = 240;
    /// Share of the decisions on the way to an object, in episodes that follow one another. In the
    /// last of four it is the wrong one.
    const SKILLS: [f64; 4] = [0.0, 0.5, 1.0, 1.0];

    /// The next action on the way along the hallway to one of its ends.
    fn walk(grid: &Grid, goal: Place) -> usize {
        let [column, row] = grid.place;
        let heading = if column < goal[0] { 0 } else { 3 - 2 * usize::from(row < goal[1]) };
        match (heading + 4 - grid.heading) % 4 {
            0 => 2,
            3 => 0,
            _ => 1,
        }
    }

    /// Objects that are seen, row by row.
    fn objects(image: &[u8]) -> String {
        let object = |at| (0..11_usize).find(|channel| image[channel * 49 + at] > 0).unwrap();
        (0..49).map(|at| object(at).to_string()).collect()
    }

    fn replay(record: &Table) {
        let config: MiniGridMemoryConfig = {
            let mut keys = record.clone();
            keys.retain(|key, _| ["size", "hallway"].contains(&key));
            keys.try_into().unwrap()
        };
        assert_eq!(config.validate(), Ok(()));
        let size = config.size as u64;
        let (mut chance, mut actor) = (SharedChance(size), SharedChance(1000 + size));
        let mut world = World::new(&config);
        let mut image = vec![9; observation().len()];
        let (mut digest, mut total) = (Digest::default(), 0.0);
        let (mut steps, mut ends) = (0, [0_i64; 3]);
        let mut digests = strings(record, "digests").into_iter();
        let mut first = strings(record, "first").into_iter();
        let add = |digest: &mut Digest, image: &[u8]| {
            image.iter().for_each(|&byte| digest.add(&[byte / HOT]));
        };
        for episode in 0..EPISODES {
            world.begin(&mut chance);
            let mut look = |world: &World, digest: &mut Digest| {
                world.grid.show(&mut image);
                add(digest, &image);
                if let Some(expected) = (episode == 1).then(|| first.next()).flatten() {
                    assert_eq!(objects(&image), expected);
                }
            };
            look(&world, &mut digest);
            let goal = if episode % 4 == 3 { world.wrong } else { world.right };
            let mut end = 0;
            while end == 0 {
                let action = match actor.unit() < SKILLS[episode % SKILLS.len()] {
                    true => walk(&world.grid, goal),
                    false => actor.below(7),
                };
                let outcome = world.step(action);
                look(&world, &mut digest);
                end = match outcome.ending {
                    None => 0,
                    Some(Ending::Terminated) => 1,
                    Some(Ending::Truncated) => 2,
                };
                digest.add(&outcome.reward.to_le_bytes());
                digest.add(&[end]);
                steps += 1;
                total += f64::from(outcome.reward);
            }
            ends[usize::from(end)] += 1;
            if episode & (episode + 1) == 0 || episode == EPISODES - 1 {
                assert_eq!(digest.text(), digests.next().unwrap(), "episode {episode}");
            }
        }
        let expected = ["steps", "terminated", "truncated"].map(|key| record[key].as_integer());
        assert_eq!([steps, ends[1], ends[2]].map(Some), expected);
        let expected = record["mean_return"].as_float().unwrap();
        assert!((total / EPISODES as f64 - expected).abs() < 1e-6);
    }

    #[test]
    fn episodes_are_minigrids() {
        let all: Table = include_str!("../../../tests/replays/minigrid.toml").parse().unwrap();
        let records = all["memory"].as_array().unwrap();
        assert_eq!(records.len(), 6);
        records.iter().for_each(|record| replay(record.as_table().unwrap()));
    }

    #[test]
    fn an_even_size_is_refused() {
        let config = MiniGridMemoryConfig { size: 8, hallway: Hallway::Full };
        let message = config.validate().unwrap_err().to_string();
        assert_eq!(message, "`size` is 8; it must be an odd number from 7 to 99");
    }
}
