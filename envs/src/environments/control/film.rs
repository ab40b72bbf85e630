//! Film of a cart and its poles: the three newest pictures, 84 × 84 gray pixels each, as of the
//! suite's fixed camera, which looks along the horizon at the middle of the rail. The camera sees 1.66
//! meters to either side of one pole's rail.
//!
//! Edges are smooth: a pixel is as bright as the share of it that is covered, so that a move by a
//! twentieth of a pixel shows. Pictures before the start are black.

use engram_mdp::ObservationMut;

use super::dmc_cart::Cart;

/// Rows and columns of a picture.
const SIDE: usize = 84;
const PICTURES: usize = 3;
const PIXELS: usize = SIDE * SIDE;
/// Shape of an observation.
pub(super) const SHAPE: [usize; 3] = [PICTURES, SIDE, SIDE];

/// Brightness of all that is seen.
const SKY: u8 = 40;
const RAIL: u8 = 90;
const CART: u8 = 160;
const POLE: u8 = 250;
/// Sizes in meters.
const RAIL_RADIUS: f64 = 0.02;
const HALF_CART: [f64; 2] = [0.2, 0.1];
const POLE_RADIUS: f64 = 0.045;

/// The newest pictures, the oldest first.
pub(super) struct Film(Vec<u8>);

impl Film {
    pub(super) fn new() -> Self {
        Film(vec![0; PICTURES * PIXELS])
    }

    /// Shows the first state of an episode.
    pub(super) fn begin<const JOINTS: usize>(
        &mut self,
        cart: &Cart<JOINTS>,
        observation: ObservationMut<'_>,
    ) {
        self.0.fill(0);
        self.show(cart, observation);
    }

    /// Shows the next state.
    pub(super) fn show<const JOINTS: usize>(
        &mut self,
        cart: &Cart<JOINTS>,
        observation: ObservationMut<'_>,
    ) {
        self.0.copy_within(PIXELS.., 0);
        draw(cart, &mut self.0[(PICTURES - 1) * PIXELS..]);
        observation.bytes().copy_from_slice(&self.0);
    }
}

/// Pixels of a meter: the camera is 4 meters away, or further with more poles, and its picture is 45
/// degrees wide.
fn pixels_per_meter(poles: usize) -> f64 {
    let away = if poles == 1 { 4.0 } else { 1.0 + 2.0 * poles as f64 };
    let half_width = away * (std::f64::consts::SQRT_2 - 1.0);
    SIDE as f64 / (2.0 * half_width)
}

fn draw<const JOINTS: usize>(cart: &Cart<JOINTS>, picture: &mut [u8]) {
    let scale = pixels_per_meter(JOINTS - 1);
    let middle = SIDE as f64 / 2.0;
    picture.fill(SKY);
    rectangle(picture, [middle, middle], [middle, RAIL_RADIUS * scale], RAIL);
    let mut hinge = [middle + cart.positions[0] * scale, middle];
    rectangle(picture, hinge, HALF_CART.map(|meters| meters * scale), CART);
    for [right, up] in cart.poles() {
        let tip = [hinge[0] + right * scale, hinge[1] - up * scale];
        rod(picture, [hinge, tip], POLE_RADIUS * scale, POLE);
        hinge = tip;
    }
}

/// Draws a rectangle around its center; a pixel at its edge is covered in part.
fn rectangle(picture: &mut [u8], center: [f64; 2], half: [f64; 2], brightness: u8) {
    let [left, top] = [0, 1].map(|axis| center[axis] - half[axis]);
    let [right, bottom] = [0, 1].map(|axis| center[axis] + half[axis]);
    let covered = |pixel: usize, from: f64, to: f64| {
        (to.min(pixel as f64 + 1.0) - from.max(pixel as f64)).max(0.0)
    };
    for row in pixels(top, bottom) {
        let height = covered(row, top, bottom);
        for column in pixels(left, right) {
            let share = height * covered(column, left, right);
            blend(&mut picture[row * SIDE + column], brightness, share);
        }
    }
}

/// Draws a line with round ends.
fn rod(picture: &mut [u8], [from, to]: [[f64; 2]; 2], radius: f64, brightness: u8) {
    let way = [0, 1].map(|axis| to[axis] - from[axis]);
    let square = way[0].powi(2) + way[1].powi(2);
    let reach = radius + 1.0;
    for row in pixels(from[1].min(to[1]) - reach, from[1].max(to[1]) + reach) {
        for column in pixels(from[0].min(to[0]) - reach, from[0].max(to[0]) + reach) {
            let at = [column as f64 + 0.5 - from[0], row as f64 + 0.5 - from[1]];
            let along = ((at[0] * way[0] + at[1] * way[1]) / square).clamp(0.0, 1.0);
            let distance = (at[0] - along * way[0]).hypot(at[1] - along * way[1]);
            let share = (radius + 0.5 - distance).clamp(0.0, 1.0);
            blend(&mut picture[row * SIDE + column], brightness, share);
        }
    }
}

