//! Weights of numbered items, drawn in proportion: a sum tree (Schaul et al. 2016, appendix
//! B.2.1, <https://arxiv.org/abs/1511.05952>).
//!
//! Items come at one end and go at the other, so they lie in a ring of leaves: item i is leaf
//! `i mod capacity`. A node holds the exact sum of its two children, so nothing drifts.

/// The weights of items `first..first + len`.
#[derive(Clone, Debug)]
pub(super) struct SumTree {
    /// Node 1 is the root, those of leaves start at `capacity`; node 0 is not used.
    nodes: Vec<f64>,
    first: u64,
    len: usize,
}

impl SumTree {
    /// No items yet; the next one is `first`.
    pub(super) fn new(first: u64) -> Self {
        SumTree { nodes: vec![0.0; 2], first, len: 0 }
    }

    /// The sum of all weights.
    pub(super) fn total(&self) -> f64 {
        self.nodes[1]
    }

    /// Adds an item behind the others.
    pub(super) fn push(&mut self, weight: f64) {
        if self.len == self.capacity() {
            self.grow();
        }
        self.len += 1;
        self.set(self.first + self.len as u64 - 1, weight);
    }

    /// Removes the oldest item.
    pub(super) fn pop(&mut self) {
        self.set(self.first, 0.0);
        self.first += 1;
        self.len -= 1;
    }

    /// Changes the weight of an item that is there.
    pub(super) fn set(&mut self, item: u64, weight: f64) {
        assert!(weight >= 0.0 && weight.is_finite(), "{weight} is no weight");
        assert!(self.holds(item), "item {item} is gone");
        let mut node = self.leaf(item);
        self.nodes[node] = weight;
        while node > 1 {
            node /= 2;
            self.nodes[node] = self.nodes[2 * node] + self.nodes[2 * node + 1];
        }
    }

    /// The weight of an item that is there.
    pub(super) fn get(&self, item: u64) -> f64 {
        assert!(self.holds(item), "item {item} is gone");
        self.nodes[self.leaf(item)]
    }

    /// The item at `share`, in `[0, 1)`, of the total, walking from the oldest item to the newest.
    /// One of no weight is never found. The total must not be zero.
    pub(super) fn find(&self, share: f64) -> u64 {
        let (total, capacity) = (self.total(), self.capacity());
        let mut rest = share * total + self.before_oldest();
        if rest >= total {
            rest -= total;
        }
        let mut node = 1;
        while node < capacity {
            let (left, right) = (self.nodes[2 * node], self.nodes[2 * node + 1]);
            if rest < left || right == 0.0 {
                node *= 2;
            } else {
                rest -= left;
                node = 2 * node + 1;
            }
        }
        let oldest = self.leaf(self.first);
        self.first + ((node + capacity - oldest) % capacity) as u64
    }

    /// The weights of the leaves in front of the oldest item's: those of the newest items.
    fn before_oldest(&self) -> f64 {
        let (mut node, mut sum) = (self.leaf(self.first), 0.0);
        while node > 1 {
            if !node.is_multiple_of(2) {
                sum += self.nodes[node - 1];
            }
            node /= 2;
        }
        sum
    }

    fn holds(&self, item: u64) -> bool {
        (self.first..self.first + self.len as u64).contains(&item)
    }

    fn capacity(&self) -> usize {
        self.nodes.len() / 2
    }

    fn leaf(&self, item: u64) -> usize {
        self.capacity() + (item % self.capacity() as u64) as usize
    }

    fn grow(&mut self) {
        let items = self.first..self.first + self.len as u64;
        let weights: Vec<f64> = items.clone().map(|item| self.get(item)).collect();
        self.nodes = vec![0.0; 4 * self.capacity()];
        for (item, weight) in items.zip(weights) {
            let leaf = self.leaf(item);
            self.nodes[leaf] = weight;
        }
        for node in (1..self.capacity()).rev() {
            self.nodes[node] = self.nodes[2 * node] + self.nodes[2 * node + 1];
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A deque of weights does the same, slowly. Weights are whole, so sums are exact.
        #[test]
        fn it_finds_what_a_walk_over_all_weights_finds(
            first in 0_u64..40,
            turns in prop::collection::vec((0_u8..4, 0_u32..5, 0.0..1.0_f64), 1..120),
        ) {
            let mut tree = SumTree::new(first);
            let (mut begin, mut model) = (first, VecDeque::new());
            for (turn, weight, share) in turns {
                let weight = f64::from(weight);
                match turn {
                    0 | 1 => {
                        tree.push(weight);
                        model.push_back(weight);
                    }
                    2 if !model.is_empty() => {
                        tree.pop();
                        model.pop_front();
                        begin += 1;
                    }
                    3 if !model.is_empty() => {
                        let at = (share * model.len() as f64) as usize;
                        model[at] = weight;
                        tree.set(begin + at as u64, weight);
                    }
                    _ => continue,
                }
                let total: f64 = model.iter().sum();
                prop_assert_eq!(tree.total(), total);
                if total > 0.0 {
                    let mut rest = share * total;
                    let found = model.iter().position(|&weight| {
                        rest -= weight;
                        rest < 0.0
                    });
                    prop_assert_eq!(tree.find(share), begin + found.unwrap() as u64);
                }
            }
        }
    }

    #[test]
    fn an_item_of_no_weight_is_never_found() {
        let mut tree = SumTree::new(0);
        [0.1, 0.2, 0.3, 0.0, 0.0].into_iter().for_each(|weight| tree.push(weight));
        assert_eq!(tree.find(1.0 - f64::EPSILON / 2.0), 2);
        assert_eq!(tree.find(0.0), 0);
        tree.pop();
        tree.pop();
        assert_eq!(tree.find(0.0), 2);
        assert_eq!(tree.find(1.0 - f64::EPSILON / 2.0), 2);
    }
}
