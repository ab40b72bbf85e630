//! The wire: Engram's gRPC services, and checked conversion to and from its vocabulary.
//!
//! [`v1`] is generated from `engram/v1/*.proto`, which document every field. Messages are dumb;
//! nothing beyond this crate looks inside one. A message that arrives becomes a type of
//! `engram_mdp` in [`convert`], or a [`WireError`] that names what was wrong; [`limits`] holds
//! the size limits, and [`element_limits`] those that hold before a message is decoded, by the
//! [`codec`]; [`registration`] is the first message on every stream.

pub mod limits;

pub mod element_limits;

pub mod codec;

pub mod registration;

pub mod convert;

pub use convert::WireError;
pub use registration::{Purpose, Registration};

/// The generated messages, clients and servers. Their doc comments are those of the `.proto` files.
#[allow(unreachable_pub, rust_2018_idioms, clippy::all, clippy::too_many_lines)]
pub mod v1 {
    tonic::include_proto!("engram.v1");
}

#[cfg(not(target_endian = "little"))]
compile_error!("numbers cross the wire in the machine's own order, which must be little-endian");

/// The version of the protocol that this build speaks. It changes whenever an older peer would
/// misunderstand a newer one.
pub const PROTOCOL_VERSION: u32 = 4;
