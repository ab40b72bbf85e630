//! One moment of an environment, for people: what is there, what the agent sees, and how it fares.
//!
//! ```text
//! ┌──────────────────────────────────────────┐
//! │ what is there              what it sees  │   titles
//! │ ┌──────────────────────┐   ┌───────────┐ │
//! │ │ the picture of it    │   │observation│ │
//! │ └──────────────────────┘   └───────────┘ │
//! │ step 12   reward +1   return 3   solved  │
//! └──────────────────────────────────────────┘
//! ```
//!
//! An image is shown as its cells, as they are. Numbers are shown as bars from a middle line, one
//! that reaches the edge where the number is 1 or more, and written beside it.

use anyhow::Result;
use engram_analysis::chart::register_fonts;
use engram_envs::VectorEnv;
use engram_envs::canvas::{Canvas, Color, FAINT, INK, PAPER, SIGHT, mix};
use engram_mdp::{EnvSpec, Observations, StepType};
use plotters::prelude::*;

const WIDTH: usize = 600;
const HEIGHT: usize = 330;
const MARGIN: usize = 16;
/// Top of pictures, below their titles.
const TOP: usize = 58;
/// The environment's picture.
const ENVIRONMENT: (usize, usize) = (374, 228);
/// Left edge of the observation.
const SIGHT_LEFT: usize = MARGIN + ENVIRONMENT.0 + 24;
/// The observation's side.
const SIGHT_SIDE: usize = WIDTH - MARGIN - SIGHT_LEFT;
/// More numbers than these are shown as cells without bars.
const MOST_BARS: usize = 16;

/// A moment that can be shown.
pub(super) struct Scene {
    spec: EnvSpec,
    picture: Canvas,
    environment: Canvas,
    step_type: StepType,
    /// Decisions of this episode.
    steps: u32,
    episode_return: f64,
}

impl Scene {
    /// An empty scene of an environment like `spec`.
    pub(super) fn new(spec: &EnvSpec) -> Result<Scene> {
        register_fonts()?;
        Ok(Scene {
            spec: spec.clone(),
            picture: Canvas::new(WIDTH, HEIGHT),
            environment: Canvas::new(ENVIRONMENT.0, ENVIRONMENT.1),
            step_type: StepType::First,
            steps: 0,
            episode_return: 0.0,
        })
    }

    pub(super) fn picture(&self) -> &Canvas {
        &self.picture
    }

    /// True at an episode's last moment.
    pub(super) fn is_last(&self) -> bool {
        self.step_type.is_last()
    }

    /// Draws the only environment of `group`; `success` is of the episode that has ended.
    pub(super) fn show(&mut self, group: &VectorEnv, success: Option<bool>) {
        let frames = group.frames();
        let reward = frames.previous_rewards[0];
        self.step_type = frames.step_types[0];
        if self.step_type.is_first() {
            (self.steps, self.episode_return) = (0, 0.0);
        } else {
            self.steps += 1;
            self.episode_return += f64::from(reward);
        }
        self.picture.clear();
        self.environment.clear();
        group.render(0, &mut self.environment);
        self.picture.paste(&self.environment, MARGIN, TOP);
        self.draw_observation(&frames.observations);
        let status = self.status(reward, success);
        self.write(&status);
    }

    /// Text below the picture: step, reward, return, and the ending of the episode.
    fn status(&self, reward: f32, success: Option<bool>) -> [String; 4] {
        // Two digits, but no more than there are.
        let number = |x: f64| {
            let text = format!("{x:.2}");
            text.trim_end_matches('0').trim_end_matches('.').to_string()
        };
        let sign = if reward > 0.0 { "+" } else { "" };
        let outcome = match (self.is_last(), success) {
            (true, Some(true)) => "solved",
            (true, Some(false)) => "not solved",
            (true, None) => "the end",
            (false, _) => "",
        };
        [
            format!("step {}", self.steps),
            format!("reward {sign}{}", number(f64::from(reward))),
            format!("return so far {}", number(self.episode_return)),
            outcome.into(),
        ]
    }

    fn write(&mut self, status: &[String; 4]) {
        let caption = self.environment.caption().to_string();
        let name = self.spec.name.clone();
        let words: [(&str, (usize, usize), u32, Color); 3] = [
            (&name, (MARGIN, 12), 19, INK),
            (&caption, (MARGIN, 36), 14, mix(PAPER, INK, 0.75)),
            ("what the agent sees", (SIGHT_LEFT, 36), 14, SIGHT),
        ];
        for (text, at, size, color) in words {
            letters(&mut self.picture, text, at, size, color);
        }
        for (text, left) in status.iter().zip([MARGIN, 110, 230, SIGHT_LEFT]) {
            letters(&mut self.picture, text, (left, HEIGHT - 32), 15, INK);
        }
    }

