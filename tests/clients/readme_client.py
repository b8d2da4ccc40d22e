"""The steps of the README as a Python client, generated from proto/ only.

Usage: readme_client.py STUBS ADDRESS OPERATOR_KEY
"""

import sys

import grpc

sys.path.insert(0, sys.argv[1])
from sluice.v1 import auth_pb2, auth_pb2_grpc, project_pb2, project_pb2_grpc  # noqa: E402
from sluice.v1 import stream_pb2, stream_pb2_grpc  # noqa: E402


def bearer(token):
    return [("authorization", f"Bearer {token}")]


def main(address, operator_key):
    channel = grpc.insecure_channel(address)
    auth = auth_pb2_grpc.AuthServiceStub(channel)
    projects = project_pb2_grpc.ProjectServiceStub(channel)
    streams = stream_pb2_grpc.StreamServiceStub(channel)

    tokens = auth.SignUp(
        auth_pb2.SignUpRequest(
            email="ada@example.com", password="correct horse battery", display_name="Ada"
        )
    ).tokens
    ada = bearer(tokens.access_token)

    request = project_pb2.CreateProjectRequest(display_name="Friday show")
    request.reconnect_window.FromSeconds(0)
    made = projects.CreateProject(request, metadata=ada)
    projects.CreateDestination(
        project_pb2.CreateDestinationRequest(
            project_id=made.project.id,
            platform=project_pb2.PLATFORM_YOUTUBE,
            display_name="My channel",
            stream_key="abcd-efgh-ijkl-mnop",
        ),
        metadata=ada,
    )

    exchanged = auth.ExchangeApiKey(auth_pb2.ExchangeApiKeyRequest(secret=operator_key))
    media = bearer(exchanged.access_token)
    publisher = stream_pb2.Publisher(node_id="media-1", boot_id="1", connection_id="54")
    begun = streams.BeginPublish(
        stream_pb2.BeginPublishRequest(stream_key=made.stream_key, publisher=publisher),
        metadata=media,
    ).stream
    report = {"stream_id": begun.id, "epoch": begun.epoch, "publisher": publisher}
    beat = streams.HeartbeatPublish(
        stream_pb2.HeartbeatPublishRequest(**report), metadata=media
    )
    assert beat.action == stream_pb2.PUBLISH_ACTION_CONTINUE
    assert beat.stream.state == stream_pb2.STREAM_STATE_LIVE

    live = streams.ListStreams(
        stream_pb2.ListStreamsRequest(
            project_id=made.project.id, state=stream_pb2.STREAM_STATE_LIVE
        ),
        metadata=ada,
    ).streams
    assert [stream.id for stream in live] == [begun.id]

    ended = streams.EndPublish(stream_pb2.EndPublishRequest(**report), metadata=media).stream
    assert ended.state == stream_pb2.STREAM_STATE_ENDED
    assert ended.end_reason == stream_pb2.END_REASON_PUBLISHER_ENDED

    try:
        streams.GetStream(stream_pb2.GetStreamRequest(stream_id="x"), metadata=ada)
        raise AssertionError("a malformed id is refused")
    except grpc.RpcError as refusal:
        assert refusal.code() == grpc.StatusCode.INVALID_ARGUMENT
    print("the story is told")


main(*sys.argv[2:])
