"""From sign-up to an ended stream, in Python. See README.md.

Usage: main.py SERVER OPERATOR_KEY [SERVICE_CONFIG]
"""

import concurrent.futures
import pathlib
import sys
import uuid

import grpc

from sluice_client import ApiKey, Client, ErrorDetails, Session, open_channel
from sluice.v1 import auth_pb2, auth_pb2_grpc, project_pb2, stream_pb2


def main(server, operator_key, service_config=None):
    if service_config:
        service_config = pathlib.Path(service_config).read_text()
    channel = open_channel(server, service_config)

    # 1. Sign up. The request id makes a repeated call return the same account.
    signed_up = auth_pb2_grpc.AuthServiceStub(channel).SignUp(
        auth_pb2.SignUpRequest(
            email=f"ada-{uuid.uuid4()}@example.com",
            password="correct horse battery",
            display_name="Ada",
            request_id=str(uuid.uuid4()),
        )
    )
    ada = Client(channel, Session(channel, signed_up.tokens))
    print(f"signed up as {signed_up.user.email}")

    # 2. Create a project. Sent twice, as after a lost answer: there is one project.
    request = project_pb2.CreateProjectRequest(
        display_name="Friday show", request_id=str(uuid.uuid4())
    )
    created = ada.call(ada.projects.CreateProject, request)
    again = ada.call(ada.projects.CreateProject, request)
    assert again.project.id == created.project.id
    project_id = created.project.id
    print(f"created project {created.project.display_name}")

    # 3. Add a destination. An error lists every invalid field at once.
    destination = project_pb2.CreateDestinationRequest(
        project_id=project_id,
        platform=project_pb2.PLATFORM_YOUTUBE,
        url="https://example.com/not-a-stream",
    )
    try:
        ada.call(ada.projects.CreateDestination, destination)
    except grpc.RpcError as error:
        details = ErrorDetails(error)
        assert details.reason == "FIELDS_INVALID"
        print(f"refused: {', '.join(sorted(details.fields))}")
    destination.url = ""
    destination.display_name = "My channel"
    destination.stream_key = "abcd-efgh-ijkl-mnop"
    destination.request_id = str(uuid.uuid4())
    ada.call(ada.projects.CreateDestination, destination)
    print("added a destination")

    # 4. Lists have pages.
    for number in range(3):
        ada.call(
            ada.projects.CreateProject,
            project_pb2.CreateProjectRequest(
                display_name=f"Show {number}", request_id=str(uuid.uuid4())
            ),
        )
    pages = ada.pages(ada.projects.ListProjects, project_pb2.ListProjectsRequest(page_size=2))
    sizes = [len(page.projects) for page in pages]
    print(f"listed {sum(sizes)} projects in {len(sizes)} pages")

    # 5. Tokens expire. Calls at the same time share one refresh.
    before = ada.credentials.refreshes
    ada.credentials.expire()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        calls = [
            pool.submit(ada.call, ada.auth.GetMe, auth_pb2.GetMeRequest()) for _ in range(8)
        ]
        assert all(call.result().user.display_name == "Ada" for call in calls)
    print(f"8 calls shared {ada.credentials.refreshes - before} refresh")

    # 6. Watch the project: a snapshot, then every change.
    watch = ada.watch(project_id)
    snapshot = next(watch)
    assert snapshot.snapshot.project.id == project_id
    print(f"watching, {len(snapshot.snapshot.destinations)} destination")

    # 7. Publish, as a media server does. Its operator gave it an API key.
    media = Client(channel, ApiKey(channel, operator_key))
    publisher = stream_pb2.Publisher(
        node_id="media-1", boot_id="1", connection_id=str(uuid.uuid4())
    )
    begun = media.call(
        media.streams.BeginPublish,
        stream_pb2.BeginPublishRequest(stream_key=created.stream_key, publisher=publisher),
    )
    report = {"stream_id": begun.stream.id, "epoch": begun.stream.epoch, "publisher": publisher}
    heartbeat = media.call(
        media.streams.HeartbeatPublish,
        stream_pb2.HeartbeatPublishRequest(
            stats=stream_pb2.StreamStats(bytes_received=125_000), **report
        ),
    )
    assert heartbeat.action == stream_pb2.PUBLISH_ACTION_CONTINUE
    print(f"published, next heartbeat in {begun.heartbeat_interval.seconds} s")

    # 8. The watch sees the stream go live. Then it ends, as a connection may.
    for message in watch:
        if message.stream_changed.state == stream_pb2.STREAM_STATE_LIVE:
            break
    watch.close()
    revision = message.revision
    print("the stream is live")

    # 9. The publisher disconnects, and the owner ends the stream.
    media.call(media.streams.EndPublish, stream_pb2.EndPublishRequest(**report))
    ada.call(
        ada.streams.StopStream,
        stream_pb2.StopStreamRequest(stream_id=begun.stream.id),
    )

    # 10. A watch that resumes after that revision misses nothing and repeats nothing.
    for message in ada.watch(project_id, after_revision=revision):
        if message.WhichOneof("event") not in ("synced", "heartbeat"):
            assert message.revision == revision + 1, "no gap, no duplicate"
            revision = message.revision
        if message.stream_changed.state == stream_pb2.STREAM_STATE_ENDED:
            break
    reason = stream_pb2.EndReason.Name(message.stream_changed.end_reason)
    print(f"the stream ended: {reason}")

    # 11. Sign out: the session's tokens stop working.
    ada.call(ada.auth.SignOut, auth_pb2.SignOutRequest())
    try:
        ada.call(ada.auth.GetMe, auth_pb2.GetMeRequest())
    except grpc.RpcError as error:
        print(f"signed out: {ErrorDetails(error).code.name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
