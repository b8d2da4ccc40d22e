//! Debian's compiler of proto files, version 3.21, on the files of `sluice api proto`.

use std::fs;

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

#[tokio::test]
async fn debians_plugins_generate_go_with_a_client_for_each_service() {
    let example = Example::copy("python").await;
    let script = "mkdir gen && protoc -I proto --go_out=gen --go_opt=paths=source_relative \
                  --go-grpc_out=gen --go-grpc_opt=paths=source_relative proto/sluice/v1/*.proto";
    example.run("sh", &["-c", script]).await;

    let generated = example.path().join("gen/sluice/v1");
    for (file, service) in [
        ("auth", "AuthService"),
        ("operator", "OperatorService"),
        ("project", "ProjectService"),
        ("stream", "StreamService"),
    ] {
        let stubs = fs::read_to_string(generated.join(format!("{file}_grpc.pb.go"))).unwrap();
        assert!(stubs.contains("package sluicev1\n"), "{file}");
        let constructor = format!("func New{service}Client(");
        assert!(stubs.contains(&constructor), "{constructor}");
        assert!(generated.join(format!("{file}.pb.go")).exists(), "{file}");
    }
}
