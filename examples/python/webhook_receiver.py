"""Receives the webhooks of Sluice, and prints what happens to projects.

Needs the package `standardwebhooks` only. See docs/webhooks.md.

Usage: webhook_receiver.py PORT SECRET
"""

import http.server
import json
import sys

from standardwebhooks import Webhook, WebhookVerificationError

# The longest body that Sluice sends.
MAX_BODY_BYTES = 256 * 1024


class Projects:
    """The newest revision of each project that was received."""

    def __init__(self):
        self.revisions = {}

    def take(self, message):
        """Takes a message; returns what to print, or None if it was taken before."""
        data = message["data"]
        if message["type"] == "webhook.test":
            return "test"
        project = data["projectId"]
        if message["type"] == "events.gap":
            # Read the project again: what it missed is not sent any more.
            self.revisions[project] = int(data["lastRevision"])
            return f"{project} gap {data['firstRevision']} {data['lastRevision']}"
        revision = int(data["revision"])
        if revision <= self.revisions.get(project, 0):
            return None
        self.revisions[project] = revision
        return f"{project} {revision} {message['type']}"


class Receiver(http.server.BaseHTTPRequestHandler):
    """Answers 204 to messages that are signed with the secret, and 401 to all others."""

    protocol_version = "HTTP/1.1"
    timeout = 30
    webhook = None
    projects = Projects()

    def do_POST(self):
        length = int(self.headers.get("content-length", "0"))
        if length > MAX_BODY_BYTES:
            self.close_connection = True
            return self.answer(413)
        # The bytes as they came: another JSON text would have another signature.
        body = self.rfile.read(length)
        try:
            self.webhook.verify(body, dict(self.headers))
        except WebhookVerificationError:
            return self.answer(401)
        taken = self.projects.take(json.loads(body))
        if taken is not None:
            print(taken, flush=True)
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Logs nothing."""


def main():
    port, secret = sys.argv[1:]
    Receiver.webhook = Webhook(secret)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Receiver)
    print(f"listening on {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
