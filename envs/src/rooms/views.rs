//! Tests of the camera: what is where in a picture.

use engram_mdp::{Action, ObservationMut, Seed};

use super::camera::Camera;
use super::figure::Figure;
use super::plan::{Block, Plan};
use super::scene::{Scene, Thing};
use super::surface::Surface;
use super::texture::unpack;
use super::walker::Walker;
use crate::canvas::Color;

const WIDTH: usize = 96;
const HEIGHT: usize = 72;

fn yard(wall: Surface) -> Plan {
    Plan::yard(13, 13, 100.0, wall, Surface::GrayTiles)
}

fn rows(scene: &Scene, width: usize, height: usize) -> Vec<Vec<Color>> {
    let mut camera = Camera::new(width, height);
    camera.look(scene);
    (0..height).map(|row| camera.row(row).collect()).collect()
}

fn picture(scene: &Scene) -> Vec<Vec<Color>> {
    rows(scene, WIDTH, HEIGHT)
}

/// Rows and columns of the pixels in which two pictures differ.
fn differences(one: &[Vec<Color>], two: &[Vec<Color>]) -> Vec<(usize, usize)> {
    let all = (0..one.len()).flat_map(|row| (0..one[0].len()).map(move |column| (row, column)));
    all.filter(|&(row, column)| one[row][column] != two[row][column]).collect()
}

#[test]
fn a_wall_straight_ahead_is_as_high_as_its_distance_says() {
    for distance in [60.0, 100.0, 170.0, 333.0, 800.0] {
        let look =
            |wall| picture(&Scene::new(yard(wall), Walker::new([1200.0 - distance, 650.0], 0.0)));
        let changed = differences(&look(Surface::Brick), &look(Surface::Hedge));
        let middle: Vec<usize> =
            changed.iter().filter(|(_, column)| *column == 48).map(|(row, _)| *row).collect();
        // 100 high, seen from 50, by a camera that shows 48 pixels where it is 1 high and 1 away.
        let half = 50.0 / distance * 48.0;
        let expected = [36.0 - half, 36.0 + half].map(|row: f32| row.clamp(0.0, 72.0));
        let found = [middle[0] as f32, (middle[middle.len() - 1] + 1) as f32];
        assert!(
            (0..2).all(|i| (found[i] - expected[i]).abs() <= 1.0),
            "at {distance}: {found:?}, not {expected:?}"
        );
    }
}

#[test]
fn what_is_on_the_left_is_seen_on_the_left() {
    // In every direction: the cell that is three ahead and one to the left.
    for (heading, cell) in [(0.0, [9, 5]), (90.0, [7, 9]), (180.0, [3, 7]), (270.0, [5, 3])] {
        let mut scene = Scene::new(yard(Surface::Brick), Walker::new([650.0, 650.0], heading));
        let before = picture(&scene);
        scene.plan.build(cell, Surface::RedDoor);
        let columns: Vec<usize> =
            differences(&before, &picture(&scene)).iter().map(|(_, column)| *column).collect();
        assert!(columns.len() > 100 && columns.iter().all(|&column| column < 48), "{heading}");
        scene.plan.clear(cell);
        let place = scene.plan.middle(cell);
        scene.things.push(Thing { figure: Figure::Goal, place });
        let changed = differences(&before, &picture(&scene));
        // 300 ahead, 100 to the left.
        let mean =
            changed.iter().map(|(_, column)| *column as f32).sum::<f32>() / changed.len() as f32;
        assert!((mean - 32.0).abs() < 1.0 && changed.len() > 12, "{heading}: {mean}");
    }
}

#[test]
fn pictures_on_walls_are_not_mirrored_whatever_side_they_are_on() {
    // As many texels as pixels on a wall that is one cell away.
    let texture = Surface::Stripes.texture().level(1.0);
    let far = 1200.0 - 100.0;
    for (heading, place, light) in [
        (0.0, [far, 650.0], 1.0),
        (90.0, [650.0, far], 0.8),
        (180.0, [200.0, 650.0], 1.0),
        (270.0, [650.0, 200.0], 0.8),
    ] {
        let scene = Scene::new(yard(Surface::Stripes), Walker::new(place, heading));
        let rows = rows(&scene, 128, 96);
        let mut wrong = 0;
        for column in 0..64 {
            let expected = unpack(texture.column((column as f32 + 0.5) / 64.0)[24]);
            // The top of the wall is 32 pixels above the horizon.
            let found = rows[48 - 32 + 24][32 + column];
            let dark = light * 0.94;
            let near =
                |i: usize| (f32::from(found[i]) - dark * f32::from(expected[i])).abs() < 12.0;
            wrong += usize::from(!(0..3).all(near));
        }
        assert!(wrong <= 4, "{heading}: {wrong} of 64 columns are wrong");
    }
}