/// The pixels that two coordinates enclose, within the picture.
fn pixels(from: f64, to: f64) -> std::ops::Range<usize> {
    // What is negative becomes 0.
    (from.floor() as usize).min(SIDE)..(to.ceil() as usize).min(SIDE)
}

fn blend(pixel: &mut u8, brightness: u8, share: f64) {
    let mixed = f64::from(*pixel) * (1.0 - share) + f64::from(brightness) * share;
    *pixel = (mixed + 0.5) as u8;
}

/// Positions of the cart and of an upright pole's tip in a picture, in meters from the middle; none
/// in a black one.
#[cfg(test)]
pub(super) fn positions(row: &[u8], picture: usize) -> Option<[f32; 2]> {
    let picture = &row[picture * PIXELS..][..PIXELS];
    let scale = pixels_per_meter(1) as f32;
    // The middle of what is brighter than the sky in a row of pixels.
    let middle = |row: usize, dark: u8| {
        let bright = |column: usize| f32::from(picture[row * SIDE + column].saturating_sub(dark));
        let sum: f32 = (0..SIDE).map(bright).sum();
        let at = |column: usize| column as f32 + 0.5 - SIDE as f32 / 2.0;
        (0..SIDE).map(|column| bright(column) * at(column)).sum::<f32>() / sum / scale
    };
    // The lower half of the cart, and the pole 0.79 meters above it.
    let (x, high) = (middle(43, SKY), middle(21, SKY));
    (picture[0] == SKY).then(|| [x, x + (high - x) / 0.81])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(cart: &Cart<2>) -> Vec<u8> {
        let mut picture = vec![0; PIXELS];
        draw(cart, &mut picture);
        picture
    }

    #[test]
    fn pictures_come_in_order_and_those_before_the_start_are_black() {
        let mut film = Film::new();
        let mut row = vec![9; PICTURES * PIXELS];
        let cart = |x: f64| Cart { positions: [x, 0.0], velocities: [0.0; 2] };
        film.begin(&cart(0.0), ObservationMut::U8(&mut row));
        assert!(row[..2 * PIXELS].iter().all(|&pixel| pixel == 0));
        assert_eq!(row[2 * PIXELS..], picture(&cart(0.0)));
        film.show(&cart(0.1), ObservationMut::U8(&mut row));
        film.show(&cart(0.2), ObservationMut::U8(&mut row));
        for (number, x) in [0.0, 0.1, 0.2].into_iter().enumerate() {
            assert_eq!(row[number * PIXELS..][..PIXELS], picture(&cart(x)));
        }
        film.begin(&cart(0.0), ObservationMut::U8(&mut row));
        assert!(row[..2 * PIXELS].iter().all(|&pixel| pixel == 0), "the past is forgotten");
    }

    #[test]
    fn a_move_by_a_twentieth_of_a_pixel_shows() {
        let cart = |x: f64, angle: f64| Cart { positions: [x, angle], velocities: [0.0; 2] };
        let start = picture(&cart(0.03, 0.01));
        for moved in [cart(0.032, 0.01), cart(0.03, 0.0125)] {
            let moved = picture(&moved);
            let change = start.iter().zip(&moved).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(change >= Some(5), "{change:?}");
        }
    }

    #[test]
    fn a_cart_is_where_it_is_and_what_lies_outside_is_cut_off() {
        for x in [-1.0_f32, -0.3, 0.0, 0.47] {
            let cart = Cart { positions: [f64::from(x), 0.0], velocities: [0.0; 2] };
            let mut row = vec![0; PICTURES * PIXELS];
            row[2 * PIXELS..].copy_from_slice(&picture(&cart));
            let [found, tip] = positions(&row, 2).unwrap();
            assert!((found - x).abs() < 0.01 && (tip - x).abs() < 0.01, "{found} and {tip}: {x}");
        }
        let far = Cart { positions: [2.5, 0.0], velocities: [0.0; 2] };
        let beyond = picture(&far);
        assert!(beyond.iter().all(|&pixel| pixel <= RAIL), "the cart is out of sight");
    }
}
