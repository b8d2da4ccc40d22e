//! Debian's compiler of proto files, version 3.21, on the files of `sluice api proto`.

use super::example::Example;

/// Generates code for all files with a flag of `protoc`.
async fn generate(example: &Example, flag: &str) {
    let script = "mkdir gen && protoc -I proto $0=gen $(cd proto && find * -name '*.proto')";
    example.run("sh", &["-c", script, flag]).await;
}

#[tokio::test]
async fn debians_protoc_generates_python() {
    let example = Example::copy("python").await;
    generate(&example, "--python_out").await;
    let stream = example.path().join("gen/sluice/v1/stream_pb2.py");
    let details = example.path().join("gen/google/rpc/error_details_pb2.py");
    for file in [stream, details] {
        let check = "import sys; compile(open(sys.argv[1]).read(), sys.argv[1], 'exec')";
        example
            .run("python3", &["-c", check, file.to_str().unwrap()])
            .await;
    }
}

#[tokio::test]
async fn debians_protoc_generates_cpp_that_compiles() {
    let example = Example::copy("cpp").await;
    generate(&example, "--cpp_out").await;
    for file in ["sluice/v1/error", "google/rpc/status"] {
        let source = format!("gen/{file}.pb.cc");
        let arguments = ["-std=c++17", "-fsyntax-only", "-Igen", &source];
        example.run("g++", &arguments).await;
    }
}