    fn draw_observation(&mut self, observations: &Observations) {
        match observations {
            Observations::U8(image) => self.draw_image(image),
            Observations::F32(numbers) if numbers.len() <= MOST_BARS => self.draw_bars(numbers),
            Observations::F32(numbers) => self.draw_cells(numbers),
        }
    }

    /// An image `[channels, height, width]`: in color if it has three channels, else the brightest
    /// of them in gray.
    fn draw_image(&mut self, image: &[u8]) {
        let shape = &self.spec.observation.shape;
        let (rows, columns) = (shape[shape.len() - 2], shape[shape.len() - 1]);
        let cells = rows * columns;
        let color = |cell: usize| match image.len() / cells {
            3 => [0, 1, 2].map(|channel| image[channel * cells + cell]),
            channels => [(0..channels).map(|c| image[c * cells + cell]).max().unwrap_or(0); 3],
        };
        self.draw_grid(rows, columns, color);
    }

    /// Many numbers, in a square: blue below zero, orange above.
    fn draw_cells(&mut self, numbers: &[f32]) {
        let columns = (numbers.len() as f64).sqrt().ceil() as usize;
        let color = |cell: usize| numbers.get(cell).map_or(PAPER, |&number| warm_or_cold(number));
        self.draw_grid(numbers.len().div_ceil(columns), columns, color);
    }

    fn draw_grid(&mut self, rows: usize, columns: usize, color: impl Fn(usize) -> Color) {
        let room = ENVIRONMENT.1 as f32 - 20.0;
        let side = (SIGHT_SIDE as f32 / columns as f32).min(room / rows as f32);
        let (left, top) = (SIGHT_LEFT as f32, TOP as f32);
        for cell in 0..rows * columns {
            let (row, column) = ((cell / columns) as f32, (cell % columns) as f32);
            let corner = [left + column * side, top + row * side];
            self.picture.rectangle(corner, [side; 2], color(cell));
        }
        let size = [columns as f32 * side + 4.0, rows as f32 * side + 4.0];
        self.picture.frame([left - 2.0, top - 2.0], size, 2.0, SIGHT);
    }

    /// A few numbers, one below another.
    fn draw_bars(&mut self, numbers: &[f32]) {
        let row = ((ENVIRONMENT.1 - 20) / numbers.len()).min(24);
        let bar = 100.0;
        let middle = SIGHT_LEFT as f32 + bar / 2.0;
        let size = [SIGHT_SIDE as f32 + 4.0, (row * numbers.len()) as f32 + 4.0];
        for (i, &number) in numbers.iter().enumerate() {
            let top = TOP + i * row;
            let inner = (row as f32 - 4.0).max(1.0);
            let corner = [SIGHT_LEFT as f32 + 4.0, top as f32 + 2.0];
            self.picture.rectangle(corner, [bar - 8.0, inner], FAINT);
            let length = number.clamp(-1.0, 1.0) * (bar / 2.0 - 4.0);
            let corner = [middle + length.min(0.0), top as f32 + 2.0];
            self.picture.rectangle(corner, [length.abs(), inner], warm_or_cold(number.signum()));
            self.picture.rectangle([middle - 0.5, top as f32], [1.0, row as f32], INK);
            let letter = (row as u32).saturating_sub(6).clamp(10, 14);
            let at = (SIGHT_LEFT + 106, top + (row + 2).saturating_sub(letter as usize) / 2);
            letters(&mut self.picture, &format!("{number:.2}"), at, letter, INK);
        }
        let corner = [SIGHT_LEFT as f32 - 2.0, TOP as f32 - 2.0];
        self.picture.frame(corner, size, 2.0, SIGHT);
    }
}

/// White at zero, orange at 1, blue at -1.
fn warm_or_cold(number: f32) -> Color {
    const WHITE: Color = [255, 255, 255];
    let end = if number > 0.0 { [230, 130, 50] } else { [60, 110, 200] };
    mix(WHITE, end, number.abs().min(1.0))
}

