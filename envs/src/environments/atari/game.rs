//! The games: names, numbers of actions, and ROM images.

use std::sync::LazyLock;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// Every game that the emulator knows: its name, the number of actions that it uses, and the first
/// 8 bytes of its ROM image's SHA-256.
const GAMES: [(&str, usize, u64); 76] = [
    ("adventure", 18, 0x64cd_3bf2_3a61_7fc7),
    ("air-raid", 6, 0x6b5a_22ec_074a_5d87),
    ("alien", 18, 0x9cd5_56c7_d7f5_5aeb),
    ("amidar", 10, 0xda5b_760d_3ada_eba2),
    ("assault", 7, 0xd32c_a4dd_9e84_9af7),
    ("asterix", 9, 0xb616_1db0_530d_8445),
    ("asteroids", 14, 0x5ba6_f918_51b2_331a),
    ("atlantis", 4, 0xcef4_b7b9_1ea2_45f7),
    ("bank-heist", 18, 0xc32d_affd_b926_afaa),
    ("battle-zone", 18, 0xefd6_f639_e724_a771),
    ("beam-rider", 9, 0x83b3_0cb5_2649_ddf7),
    ("berzerk", 18, 0xcdff_0422_329d_e6bd),
    ("bowling", 6, 0xdff4_4a85_289f_5e9f),
    ("boxing", 18, 0x462a_b7da_e012_a175),
    ("breakout", 4, 0x3763_23f0_51c3_c373),
    ("carnival", 6, 0x80ea_b759_b6bd_4fb5),
    ("centipede", 18, 0x6def_669f_54bd_886f),
    ("chopper-command", 18, 0x0556_3728_2252_b537),
    ("crazy-climber", 9, 0x486a_d4cc_8956_9d79),
    ("defender", 18, 0xe3c7_ed7a_073f_e8f4),
    ("demon-attack", 6, 0x8d72_feeb_267d_23cb),
    ("donkey-kong", 18, 0x538e_2714_07e6_49e1),
    ("double-dunk", 18, 0xc0ea_53a9_1a39_6638),
    ("elevator-action", 18, 0xf3b3_ad03_fd8c_f9f3),
    ("enduro", 9, 0x6045_c8be_78c7_d0be),
    ("fishing-derby", 18, 0x8475_3bc6_ecb4_dd9f),
    ("freeway", 3, 0x3ef6_2023_4b98_f22b),
    ("frogger", 5, 0x63e0_229b_80f8_71c6),
    ("frostbite", 18, 0xcbfd_ad89_480d_ef69),
    ("galaxian", 6, 0x1578_35de_83dd_fb00),
    ("gopher", 8, 0xb4af_f03a_eb0f_b1c8),
    ("gravitar", 18, 0x17a1_9cd7_b5ca_e2b8),
    ("hero", 18, 0x75bd_02ec_7545_8ea4),
    ("ice-hockey", 18, 0xfc8b_861d_9cf9_c9d5),
    ("jamesbond", 18, 0x9952_53f0_d3a2_fac7),
    ("journey-escape", 16, 0x963e_2d3d_a52b_6cca),
    ("kaboom", 4, 0x2136_3eb5_ea5c_e8fd),
    ("kangaroo", 18, 0xa282_6eae_a3a8_54b6),
    ("keystone-kapers", 14, 0xb3b4_ba5c_eb4a_4358),
    ("king-kong", 6, 0xb20e_e04f_8aaf_97d5),
    ("koolaid", 9, 0x7275_93fb_c081_3d56),
    ("krull", 18, 0xb40f_10d1_4217_0930),
    ("kung-fu-master", 14, 0x3f65_01a6_49ad_83e9),
    ("laser-gates", 18, 0xaf69_3433_df2e_ca90),
    ("lost-luggage", 9, 0x8999_6e2e_13a5_674b),
    ("montezuma-revenge", 18, 0x69d3_63a7_4754_9817),
    ("mr-do", 10, 0xfe1d_3215_848a_e6d6),
    ("ms-pacman", 9, 0xdde0_b43c_5dee_7ce1),
    ("name-this-game", 6, 0xcc21_9a72_46e8_f945),
    ("phoenix", 8, 0xb010_85bc_5227_a04b),
    ("pitfall", 18, 0xc56c_99d9_e001_36a0),
    ("pong", 6, 0x4162_3e3c_2614_8f96),
    ("pooyan", 6, 0xac9a_bbfc_272d_eb03),
    ("private-eye", 18, 0xc8f9_ce1b_2e80_4b67),
    ("qbert", 6, 0x3257_2218_32a7_6076),
    ("riverraid", 18, 0x4c68_42b8_af64_fc75),
    ("road-runner", 18, 0x4b6c_2e68_d693_3b8b),
    ("robotank", 18, 0xc186_4094_81e6_8840),
    ("seaquest", 18, 0xfbc2_9f46_78f6_9ac2),
    ("sir-lancelot", 6, 0xa038_7e79_6553_b0ab),
    ("skiing", 3, 0xe8a9_6a74_c054_93c5),
    ("solaris", 18, 0x0afa_36e5_f4d8_d77e),
    ("space-invaders", 6, 0x7224_b174_62b9_92d6),
    ("star-gunner", 18, 0x3ad5_01a3_9280_de82),
    ("tennis", 18, 0xb829_e427_51fc_bc93),
    ("tetris", 5, 0x36d5_b5d3_222f_007c),
    ("time-pilot", 10, 0x8ea9_7e33_5a2f_b122),
    ("trondead", 18, 0xec88_c49e_9974_9628),
    ("turmoil", 12, 0xa45b_c90a_4213_d1cd),
    ("tutankham", 8, 0x4033_97fe_8583_8ebc),
    ("up-n-down", 6, 0x7489_0a43_e591_34ea),
    ("venture", 18, 0x5cdd_323b_8f81_7cc5),
    ("video-pinball", 9, 0x6385_d230_348f_1372),
    ("wizard-of-wor", 10, 0xd69e_e89e_65c3_4cd3),
    ("yars-revenge", 18, 0xff77_7c8d_4ea0_6569),
    ("zaxxon", 18, 0xe1c3_23ce_00cc_cdd4),
];

static NAMES: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| GAMES.iter().map(|(name, ..)| *name).collect());

/// A game that the emulator knows: its place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Game(usize);

impl Game {
    /// Its name, with hyphens.
    pub fn name(self) -> &'static str {
        GAMES[self.0].0
    }

    /// The number of actions that it uses.
    pub fn actions(self) -> usize {
        GAMES[self.0].1
    }

    /// The first bytes of its ROM image's SHA-256.
    #[cfg(feature = "atari")]
    pub(super) fn digest(self) -> u64 {
        GAMES[self.0].2
    }

    /// Name of the file that holds its ROM image: the emulator tells games apart by it.
    #[cfg(feature = "atari")]
    pub(super) fn file(self) -> String {
        format!("{}.bin", self.name().replace('-', "_"))
    }

    /// Every game.
    #[cfg(all(test, feature = "atari"))]
    pub(super) fn all() -> impl Iterator<Item = Game> {
        (0..GAMES.len()).map(Game)
    }
}

impl<'de> Deserialize<'de> for Game {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let found = NAMES.iter().position(|known| *known == name);
        found.map(Game).ok_or_else(|| D::Error::unknown_variant(&name, NAMES.as_slice()))
    }
}
