//! Debian's compiler of proto files, version 3.21, on the files of `sluice api proto`.

use std::fs;

use super::example::Example;

/// Generates code for all files with flags of `protoc`, of which the last names a folder.
async fn generate(example: &Example, flags: &str) {
    let files = "$(cd proto && find * -name '*.proto')";
    let script = format!("mkdir gen && protoc -I proto {flags}=gen {files}");
    example.run("sh", &["-c", &script]).await;
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
    let plugin = "--plugin=protoc-gen-grpc=$(command -v grpc_cpp_plugin)";
    generate(&example, &format!("{plugin} --grpc_out=gen --cpp_out")).await;
    let listed = example.run("find", &["gen", "-name", "*.cc"]).await;
    let mut sources: Vec<_> = listed.lines().collect();
    sources.sort_unstable();
    for service in ["auth", "operator", "project", "stream"] {
        for kind in ["pb", "grpc.pb"] {
            let source = format!("gen/sluice/v1/{service}.{kind}.cc");
            assert!(sources.contains(&&*source), "{source}: {sources:?}");
        }
    }

    // Two at a time, so that other tests go on.
    let compile = "xargs -P 2 -n 1 g++ -std=c++17 -fsyntax-only -Igen";
    let script = format!("printf '%s\\n' \"$@\" | {compile}");
    let arguments = [&["-c", &*script, "sh"], &*sources].concat();
    example.run("sh", &arguments).await;
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
