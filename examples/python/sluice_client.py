"""The reusable part of a client: a channel, tokens that refresh themselves, resumed watches.

Needs the code that README.md generates into the folder `gen`.
"""

import pathlib
import sys
import threading
import time

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).parent / "gen"))
from google.rpc import error_details_pb2, status_pb2  # noqa: E402
from sluice.v1 import auth_pb2, auth_pb2_grpc  # noqa: E402
from sluice.v1 import project_pb2_grpc, stream_pb2, stream_pb2_grpc  # noqa: E402

# Refresh this long before the access token expires, or a fifth of its lifetime if that is less.
REFRESH_MARGIN = 60


def open_channel(server, service_config=None, tls=False):
    """A channel. The service config has the deadlines, and the retries of repeatable calls."""
    options = [
        # Find a lost connection within 40 seconds, also while a watch is silent.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # After a restart of the server, connect again soon.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 3_000),
    ]
    if "," in server:
        # A list of addresses ("ipv4:192.0.2.1:50051,192.0.2.2:50051") is not a valid authority.
        options.append(("grpc.default_authority", "sluice"))
    if service_config:
        options.append(("grpc.service_config", service_config))
    if tls:
        return grpc.secure_channel(server, grpc.ssl_channel_credentials(), options)
    return grpc.insecure_channel(server, options)


class ErrorDetails:
    """The machine-readable part of an error of the API."""

    def __init__(self, error):
        self.code = error.code()
        self.message = error.details()
        self.reason = ""  # such as "FIELDS_INVALID"; empty for an error of the gRPC library
        self.fields = {}  # each invalid field, with what is wrong with it
        self.retry_delay = None  # seconds
        trailers = dict(error.trailing_metadata() or ())
        status = status_pb2.Status.FromString(trailers.get("grpc-status-details-bin", b""))
        info = error_details_pb2.ErrorInfo()
        invalid = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        for detail in status.details:
            if detail.Unpack(info):
                self.reason = info.reason
            elif detail.Unpack(invalid):
                self.fields = {v.field: v.description for v in invalid.field_violations}
            elif detail.Unpack(retry):
                self.retry_delay = retry.retry_delay.ToTimedelta().total_seconds()

    def __str__(self):
        fields = "".join(f"; {field}: {text}" for field, text in self.fields.items())
        return f"{self.code.name} ({self.reason}): {self.message}{fields}"


class Session:
    """A user's tokens. All threads share one refresh, because a refresh token works once."""

    def __init__(self, channel, tokens):
        self._auth = auth_pb2_grpc.AuthServiceStub(channel)
        self._lock = threading.Lock()
        self.refreshes = 0
        self._take(tokens)

    def _take(self, tokens):
        # A program that keeps its session on disk writes `tokens` before it uses them.
        self._tokens = tokens
        expiry = tokens.access_token_expire_time.ToDatetime().timestamp()
        now = time.time()
        self._refresh_at = expiry - min(REFRESH_MARGIN, (expiry - now) / 5)

    def access_token(self):
        """An access token that is still valid for a while."""
        with self._lock:
            if time.time() >= self._refresh_at:
                request = auth_pb2.RefreshTokensRequest(refresh_token=self._tokens.refresh_token)
                # A repeated call returns the same new refresh token: a lost answer is harmless.
                self._take(self._auth.RefreshTokens(request).tokens)
                self.refreshes += 1
            return self._tokens.access_token

    def expire(self, token=None):
        """Refreshes before the next call, unless another token has replaced this one already."""
        with self._lock:
            if token in (None, self._tokens.access_token):
                self._refresh_at = 0


class ApiKey:
    """The access tokens of a program with an API key, such as a media server."""

    def __init__(self, channel, secret):
        self._auth = auth_pb2_grpc.AuthServiceStub(channel)
        self._secret = secret
        self._lock = threading.Lock()
        self._token = None
        self._refresh_at = 0

    def access_token(self):
        with self._lock:
            if time.time() >= self._refresh_at:
                request = auth_pb2.ExchangeApiKeyRequest(secret=self._secret)
                answer = self._auth.ExchangeApiKey(request)
                expiry = answer.access_token_expire_time.ToDatetime().timestamp()
                now = time.time()
                self._refresh_at = expiry - min(REFRESH_MARGIN, (expiry - now) / 5)
                self._token = answer.access_token
            return self._token

    def expire(self, token=None):
        with self._lock:
            if token in (None, self._token):
                self._refresh_at = 0


class Client:
    """The services, called with the access tokens of a session or an API key."""

    def __init__(self, channel, credentials):
        self.credentials = credentials
        self.auth = auth_pb2_grpc.AuthServiceStub(channel)
        self.projects = project_pb2_grpc.ProjectServiceStub(channel)
        self.streams = stream_pb2_grpc.StreamServiceStub(channel)

    def call(self, method, request):
        """Calls a unary method. If the token is refused, gets a new one, and calls once more."""
        token = self.credentials.access_token()
        try:
            return method(request, metadata=[("authorization", f"Bearer {token}")])
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAUTHENTICATED:
                raise
            self.credentials.expire(token)
            token = self.credentials.access_token()
            return method(request, metadata=[("authorization", f"Bearer {token}")])

    def pages(self, method, request):
        """All answers of a list, page by page."""
        while True:
            answer = self.call(method, request)
            yield answer
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    def watch(self, project_id, after_revision=0):
        """The messages of WatchProject, without gap or duplicate, for as long as it is iterated.

        Each message has the revision after which a later watch can resume.
        """
        revision, delay = after_revision, 0.2
        while True:
            token = self.credentials.access_token()
            request = stream_pb2.WatchProjectRequest(
                project_id=project_id, after_revision=revision
            )
            call = self.streams.WatchProject(
                request, metadata=[("authorization", f"Bearer {token}")]
            )
            try:
                for message in call:
                    revision, delay = message.revision, 0.2
                    yield message
            except grpc.RpcError as error:
                details = ErrorDetails(error)
                if details.reason == "RESYNC_REQUIRED":
                    revision = 0  # the history was deleted: start with a snapshot
                elif details.code == grpc.StatusCode.UNAUTHENTICATED:
                    self.credentials.expire(token)
                elif details.code not in (
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    grpc.StatusCode.INTERNAL,  # a connection that broke within a message
                ):
                    raise  # such as NOT_FOUND: the project was deleted
                time.sleep(details.retry_delay or delay)
                delay = min(delay * 2, 5)
            finally:
                call.cancel()
