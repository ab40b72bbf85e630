//! Codec of all calls: prost's, behind the limits of [`element_limits`](crate::element_limits).
//!
//! The generated clients and servers use it (`build.rs`). Encoding is prost's own.

use std::marker::PhantomData;

use bytes::{Buf, Bytes};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

use crate::WireError;
use crate::element_limits::{Limited, check};

/// Codec that sends `T` and receives `U`.
#[derive(Debug)]
pub struct LimitedCodec<T, U>(PhantomData<(T, U)>);

/// Its decoder.
#[derive(Debug)]
pub struct LimitedDecoder<U>(PhantomData<U>);

impl<T, U> Default for LimitedCodec<T, U> {
    fn default() -> Self {
        LimitedCodec(PhantomData)
    }
}

impl<T, U> Codec for LimitedCodec<T, U>
where
    T: prost::Message + Send + 'static,
    U: Limited + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = LimitedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        LimitedDecoder(PhantomData)
    }
}

impl<U: Limited> Decoder for LimitedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // A view of what tonic has received: nothing is copied.
        let message = buf.copy_to_bytes(buf.remaining());
        Ok(Some(decode(message)?))
    }
}

/// A message from its bytes, or what is wrong with them. Its columns share their memory.
pub fn decode<U: Limited>(message: Bytes) -> Result<U, WireError> {
    check::<U>(&message)?;
    U::decode(message).map_err(|error| WireError::Malformed(error.to_string()))
}
