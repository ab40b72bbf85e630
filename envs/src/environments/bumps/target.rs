//! Bump to a target: push a bump that is not seen to a place that is. It must be felt first, and then
//! pushed from the right side.
//!
//! The state is the finger's tip, as a share of half the bench (0.4 meters), its angle (radians), the
//! target and the bump, as shares too; the agent sees finger and target (`fg`). An action is a move
//! of up to 5 cm, and a stiffness from 0.007 (-1) to 0.057 newton meters (1). Bump, finger and target
//! start within 0.24 meters of the middle, finger and target at least 0.04 from the bump. The reward
//! is 1 when the bump is within 0.05 meters of the target, which ends the episode; time cuts it off
//! (50 steps in the original).

use engram_mdp::{Action, ActionSpec, EnvSpec, Generator, ObservationMut, Seed};
use rand::RngExt;
use serde::Deserialize;

use super::bench::{Bench, Scene};
use super::{HALF_BENCH, act, draw};
use crate::canvas::{Canvas, Color};
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::{ParameterError, within};
use crate::observe::{Part, Parts, StateLayout, View};

const STIFFEST: f32 = 0.057;
/// Distance from the middle within which everything starts.
const END: f32 = 0.24;
/// Distance of finger and target from the bump.
const WAY: f32 = 0.04;
/// Distance from the target that is near enough.
const NEAR: f32 = 0.05;
const RED: Color = [206, 84, 84];

const LAYOUT: StateLayout = StateLayout {
    parts: &[
        Part { letter: 'f', name: "finger", indices: &[0, 1] },
        Part { letter: 'g', name: "goal", indices: &[2] },
        Part { letter: 'b', name: "bump", indices: &[3] },
    ],
    full: "fgb",
};

/// The parameters of the bump and its target.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BumpTargetConfig {
    /// Decisions after which an episode is cut off.
    pub max_steps: u32,
    /// Observed parts of the state: `fg` (finger and goal), or `full`, the bump too.
    pub observe: Parts,
    /// Observations side by side; the present one alone if absent.
    pub concat: Option<usize>,
}

impl EnvironmentParameters for BumpTargetConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("max_steps", self.max_steps, 1..=1_000_000)?;
        LAYOUT.check(&self.observe, self.concat)
    }

    fn spec(&self) -> EnvSpec {
        let view = LAYOUT.view(&self.observe, self.concat);
        view.spec("bump-target", ActionSpec::Continuous { dimensions: 2 })
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        Box::new(BumpTarget::new(self, seed))
    }
}

struct BumpTarget {
    spec: EnvSpec,
    view: View,
    max_steps: u32,
    generator: Generator,
    bench: Bench,
    target: f32,
    time: u32,
}

impl BumpTarget {
    fn new(config: &BumpTargetConfig, seed: Seed) -> Self {
        BumpTarget {
            spec: config.spec(),
            view: LAYOUT.view(&config.observe, config.concat),
            max_steps: config.max_steps,
            generator: seed.generator(),
            bench: Bench::new(0.0, &[0.1]),
            target: 0.0,
            time: 0,
        }
    }

    fn state(&self) -> [f32; 4] {
        let share = |position: f32| position / HALF_BENCH;
        let [tip, target, bump] = [self.bench.tip(), self.target, self.bench.bump(0)].map(share);
        [tip, self.bench.angle(), target, bump]
    }

    fn arrived(&self) -> bool {
        (self.bench.bump(0) - self.target).abs() <= NEAR
    }
}

impl Environment for BumpTarget {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        let bump = self.generator.random_range(-END..END);
        let free = [[-END, bump - WAY], [bump + WAY, END]];
        let finger = draw(&mut self.generator, &free);
        self.target = draw(&mut self.generator, &free);
        self.bench = Bench::new(finger, &[bump]);
        self.time = 0;
        self.view.begin(&self.state(), observation);
    }

    fn step(&mut self, action: Action<'_>, mut observation: ObservationMut<'_>) -> Outcome {
        self.time += 1;
        if let Err(broken) = act(&mut self.bench, action, STIFFEST, &mut observation) {
            return broken;
        }
        self.view.show(&self.state(), observation);
        if self.arrived() {
            Outcome::terminated(1.0)
        } else {
            Outcome::until(self.max_steps, self.time, 0.0)
        }
    }

    fn success(&self) -> Option<bool> {
        Some(self.arrived())
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption("push the bump to the green mark");
        let scene = Scene { bumps: &[RED], target: Some(self.target), stiffest: STIFFEST };
        self.bench.draw(canvas, &scene);
        canvas.timeline(&[self.max_steps], self.time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(seed: u64) -> BumpTarget {
        let config = BumpTargetConfig { max_steps: 30, observe: "full".into(), concat: None };
        BumpTarget::new(&config, Seed::new(seed))
    }

    /// Plays an episode, and returns its last reward.
    fn play(seed: u64, policy: impl Fn([f32; 4]) -> [f32; 2]) -> f32 {
        let mut environment = target(seed);
        let mut row = [0.0; 4];
        environment.reset(ObservationMut::F32(&mut row));
        loop {
            let action = policy(row);
            let action = Action::Continuous(&action);
            let outcome = environment.step(action, ObservationMut::F32(&mut row));
            if outcome.ending.is_some() {
                assert_eq!(environment.success(), Some(outcome.reward == 1.0));
                return outcome.reward;
            }
        }
    }

    /// Goes softly to the side from which the target is beyond the bump, and pushes.
    fn knowing([tip, angle, target, bump]: [f32; 4]) -> [f32; 2] {
        let direction = (target - bump).signum();
        let behind = direction * (bump - tip) * HALF_BENCH;
        let bent = direction * angle > 0.2;
        match behind {
            _ if behind < if bent { 0.03 } else { 0.018 } => [-direction, -1.0],
            // Bent still, from having passed the bump: back, until it hangs straight.
            _ if bent => [0.4 * direction, -1.0],
            _ => [direction, 1.0],
        }
    }

    #[test]
    fn who_knows_the_bump_pushes_it_to_the_target_and_who_pushes_to_the_target_does_so_less() {
        let solved = |policy: fn([f32; 4]) -> [f32; 2]| -> f32 {
            (0..20).map(|seed| play(seed, policy)).sum()
        };
        let known = solved(knowing);
        let hoping = solved(|[tip, _, target, _]| [(target - tip).signum(), 1.0]);
        assert!(known >= 18.0 && hoping <= 9.0, "{known} and {hoping} of 20");
    }

    #[test]
    fn finger_and_target_start_beside_the_bump() {
        let mut environment = target(1);
        for _ in 0..500 {
            let mut row = [0.0; 4];
            environment.reset(ObservationMut::F32(&mut row));
            let [tip, angle, target, bump] = row;
            assert!(angle.abs() < 1e-3 && row.iter().all(|x| x.abs() <= 0.61));
            assert!((tip - bump).abs() * 0.4 > 0.039 && (target - bump).abs() * 0.4 > 0.039);
        }
    }
}