fn letters(picture: &mut Canvas, text: &str, at: (usize, usize), size: u32, color: Color) {
    let dimensions = (picture.width() as u32, picture.height() as u32);
    let [red, green, blue] = color;
    let color = RGBColor(red, green, blue);
    let style = TextStyle::from(("sans-serif", size)).color(&color);
    let area = BitMapBackend::with_buffer(picture.pixels_mut(), dimensions).into_drawing_area();
    let at = (at.0 as i32, at.1 as i32);
    area.draw_text(text, &style, at).expect("letters of a built-in font fit into memory");
    area.present().expect("a picture in memory is always there");
}

#[cfg(test)]
mod tests {
    use engram_envs::EnvConfig;
    use engram_mdp::{Actions, Seed};

    use super::*;

    fn group(text: &str) -> VectorEnv {
        let env = EnvConfig::from_table(text.parse().unwrap()).unwrap();
        VectorEnv::new(&env, 0..1, Seed::new(1))
    }

    fn at(scene: &Scene, column: usize, row: usize) -> &[u8] {
        let at = 3 * (row * WIDTH + column);
        &scene.picture().pixels()[at..at + 3]
    }

    #[test]
    fn what_the_agent_sees_is_shown_as_it_is() {
        let mut environment = group(
            "name = 'visual-match'\nexplore_frames = 2\ndelay = 2\nreward_frames = 2\n\
             apple_reward = 1.0\nfinal_reward = 5.0\ncolors = 'shared'",
        );
        let mut scene = Scene::new(environment.spec()).unwrap();
        for _ in 0..6 {
            scene.show(&environment, None);
            let Observations::U8(image) = &environment.frames().observations else {
                unreachable!()
            };
            let side = SIGHT_SIDE / 5;
            for cell in 0..25 {
                let (row, column) = (cell / 5, cell % 5);
                let middle = (SIGHT_LEFT + column * side + side / 2, TOP + row * side + side / 2);
                let expected = [image[cell], image[25 + cell], image[50 + cell]];
                assert_eq!(at(&scene, middle.0, middle.1), expected, "cell {row}, {column}");
            }
            environment.step(&Actions::Discrete(vec![0]));
        }
    }

    #[test]
    fn steps_and_rewards_are_counted_from_each_beginning() {
        let mut environment = group("name = 'truncation'\nepisode_length = 2");
        let mut scene = Scene::new(environment.spec()).unwrap();
        let mut counted = Vec::new();
        for _ in 0..5 {
            scene.show(&environment, None);
            counted.push((scene.steps, scene.episode_return, scene.is_last()));
            environment.step(&Actions::Discrete(vec![0]));
        }
        let (first, mid, last) = ((0, 0.0, false), (1, 1.0, false), (2, 2.0, true));
        assert_eq!(counted, [first, mid, last, first, mid]);
    }

    #[test]
    fn the_line_below_says_how_the_agent_fares() {
        let environment = group("name = 'truncation'\nepisode_length = 2");
        let mut scene = Scene::new(environment.spec()).unwrap();
        (scene.steps, scene.episode_return) = (12, 7.5);
        let status = scene.status(0.5, None);
        assert_eq!(status, ["step 12", "reward +0.5", "return so far 7.5", ""]);
        scene.step_type = StepType::Last(engram_mdp::Ending::Terminated);
        let status = scene.status(-1.0, Some(true));
        assert_eq!(status, ["step 12", "reward -1", "return so far 7.5", "solved"]);
    }

    #[test]
    fn every_kind_of_observation_leaves_something_to_see() {
        for text in [
            "name = 'catch'\nrows = 10\ncolumns = 5",
            "name = 'recall'\ndelay = 2\nchoices = 4",
            "name = 'recall'\ndelay = 2\nchoices = 60",
            "name = 'hopper'\nmax_steps = 10\nreset_noise = 0.1\nobserve = 'full'\n\
             gravity = { name = 'fixed', strength = 9.8 }",
        ] {
            let environment = group(text);
            let mut scene = Scene::new(environment.spec()).unwrap();
            let empty = scene.picture().clone();
            scene.show(&environment, None);
            let differing = |columns: std::ops::Range<usize>| {
                let all =
                    columns.flat_map(|column| (TOP..HEIGHT - 40).map(move |row| (column, row)));
                all.filter(|&(column, row)| {
                    let at = 3 * (row * WIDTH + column);
                    scene.picture().pixels()[at..at + 3] != empty.pixels()[at..at + 3]
                })
                .count()
            };
            assert!(differing(MARGIN..MARGIN + ENVIRONMENT.0) > 300, "{text}: what is there");
            assert!(differing(SIGHT_LEFT..WIDTH - MARGIN) > 300, "{text}: what is seen");
        }
    }
}
