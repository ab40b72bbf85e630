//! Stub.
pub(crate) struct Shape {
    pub(crate) inputs: i64,
    pub(crate) width: i64,
    pub(crate) heads: i64,
    pub(crate) blocks: i64,
    pub(crate) context_length: i64,
}
