"""An SMTP server with AUTH, which prints each message.

Usage: smtp_server.py USER PASSWORD [CERTIFICATE KEY]

With a certificate it offers STARTTLS, and requires it for passwords and messages.
Prints a line of JSON for its port, each login and each message. It refuses recipients
whose address begins with `refused`.
"""

import asyncio
import json
import logging
import ssl
import sys
import warnings

from aiosmtpd.smtp import SMTP, AuthResult


# Tests disconnect clients and send passwords in plain text on purpose.
logging.getLogger("mail.log").disabled = True
warnings.filterwarnings("ignore", module="aiosmtpd")


def say(**what):
    print(json.dumps(what), flush=True)


class Mailbox:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("refused"):
            return f"550 5.1.1 no mailbox {address} here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        say(
            message=envelope.content.decode(),
            sender=envelope.mail_from,
            recipients=envelope.rcpt_tos,
            user=session.auth_data.login.decode(),
            tls=session.ssl is not None,
        )
        return "250 OK"


def authenticator(user, password):
    def check(server, session, envelope, mechanism, given):
        right = (given.login, given.password) == (user.encode(), password.encode())
        say(login=given.login.decode(), right=right)
        return AuthResult(success=right, handled=False, auth_data=given if right else None)

    return check


async def main(user, password, *certificate):
    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*certificate)

    def session():
        return SMTP(
            Mailbox(),
            authenticator=authenticator(user, password),
            auth_required=True,
            auth_require_tls=context is not None,
            tls_context=context,
            require_starttls=context is not None,
        )

    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", 0)
    say(port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
