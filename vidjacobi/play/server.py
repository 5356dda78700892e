"""The page and its requests, on loopback only, behind a token that nobody can guess."""

import json
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any

from vidjacobi.errors import VidjacobiError
from vidjacobi.play.controls import Controls
from vidjacobi.play.game import Game

LOOPBACK = "127.0.0.1"
LONGEST = 10_000  # bytes of a request
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


class PlayServer(ThreadingHTTPServer):
    """Serves one game. ``url`` holds the token: whoever does not know it gets 404 for everything.

    Args:
        about: what the page is told of the model, such as its name.
        port: 0: a free one.
    """

    daemon_threads = True

    def __init__(self, game: Game, controls: Controls, about: Mapping[str, Any], port: int = 0) -> None:
        self.token = secrets.token_urlsafe(24)
        told = {**about, "keys": controls.keys, "pointer": controls.pointer}
        page = (resources.files("vidjacobi.play") / "page.html").read_text("utf-8")
        # no "<" of a name may end the script that this stands in
        self.page = page.replace("/*ABOUT*/null", json.dumps(told).replace("<", "\\u003c")).encode()
        self.game = game
        super().__init__((LOOPBACK, port), _Handler)

    @property
    def url(self) -> str:
        """Of the page."""
        return f"http://{LOOPBACK}:{self.server_port}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    server: PlayServer
    server_version, sys_version = "vidjacobi", ""
    timeout = 60

    def do_GET(self) -> None:
        """The page."""
        if self._mine(""):
            self._send(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")

    def do_POST(self) -> None:
        """A request of the page."""
        if not self._mine("do"):
            return
        length = self.headers.get("Content-Length", "")
        if (
            self.headers.get("Content-Type") != "application/json"
            or not length.isdecimal()
            or int(length) > LONGEST
        ):
            self._tell(HTTPStatus.BAD_REQUEST, {"error": "a request is a short JSON object"})
            return
        try:
            asked = json.loads(self.rfile.read(int(length)))
            if not isinstance(asked, dict):
                raise ValueError("not an object")
        except (ValueError, RecursionError):
            self._tell(HTTPStatus.BAD_REQUEST, {"error": "a request is a JSON object"})
            return
        try:
            self._tell(HTTPStatus.OK, self.server.game.answer(asked))
        except VidjacobiError as error:
            self._tell(HTTPStatus.BAD_REQUEST, {"error": str(error)})

    def _mine(self, name: str) -> bool:
        """Whether it is for this server by its own name, so that no page of another site gets here by a name of
        its own that points to loopback, and has the token."""
        hosts = {f"{host}:{self.server.server_port}" for host in (LOOPBACK, "localhost")}
        origin = self.headers.get("Origin")
        token, _, rest = self.path.lstrip("/").partition("/")
        # In a time that does not tell how much of a guess was right.
        own = secrets.compare_digest(token.encode(), self.server.token.encode())
        local = self.headers.get("Host") in hosts and (
            origin is None or origin.removeprefix("http://") in hosts
        )
        if own and rest == name and local:
            return True
        self._send(HTTPStatus.NOT_FOUND, b"not here\n", "text/plain; charset=utf-8")
        return False

    def _tell(self, status: HTTPStatus, told: Mapping[str, Any]) -> None:
        self._send(status, json.dumps(told).encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Content-Security-Policy", POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-store"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: lines of requests would hide what matters, and hold the token."""
