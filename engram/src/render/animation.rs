//! Pictures into files: one as PNG, many as an animated GIF.
//!
//! A GIF's frame holds only the rectangle that has changed, in the colors that occur there; what
//! has not changed within it is transparent, which packs well.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use engram_envs::canvas::Canvas;

/// Time that an episode's last frame stays, in hundredths of a second.
const LAST_DELAY: u16 = 200;
/// Speed, of 1 to 30, at which a palette is found for more colors than a GIF's frame may have.
const QUANTIZING_SPEED: i32 = 10;

/// Writes `picture` to `path`.
pub(super) fn write_png(path: &Path, picture: &Canvas) -> Result<()> {
    let write = || -> Result<()> {
        let file = BufWriter::new(create(path)?);
        let mut encoder = png::Encoder::new(file, picture.width() as u32, picture.height() as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_compression(png::Compression::Best);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(picture.pixels())?;
        Ok(writer.finish()?)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn create(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    Ok(File::create(path)?)
}

/// An animated GIF that is being written.
pub(super) struct Animation {
    path: PathBuf,
    file: Option<File>,
    encoder: Option<gif::Encoder<BufWriter<File>>>,
    /// Hundredths of a second that a frame is shown.
    delay: u16,
    /// The picture before this one.
    shown: Option<Canvas>,
}

/// The part of a picture that has changed: columns and rows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Changed {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl Animation {
    /// An animation that shows `speed` frames per second, forever.
    pub(super) fn new(path: &Path, speed: u16) -> Result<Animation> {
        let file = create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Animation {
            path: path.into(),
            file: Some(file),
            encoder: None,
            delay: 100 / speed,
            shown: None,
        })
    }

    /// Adds a frame; the last one of an episode stays for a while.
    pub(super) fn add(&mut self, picture: &Canvas, last: bool) -> Result<()> {
        let written = self.write(picture, if last { LAST_DELAY } else { self.delay });
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Completes the file.
    pub(super) fn end(mut self) -> Result<()> {
        let flush = |encoder: gif::Encoder<BufWriter<File>>| -> Result<()> {
            Ok(encoder.into_inner()?.flush()?)
        };
        let flushed = self.encoder.take().map_or(Ok(()), flush);
        flushed.with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn write(&mut self, picture: &Canvas, delay: u16) -> Result<()> {
        if let Some(file) = self.file.take() {
            let (width, height) = (picture.width() as u16, picture.height() as u16);
            let mut encoder = gif::Encoder::new(BufWriter::new(file), width, height, &[])?;
            encoder.set_repeat(gif::Repeat::Infinite)?;
            self.encoder = Some(encoder);
        }
        let changed = changed(self.shown.as_ref(), picture);
        let mut frame = encode(self.shown.as_ref(), picture, &changed);
        frame.delay = delay;
        self.encoder.as_mut().expect("made with the first frame").write_frame(&frame)?;
        self.shown = Some(picture.clone());
        Ok(())
    }
}

/// The smallest rectangle outside of which both pictures are alike; one pixel where all is.
fn changed(before: Option<&Canvas>, picture: &Canvas) -> Changed {
    let (width, height) = (picture.width(), picture.height());
    let Some(before) = before else {
        return Changed { left: 0, top: 0, width, height };
    };
    let (mut left, mut top, mut right, mut bottom) = (width, height, 0, 0);
    let pairs = before.pixels().chunks_exact(3).zip(picture.pixels().chunks_exact(3));
    for (index, _) in pairs.enumerate().filter(|(_, (before, now))| before != now) {
        let (column, row) = (index % width, index / width);
        (left, right) = (left.min(column), right.max(column));
        (top, bottom) = (top.min(row), bottom.max(row));
    }
    if left == width {
        return Changed { left: 0, top: 0, width: 1, height: 1 };
    }
    Changed { left, top, width: right - left + 1, height: bottom - top + 1 }
}

/// The changed part in a palette of its own, exact unless it has too many colors; what has not
/// changed in it is transparent.
fn encode(before: Option<&Canvas>, picture: &Canvas, changed: &Changed) -> gif::Frame<'static> {
    let &Changed { left, top, width, height } = changed;
    let mut pixels = Vec::with_capacity(4 * width * height);
    for row in top..top + height {
        for column in left..left + width {
            let at = 3 * (row * picture.width() + column);
            let now = &picture.pixels()[at..at + 3];
            match before.is_some_and(|before| before.pixels()[at..at + 3] == *now) {
                true => pixels.extend([0; 4]),
                false => pixels.extend([now[0], now[1], now[2], 255]),
            }
        }
    }
    let mut frame =
        gif::Frame::from_rgba_speed(width as u16, height as u16, &mut pixels, QUANTIZING_SPEED);
    (frame.left, frame.top) = (left as u16, top as u16);
    frame.dispose = gif::DisposalMethod::Keep;
    frame
}

#[cfg(test)]
mod tests {
    use engram_envs::canvas::{ACTOR, GOAL, INK};

    use super::*;

    /// A picture that is empty but for some rectangles of 4 × 4 pixels.
    fn picture(corners: &[([f32; 2], [u8; 3])]) -> Canvas {
        let mut picture = Canvas::new(40, 30);
        for &(corner, color) in corners {
            picture.rectangle(corner, [4.0, 4.0], color);
        }
        picture
    }

    #[test]
    fn only_what_has_changed_is_written() {
        let (one, two) = (picture(&[([3.0, 5.0], INK)]), picture(&[([9.0, 6.0], INK)]));
        assert_eq!(changed(Some(&one), &two), Changed { left: 3, top: 5, width: 10, height: 5 });
        assert_eq!(changed(Some(&one), &one), Changed { left: 0, top: 0, width: 1, height: 1 });
        assert_eq!(changed(None, &one), Changed { left: 0, top: 0, width: 40, height: 30 });
    }

    #[test]
    fn an_animation_is_read_back_frame_by_frame() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/environment.gif");
        let pictures = [
            picture(&[([3.0, 5.0], INK)]),
            picture(&[([9.0, 6.0], ACTOR), ([30.0, 20.0], GOAL)]),
            picture(&[([9.0, 6.0], ACTOR), ([30.0, 20.0], GOAL)]),
            picture(&[]),
        ];
        let mut animation = Animation::new(&path, 10).unwrap();
        for (i, picture) in pictures.iter().enumerate() {
            animation.add(picture, i == 3).unwrap();
        }
        animation.end().unwrap();

        let mut options = gif::DecodeOptions::new();
        options.set_color_output(gif::ColorOutput::RGBA);
        let mut decoder = options.read_info(File::open(&path).unwrap()).unwrap();
        let mut screen = Canvas::new(40, 30);
        let mut delays = Vec::new();
        for picture in &pictures {
            let frame = decoder.read_next_frame().unwrap().expect("one frame for each picture");
            delays.push(frame.delay);
            for (i, color) in frame.buffer.chunks_exact(4).enumerate() {
                if color[3] == 0 {
                    continue;
                }
                let row = usize::from(frame.top) + i / usize::from(frame.width);
                let column = usize::from(frame.left) + i % usize::from(frame.width);
                let at = 3 * (row * 40 + column);
                screen.pixels_mut()[at..at + 3].copy_from_slice(&color[..3]);
            }
            assert!(screen.pixels() == picture.pixels(), "a frame is not its picture");
        }
        assert!(decoder.read_next_frame().unwrap().is_none());
        assert_eq!(delays, [10, 10, 10, LAST_DELAY]);
    }

    #[test]
    fn more_colors_than_a_gif_has_are_approximated() {
        let mut many = Canvas::new(30, 30);
        for i in 0..900_u16 {
            let color = [(i % 30 * 8) as u8, (i / 30 * 8) as u8, 128];
            many.rectangle([f32::from(i % 30), f32::from(i / 30)], [1.0, 1.0], color);
        }
        let frame = encode(None, &many, &changed(None, &many));
        let palette = frame.palette.expect("a palette of its own");
        let colors = frame.buffer.iter().map(|&index| &palette[3 * usize::from(index)..][..3]);
        let shown: Vec<u8> = colors.flatten().copied().collect();
        let apart = many.pixels().iter().zip(&shown).map(|(is, shown)| is.abs_diff(*shown));
        let mean = apart.map(f64::from).sum::<f64>() / shown.len() as f64;
        assert!(mean < 12.0, "colors are {mean} apart");
    }

    #[test]
    fn a_png_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("environment.png");
        let picture = picture(&[([3.0, 5.0], GOAL)]);
        write_png(&path, &picture).unwrap();
        let mut reader = png::Decoder::new(File::open(&path).unwrap()).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size()];
        reader.next_frame(&mut pixels).unwrap();
        assert!(pixels == picture.pixels());
    }
}
