//! Generates the gRPC code from the `.proto` files, without an installed `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["common", "configuration", "evaluation", "experience", "inference", "weights"]
        .map(|name| format!("engram/v1/{name}.proto"));
    println!("cargo:rerun-if-changed=engram");
    let descriptors = protox::compile(&files, ["."])?;
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("crate::codec::LimitedCodec")
        .compile_fds(descriptors)?;
    Ok(())
}
