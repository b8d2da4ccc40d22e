"""Checks the health of a server and signs in over a Unix socket: unix_socket.py TARGET STUBS."""

import sys

import grpc

sys.path.insert(0, sys.argv[2])
from sluice.v1 import auth_pb2, auth_pb2_grpc  # noqa: E402

# By default the authority is the path, which is not a valid one.
options = [("grpc.default_authority", "localhost")]
with grpc.insecure_channel(sys.argv[1], options) as channel:
    auth = auth_pb2_grpc.AuthServiceStub(channel)
    signed_up = auth.SignUp(
        auth_pb2.SignUpRequest(
            email="grpcio@example.com",
            password="correct horse battery staple",
            display_name="Ada",
        ),
        timeout=60,
    )
    bearer = [("authorization", "Bearer " + signed_up.tokens.access_token)]
    me = auth.GetMe(auth_pb2.GetMeRequest(), metadata=bearer, timeout=60)
    print("signed in as", me.user.email)
