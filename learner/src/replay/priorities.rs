//! Priorities: the probability of each start, in proportion to its priority.
//!
//! An *item* has a priority of its own. It is a whole episode, a stored start, or as many
//! neighboring starts as a chunk is long. Its weight in the tree is the number of its starts
//! times `p^α`, so that an exponent of 0 is uniform over starts.

use std::collections::VecDeque;

use super::sum_tree::SumTree;

/// Priorities of items, numbered in the order of their episodes.
#[derive(Clone, Debug)]
pub(super) struct Priorities {
    exponent: f64,
    tree: SumTree,
    first: u64,
    priorities: VecDeque<f32>,
    largest: f32,
}

impl Priorities {
    /// Priorities of no items yet. The first ones have priority 1 until one is said.
    pub(super) fn new(exponent: f64) -> Self {
        let (tree, priorities) = (SumTree::new(0), VecDeque::new());
        Priorities { exponent, tree, first: 0, priorities, largest: 1.0 }
    }

    /// Number of the next item.
    pub(super) fn next(&self) -> u64 {
        self.first + self.priorities.len() as u64
    }

    /// Adds an item of so many starts with priority `priority`, by default the largest so far.
    pub(super) fn push(&mut self, starts: usize, priority: Option<f32>) {
        let priority = priority.unwrap_or(self.largest);
        self.priorities.push_back(priority);
        self.tree.push(self.weight(starts, priority));
    }

    /// Removes the oldest item.
    pub(super) fn pop(&mut self) {
        self.priorities.pop_front();
        self.tree.pop();
        self.first += 1;
    }

    /// Changes the priority of an item of so many starts.
    pub(super) fn set(&mut self, item: u64, starts: usize, priority: f32) {
        self.priorities[(item - self.first) as usize] = priority;
        self.tree.set(item, self.weight(starts, priority));
        self.largest = self.largest.max(priority);
    }

    /// Item at `share`, in `[0, 1)`, of the sum; none where every priority is zero.
    pub(super) fn find(&self, share: f64) -> Option<u64> {
        (self.tree.total() > 0.0).then(|| self.tree.find(share))
    }

    /// P, the probability of one of the `starts` starts of an item.
    pub(super) fn probability(&self, item: u64, starts: usize) -> f64 {
        self.tree.get(item) / starts as f64 / self.tree.total()
    }

    /// Priority of an item.
    pub(super) fn get(&self, item: u64) -> f32 {
        self.priorities[(item - self.first) as usize]
    }

    /// Largest priority so far.
    pub(super) fn largest(&self) -> f32 {
        self.largest
    }

    /// Takes over the largest priority so far.
    pub(super) fn set_largest(&mut self, largest: f32) {
        self.largest = largest;
    }

    fn weight(&self, starts: usize, priority: f32) -> f64 {
        starts as f64 * f64::from(priority).powf(self.exponent)
    }
}
