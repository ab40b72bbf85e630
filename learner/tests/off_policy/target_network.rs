//! Target networks.

use engram_learner::algorithms::target_network::{polyak, update_target};
use engram_learner::config::TargetUpdate;
use tch::{Kind, Tensor};

use crate::{assert_all_near, numbers};

type Named = Vec<(String, Tensor)>;

fn network(numbers: [f64; 3], kind: Kind) -> Named {
    let weight = |n: &[f64]| Tensor::from_slice(n).to_kind(kind).set_requires_grad(true);
    vec![("a".into(), weight(&numbers[..2])), ("b".into(), weight(&numbers[2..]))]
}

fn flat(network: &Named) -> Vec<f64> {
    network.iter().flat_map(|(_, tensor)| numbers(tensor)).collect()
}

#[test]
fn a_polyak_step_goes_a_part_of_the_way_in_place() {
    let (from, to) = ([1.0, -2.0, 0.5], [3.0, 4.0, 0.5]);
    for (kind, tolerance) in [(Kind::Double, 1e-15), (Kind::Float, 1e-6)] {
        for tau in [0.0, 0.005, 0.4, 0.7, 1.0] {
            let (target, online) = (network(from, kind), network(to, kind));
            let places: Vec<_> = target.iter().map(|(_, tensor)| tensor.data_ptr()).collect();
            polyak(&target, &online, tau);
            for i in 0..3 {
                let expected = (1.0 - tau) * from[i] + tau * to[i];
                let found = Tensor::from(flat(&target)[i]);
                assert_all_near(&found, &[expected], tolerance, "target weight");
            }
            assert_eq!(flat(&online), flat(&network(to, kind)));
            for ((_, tensor), place) in target.iter().zip(places) {
                assert_eq!(tensor.data_ptr(), place);
                assert!(tensor.is_leaf() && tensor.requires_grad());
            }
        }
    }
}

#[test]
fn all_of_the_way_is_a_copy_bit_for_bit() {
    let (target, online) =
        (network([1e30, -2.0, 0.1], Kind::Float), network([0.1, 0.3, 7e-9], Kind::Float));
    polyak(&target, &online, 1.0);
    assert_eq!(flat(&target), flat(&online));
}

#[test]
fn copies_come_every_so_many_updates() {
    let online = network([1.0, 1.0, 1.0], Kind::Float);
    for (updates, copied) in [(1, false), (2, false), (3, true), (4, false), (6, true)] {
        let target = network([0.0; 3], Kind::Float);
        update_target(&target, &online, TargetUpdate::Copy { every: 3 }, updates);
        assert_eq!(flat(&target)[0] == 1.0, copied, "after {updates} updates");
    }
    let target = network([0.0; 3], Kind::Double);
    update_target(
        &target,
        &network([1.0; 3], Kind::Double),
        TargetUpdate::Polyak { tau: 0.25, every: 1 },
        7,
    );
    assert_eq!(flat(&target), [0.25; 3]);
}

#[test]
fn counts_are_copied() {
    let count = |n: i64| vec![("count".to_owned(), Tensor::from_slice(&[n]))];
    let target = count(3);
    polyak(&target, &count(10), 0.005);
    assert_eq!(flat(&target), [10.0]);
}

#[test]
#[should_panic(expected = "target and online network have the same weights")]
fn weights_of_other_names_are_a_bug() {
    let (target, mut online) = (network([0.0; 3], Kind::Float), network([0.0; 3], Kind::Float));
    online[1].0 = "c".into();
    polyak(&target, &online, 0.5);
}

#[test]
#[should_panic(expected = "`b` has one shape in both networks")]
fn weights_of_other_shapes_are_a_bug() {
    let (target, mut online) = (network([0.0; 3], Kind::Float), network([0.0; 3], Kind::Float));
    online[1].1 = Tensor::from_slice(&[1.0_f32, 2.0]);
    polyak(&target, &online, 0.5);
}
