//! Parallel endless streams of episodes, and the unrolls that they are cut into.
//!
//! All streams begin an episode at the same moment. Unrolls are cut wherever their length falls:
//! an episode may span many of them, and one may hold the end of an episode and the beginning of
//! the next, which the memory sees as a First frame.

use std::sync::Arc;

use engram_mdp::{Generator, Seed};
use engram_policy::Inputs;
use tch::{Device, Kind, Tensor};

use super::episode::TaskEpisode;
use super::task::Task;

/// B streams of a task's episodes.
pub(crate) struct TaskStreams {
    task: Arc<dyn Task>,
    generators: Vec<Generator>,
    /// The B episodes in progress.
    episodes: Vec<TaskEpisode>,
    /// The number in its episode of the frame that comes next.
    time: usize,
}

/// T frames of B streams, and the frame after them, which begins the next unroll.
pub(crate) struct Unroll {
    /// `[T + 1, B, D]`.
    observations: Vec<f32>,
    width: usize,
    /// `[T, B]`: what is asked for.
    pub(crate) answers: Vec<Option<usize>>,
    /// `[T + 1]`: whether episodes begin.
    pub(crate) begins: Vec<bool>,
    /// B.
    pub(crate) batch: usize,
}

impl TaskStreams {
    /// `batch` streams that follow from the seed alone.
    pub(crate) fn new(task: &Arc<dyn Task>, batch: usize, seed: Seed) -> Self {
        let mut generators: Vec<Generator> =
            (0..batch as u64).map(|stream| seed.derive("stream", stream).generator()).collect();
        let episodes = generators.iter_mut().map(|generator| task.episode(generator)).collect();
        TaskStreams { task: task.clone(), generators, episodes, time: 0 }
    }

    /// The next `length` frames, and the one after them.
    pub(crate) fn next(&mut self, length: usize) -> Unroll {
        let (batch, width) = (self.episodes.len(), self.task.width());
        let mut unroll = Unroll {
            observations: Vec::with_capacity((length + 1) * batch * width),
            width,
            answers: Vec::with_capacity(length * batch),
            begins: Vec::with_capacity(length + 1),
            batch,
        };
        for time in 0..=length {
            unroll.begins.push(self.time == 0);
            for episode in &self.episodes {
                unroll.observations.extend_from_slice(episode.observation(self.time));
            }
            if time < length {
                unroll.answers.extend(self.episodes.iter().map(|e| e.answer(self.time)));
                self.advance();
            }
        }
        unroll
    }

    fn advance(&mut self) {
        self.time += 1;
        if self.time == self.task.episode_frames() {
            self.time = 0;
            let next = self.generators.iter_mut().map(|generator| self.task.episode(generator));
            self.episodes = next.collect();
        }
    }
}

impl Unroll {
    /// T.
    pub(crate) fn length(&self) -> usize {
        self.begins.len() - 1
    }

    /// The first `frames` of the T + 1 frames, as a policy takes them. Of actions and rewards
    /// nothing is told: answers are not fed back.
    pub(crate) fn inputs(&self, frames: usize, device: Device) -> Inputs {
        assert!((1..=self.length() + 1).contains(&frames), "so many frames of the unroll");
        let leading = [frames as i64, self.batch as i64];
        let numbers = &self.observations[..frames * self.batch * self.width];
        let observation = Tensor::from_slice(numbers).view([leading[0], leading[1], -1]);
        let first = |&begins: &bool| std::iter::repeat_n(begins, self.batch);
        Inputs::new(
            observation.to_device(device),
            Tensor::zeros(leading, (Kind::Int64, device)),
            Tensor::zeros(leading, (Kind::Float, device)),
            self.begins[..frames].iter().flat_map(first).collect(),
        )
    }

    /// The rows of `[T B]` where something is asked, and what, both i64 `[N]`; `None` where
    /// nothing is.
    pub(crate) fn questions(&self, device: Device) -> Option<(Tensor, Tensor)> {
        let asked = self.answers.iter().enumerate();
        let (rows, classes): (Vec<i64>, Vec<i64>) =
            asked.filter_map(|(row, class)| Some((row as i64, (*class)? as i64))).unzip();
        let tensor = |numbers: Vec<i64>| Tensor::from_slice(&numbers).to_device(device);
        (!rows.is_empty()).then(|| (tensor(rows), tensor(classes)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::recall::RecallTask;
    use super::*;

    fn task() -> Arc<dyn Task> {
        Arc::new(RecallTask { delay: 3, choices: 2 })
    }

    fn rows(unroll: &Unroll, times: std::ops::Range<usize>) -> &[f32] {
        let row = unroll.batch * unroll.width;
        &unroll.observations[times.start * row..times.end * row]
    }

    #[test]
    fn short_unrolls_are_the_long_one_cut_into_pieces_that_share_a_frame() {
        let mut streams = TaskStreams::new(&task(), 3, Seed::new(1));
        let whole = streams.next(12);
        let mut streams = TaskStreams::new(&task(), 3, Seed::new(1));
        let mut begins = vec![];
        for piece in 0..4 {
            let short = streams.next(3);
            assert_eq!(rows(&short, 0..4), rows(&whole, 3 * piece..3 * piece + 4));
            assert_eq!(short.answers, whole.answers[9 * piece..9 * piece + 9]);
            begins.extend_from_slice(&short.begins[..3]);
        }
        assert_eq!(begins, whole.begins[..12]);
        let first: Vec<usize> = (0..12).filter(|&time| whole.begins[time]).collect();
        assert_eq!(first, [0, 5, 10], "episodes of five frames follow one another");
    }

    #[test]
    fn streams_differ_from_one_another_and_follow_from_the_seed() {
        let observations =
            |seed| TaskStreams::new(&task(), 2, Seed::new(seed)).next(50).observations;
        assert_eq!(observations(1), observations(1));
        assert_ne!(observations(1), observations(2));
        let both = TaskStreams::new(&task(), 2, Seed::new(1)).next(50);
        let stream = |b: usize| -> Vec<Option<usize>> {
            both.answers.iter().skip(b).step_by(2).copied().collect()
        };
        assert_ne!(stream(0), stream(1));
    }

    #[test]
    fn questions_are_the_rows_where_something_is_asked() {
        let mut streams = TaskStreams::new(&task(), 2, Seed::new(1));
        assert!(streams.next(4).questions(Device::Cpu).is_none());
        let unroll = streams.next(3);
        let (rows, classes) = unroll.questions(Device::Cpu).unwrap();
        assert_eq!(Vec::<i64>::try_from(rows).unwrap(), [0, 1]);
        let asked: Vec<i64> =
            unroll.answers[..2].iter().map(|answer| answer.unwrap() as i64).collect();
        assert_eq!(Vec::<i64>::try_from(classes).unwrap(), asked);
        let inputs = unroll.inputs(4, Device::Cpu);
        assert_eq!(inputs.leading(), [4, 2]);
        assert_eq!(inputs.observation.size(), [4, 2, 4]);
    }
}
