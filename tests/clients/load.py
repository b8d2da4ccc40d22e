"""Calls without pause, with the channel of examples/python, until standard input ends.

Usage: load.py FOLDER SERVER OPERATOR_KEY SERVICE_CONFIG

The folder has the example and its generated code. Prints the number of calls, and the first
error of each worker.
"""

import json
import pathlib
import sys
import threading
import uuid

import grpc

sys.path.insert(0, sys.argv[1])
from sluice_client import Client, ErrorDetails, Session, open_channel  # noqa: E402
from sluice.v1 import auth_pb2, auth_pb2_grpc, project_pb2  # noqa: E402

WORKERS = 8


def work(channel, stop, counts, errors):
    try:
        signed_up = auth_pb2_grpc.AuthServiceStub(channel).SignUp(
            auth_pb2.SignUpRequest(
                email=f"{uuid.uuid4()}@example.com",
                password="correct horse battery",
                display_name="Load",
                request_id=str(uuid.uuid4()),
            )
        )
        user = Client(channel, Session(channel, signed_up.tokens))
        created = []
        while not stop.wait(0.02):
            request = project_pb2.CreateProjectRequest(
                display_name="Load", request_id=str(uuid.uuid4())
            )
            created.append(user.call(user.projects.CreateProject, request).project.id)
            read = project_pb2.GetProjectRequest(project_id=created[-1])
            user.call(user.projects.GetProject, read)
            counts.append(2)
        pages = user.pages(user.projects.ListProjects, project_pb2.ListProjectsRequest())
        listed = [project.id for page in pages for project in page.projects]
        if sorted(listed) != sorted(created):
            errors.append(f"created {len(created)} projects, there are {len(listed)}")
    except grpc.RpcError as error:
        errors.append(str(ErrorDetails(error)))


def main(server, operator_key, service_config):
    channel = open_channel(server, pathlib.Path(service_config).read_text())
    stop, counts, errors = threading.Event(), [], []
    workers = [
        threading.Thread(target=work, args=(channel, stop, counts, errors))
        for _ in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    print("started", flush=True)
    sys.stdin.read()
    stop.set()
    for worker in workers:
        worker.join()
    print(json.dumps({"calls": sum(counts), "errors": errors}))


main(*sys.argv[2:])