#[test]
fn blocks_hide_what_is_behind_them_and_low_ones_its_lower_part() {
    let count = |height: Option<f32>| {
        let mut scene = Scene::new(yard(Surface::Brick), Walker::new([350.0, 650.0], 0.0));
        if let Some(height) = height {
            scene.plan.put([5, 6], Block { surface: Surface::Stone, height });
        }
        let before = picture(&scene);
        scene.things.push(Thing { figure: Figure::Key(0), place: [750.0, 650.0] });
        differences(&before, &picture(&scene)).len()
    };
    let (all, above_low, above_high) = (count(None), count(Some(0.3)), count(Some(1.0)));
    assert!(above_high == 0 && above_low > all / 4 && above_low < all, "{all}, {above_low}");
}

#[test]
fn nearer_figures_hide_farther_ones() {
    let mut scene = Scene::new(yard(Surface::Brick), Walker::new([350.0, 650.0], 0.0));
    let near = Thing { figure: Figure::Object(1), place: [450.0, 650.0] };
    let far = Thing { figure: Figure::Object(0), place: [900.0, 650.0] };
    scene.things = vec![near];
    let alone = picture(&scene);
    scene.things = vec![near, far];
    let one = picture(&scene);
    scene.things = vec![far, near];
    assert!(one == picture(&scene), "their order in the list means nothing");
    assert_eq!(differences(&alone, &one), [], "the box covers the ball");
}

#[test]
fn everything_is_drawn_at_every_resolution() {
    for (width, height) in [(16, 12), (17, 13), (31, 90), (96, 72), (640, 480)] {
        let mut camera = Camera::new(width, height);
        for heading in [0.0, 33.0, 120.0, 250.0] {
            let mut scene = Scene::new(yard(Surface::Brick), Walker::new([216.0, 650.0], heading));
            scene.carried = Some([1, 2, 3]);
            scene.things = vec![Thing { figure: Figure::Teleporter, place: [230.0, 660.0] }];
            camera.look(&scene);
            let mut image = vec![0; 3 * width * height];
            camera.write(&mut image);
            let planes: Vec<&[u8]> = image.chunks(width * height).collect();
            for row in 0..height {
                for (column, color) in camera.row(row).enumerate() {
                    let at = row * width + column;
                    assert_eq!([planes[0][at], planes[1][at], planes[2][at]], color);
                    assert_ne!(color, [0; 3], "{width} x {height}, {row}, {column}");
                }
            }
        }
    }
}

#[test]
fn a_platform_lifts_the_eyes() {
    let mut scene = Scene::new(yard(Surface::Brick), Walker::new([650.0, 650.0], 0.0));
    let low = picture(&scene);
    scene.lift = 30.0;
    assert!(differences(&low, &picture(&scene)).len() > 300);
}

/// FNV-1a of a picture.
fn hash(image: &[u8]) -> u64 {
    image.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// Pictures are part of what an agent has learned: a change of them, even of a single pixel, makes
/// trained weights worth less, and shall be meant. The test prints the new numbers.
#[test]
fn pictures_are_those_of_before() {
    let hashes = ["watermaze", "select-nonmatching-object", "keys-doors-puzzle"].map(|name| {
        let path = format!("{}/../configs/env/rooms-{name}.toml", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let config = crate::EnvConfig::from_table(text.parse().unwrap()).unwrap();
        let mut environment = config.make(Seed::new(11));
        let mut image = vec![0; config.spec().observation.len()];
        environment.reset(ObservationMut::U8(&mut image));
        let mut total = hash(&image);
        for action in [0, 0, 7, 7, 0, 6, 4, 1, 2, 3] {
            environment.step(Action::Discrete(action), ObservationMut::U8(&mut image));
            total = total.rotate_left(7) ^ hash(&image);
        }
        total
    });
    let before = [0xa24a_8a7c_22a6_cd80, 0x7f55_6969_5928_a41e, 0xe11b_04dc_85a2_57eb];
    assert_eq!(hashes, before, "{hashes:#x?}");
}
