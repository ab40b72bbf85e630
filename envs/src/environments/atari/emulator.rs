//! The emulator behind its C interface: the one place of Atari that is not safe by itself.

#![allow(unsafe_code, reason = "the emulator is a library of C++")]

use std::ffi::{CStr, CString, c_int};
use std::ptr::NonNull;
use std::sync::Mutex;

use super::game::Game;

// The emulator is C++, and `ale-sys` does not say that it needs its library.
#[link(name = "stdc++")]
unsafe extern "C" {}

/// Only errors are printed.
const ERRORS: c_int = 2;

/// One machine, with a game in it.
pub(super) struct Emulator {
    ale: NonNull<ale_sys::ALEInterface>,
    width: usize,
    height: usize,
}

// SAFETY: an emulator owns all that it points to; nothing in it belongs to a thread.
unsafe impl Send for Emulator {}

impl Emulator {
    /// A machine with a game. Nothing in it is random: actions stick elsewhere, and the contents of
    /// its memory at the start follow from the fixed seed. Panics if there is no temporary folder
    /// to write to: the emulator reads ROM images from files only.
    pub(super) fn new(game: Game, image: &[u8]) -> Emulator {
        // Machines that start side by side would share tables and files that are being written.
        static START: Mutex<()> = Mutex::new(());
        let _one = START.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let folder = tempfile::tempdir().expect("a temporary folder for a ROM image");
        let path = folder.path().join(game.file());
        std::fs::write(&path, image).expect("a ROM image in a temporary folder");
        let path = CString::new(path.into_os_string().into_encoded_bytes())
            .expect("a path without zero bytes");
        // SAFETY: strings end with zero; the file is there and is a game that the emulator knows,
        // which it would end the program for otherwise.
        unsafe {
            ale_sys::setLoggerMode(ERRORS);
            let ale = NonNull::new(ale_sys::ALE_new()).expect("C++'s new does not return null");
            let at = ale.as_ptr();
            let set = |key: &CStr, value| ale_sys::setInt(at, key.as_ptr(), value);
            set(c"random_seed", 1);
            set(c"frame_skip", 1);
            set(c"max_num_frames_per_episode", 0);
            ale_sys::setFloat(at, c"repeat_action_probability".as_ptr(), 0.0);
            ale_sys::setBool(at, c"color_averaging".as_ptr(), false);
            ale_sys::loadROM(at, path.as_ptr());
            let size = |side: c_int| usize::try_from(side).expect("a screen has a size");
            let (width, height) = (ale_sys::getScreenWidth(at), ale_sys::getScreenHeight(at));
            Emulator { ale, width: size(width), height: size(height) }
        }
    }

    /// Columns of the screen.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Rows of the screen.
    pub(super) fn height(&self) -> usize {
        self.height
    }

    /// Actions that the game uses, as the emulator counts them.
    pub(super) fn minimal_actions(&self) -> Vec<i32> {
        // SAFETY: the actions are as many as the emulator says.
        unsafe {
            let count = usize::try_from(ale_sys::getMinimalActionSize(self.ale.as_ptr()))
                .expect("a number of actions");
            let mut actions = vec![0; count];
            ale_sys::getMinimalActionSet(self.ale.as_ptr(), actions.as_mut_ptr());
            actions
        }
    }

    /// Starts the game anew.
    pub(super) fn reset(&mut self) {
        // SAFETY: a game was loaded.
        unsafe { ale_sys::reset_game(self.ale.as_ptr()) }
    }

    /// Goes on by one frame; returns the points that it brought.
    pub(super) fn act(&mut self, action: i32) -> i32 {
        // SAFETY: a game was loaded.
        unsafe { ale_sys::act(self.ale.as_ptr(), action) }
    }

    /// True if the game is over.
    pub(super) fn is_over(&self) -> bool {
        // SAFETY: a game was loaded.
        unsafe { ale_sys::game_over(self.ale.as_ptr()) }
    }

    /// Lives that are left; 0 where a game has none.
    pub(super) fn lives(&self) -> i32 {
        // SAFETY: a game was loaded.
        unsafe { ale_sys::lives(self.ale.as_ptr()) }
    }

    /// Writes the screen as numbers of colors.
    pub(super) fn colors(&self, screen: &mut [u8]) {
        assert_eq!(screen.len(), self.width * self.height);
        // SAFETY: there is room for every pixel.
        unsafe { ale_sys::getScreen(self.ale.as_ptr(), screen.as_mut_ptr()) }
    }

    /// Writes the screen in red, green and blue.
    pub(super) fn rgb(&self, screen: &mut [u8]) {
        assert_eq!(screen.len(), 3 * self.width * self.height);
        // SAFETY: there is room for every pixel.
        unsafe { ale_sys::getScreenRGB(self.ale.as_ptr(), screen.as_mut_ptr()) }
    }

    /// Writes the screen in gray.
    pub(super) fn gray(&self, screen: &mut [u8]) {
        assert_eq!(screen.len(), self.width * self.height);
        // SAFETY: there is room for every pixel.
        unsafe { ale_sys::getScreenGrayscale(self.ale.as_ptr(), screen.as_mut_ptr()) }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // SAFETY: it was made by `ALE_new`, and nothing else points to it.
        unsafe { ale_sys::ALE_del(self.ale.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rom;
    use super::*;

    #[test]
    fn every_game_has_as_many_actions_as_the_emulator_says() {
        // All of them where `ENGRAM_ATARI_ROMS` names ale-py's folder, else 31.
        let games = Game::all().filter_map(|game| Some((game, rom::find(game).ok()?)));
        let mut count = 0;
        for (game, image) in games {
            let emulator = Emulator::new(game, &image);
            assert_eq!(emulator.minimal_actions().len(), game.actions(), "{}", game.name());
            assert!(emulator.height() >= 210 && emulator.width() == 160, "{}", game.name());
            count += 1;
        }
        assert!(count >= 31, "{count}");
    }
}
