"""Takes mail on 127.0.0.1 and puts each message with its envelope into a folder.

Usage: smtp.py PORT FOLDER [CERTIFICATE KEY (starttls|tls)]

With a certificate it wants a user and a password, which it puts there too.
"""

import asyncio
import json
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


class Folder:
    def __init__(self, place, tls):
        self.is_wrapped = tls == "tls"
        self.place = pathlib.Path(place)
        self.place.mkdir(exist_ok=True)
        self.login = None

    def authenticate(self, server, session, envelope, mechanism, data):
        self.login = [data.login.decode(), data.password.decode()]
        return AuthResult(success=data.password == b"hunter2", handled=False)

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 no such user: hunter2"
        if address.startswith("later@"):
            return "451 come again"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        seen = {
            "hello": session.host_name,
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": self.is_wrapped or session.ssl is not None,
            "login": self.login,
            "content": envelope.content.decode(),
        }
        number = len(list(self.place.iterdir()))
        part = self.place.parent / "part"
        part.write_text(json.dumps(seen))
        part.rename(self.place / f"{number}.json")
        return "250 OK"


async def serve(port, place, certificate=None, key=None, tls=None):
    handler, context, options = Folder(place, tls), None, {}
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        options = {"authenticator": handler.authenticate, "auth_required": True, "auth_require_tls": tls == "starttls"}
    if tls == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
    loop = asyncio.get_running_loop()
    make = lambda: SMTP(handler, hostname="sink", **options)
    server = await loop.create_server(make, "127.0.0.1", int(port), ssl=context if tls == "tls" else None)
    await server.serve_forever()


asyncio.run(serve(*sys.argv[1:]))
