//! ROM images: those of a folder that the user names, else those that the crate `ale` brings.
//!
//! Images of one game differ, and so do their episodes. Only the one that ale-py has is taken, so
//! that an experiment means the same everywhere. The crate has it for 31 games.

use std::borrow::Cow;
use std::path::Path;

use ale::BundledRom;
use sha2::{Digest, Sha256};

use super::game::Game;

/// The variable that names a folder of ROM images, as the folder `roms` of the Python package
/// ale-py is one.
const FOLDER: &str = "ENGRAM_ATARI_ROMS";

/// The ROM image of a game; or what is wrong, and what would be right.
pub(super) fn find(game: Game) -> Result<Cow<'static, [u8]>, String> {
    match std::env::var_os(FOLDER) {
        Some(folder) => read(game, Path::new(&folder)),
        None => bundled(game).map(Cow::Borrowed).ok_or_else(|| {
            let (name, file) = (game.name(), game.file());
            format!(
                "this program has no ROM image of `{name}`; set {FOLDER} to a folder that has \
                 {file}, as the folder `ale_py/roms` of the Python package ale-py does"
            )
        }),
    }
}

fn read(game: Game, folder: &Path) -> Result<Cow<'static, [u8]>, String> {
    let path = folder.join(game.file());
    let shown = path.display();
    let image =
        std::fs::read(&path).map_err(|error| format!("{shown}, wanted by {FOLDER}: {error}"))?;
    let digest = digest(&image);
    if digest != game.digest() {
        return Err(format!(
            "{shown} is another version of the game: its SHA-256 begins with {digest:016x}, \
             and not with {:016x}; take that of the Python package ale-py",
            game.digest()
        ));
    }
    Ok(Cow::Owned(image))
}

/// The first bytes of the SHA-256.
fn digest(image: &[u8]) -> u64 {
    Sha256::digest(image)[..8].iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

fn bundled(game: Game) -> Option<&'static [u8]> {
    let rom = match game.name() {
        "adventure" => BundledRom::Adventure,
        "air-raid" => BundledRom::AirRaid,
        "alien" => BundledRom::Alien,
        "asterix" => BundledRom::Asterix,
        "asteroids" => BundledRom::Asteroids,
        "beam-rider" => BundledRom::BeamRider,
        "bowling" => BundledRom::Bowling,
        "boxing" => BundledRom::Boxing,
        "breakout" => BundledRom::Breakout,
        "chopper-command" => BundledRom::ChopperCommand,
        "crazy-climber" => BundledRom::CrazyClimber,
        "elevator-action" => BundledRom::ElevatorAction,
        "enduro" => BundledRom::Enduro,
        "fishing-derby" => BundledRom::FishingDerby,
        "freeway" => BundledRom::Freeway,
        "frostbite" => BundledRom::Frostbite,
        "hero" => BundledRom::Hero,
        "jamesbond" => BundledRom::JamesBond,
        "journey-escape" => BundledRom::JourneyEscape,
        "kangaroo" => BundledRom::Kangaroo,
        "montezuma-revenge" => BundledRom::MontezumaRevenge,
        "phoenix" => BundledRom::Phoenix,
        "pong" => BundledRom::Pong,
        "private-eye" => BundledRom::PrivateEye,
        "qbert" => BundledRom::QBert,
        "robotank" => BundledRom::RoboTank,
        "seaquest" => BundledRom::Seaquest,
        "star-gunner" => BundledRom::StarGunner,
        "time-pilot" => BundledRom::TimePilot,
        "up-n-down" => BundledRom::UpNDown,
        "zaxxon" => BundledRom::Zaxxon,
        _ => return None,
    };
    Some(rom.data())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_that_is_brought_is_the_one_that_is_wanted() {
        let images: Vec<_> = Game::all().filter_map(|game| Some((game, bundled(game)?))).collect();
        let wrong = images.iter().filter(|(game, image)| digest(image) != game.digest());
        let wrong: Vec<_> = wrong.map(|(game, _)| game.name()).collect();
        assert_eq!((images.len(), wrong), (31, Vec::new()));
    }

    #[test]
    fn another_version_of_a_game_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let game = Game::all().next().unwrap();
        let missing = read(game, folder.path()).unwrap_err();
        assert!(missing.contains("adventure.bin, wanted by ENGRAM_ATARI_ROMS: "), "{missing}");
        std::fs::write(folder.path().join("adventure.bin"), "none").unwrap();
        let other = read(game, folder.path()).unwrap_err();
        assert!(other.contains("is another version of the game"), "{other}");
        std::fs::write(folder.path().join("adventure.bin"), bundled(game).unwrap()).unwrap();
        assert!(read(game, folder.path()).is_ok());
    }
}
