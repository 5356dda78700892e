"""The page's requests: what they do, and who is answered."""

import json
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.families.test_pusht import GRID, network
from tests.session.test_acting import SAMPLING, PaintedCodes, frames
from vidjacobi.cli.main import main
from vidjacobi.errors import InvalidArgument
from vidjacobi.families.pusht import PushTModel
from vidjacobi.play.controls import MineWorldControls, NoControls, PushTControls, open_playable
from vidjacobi.play.game import Game
from vidjacobi.play.server import PlayServer
from vidjacobi.session import Session

pytestmark = pytest.mark.unchecked


def game(controls: Any = None, truth: Any = None) -> Game:
    model = PushTModel(network(), [] if controls else [torch.zeros(0, 4)])
    tokenizer = PaintedCodes(model.vocab_size, GRID.t)
    controls = controls or NoControls({})

    def begin(number: int) -> Session:
        names = [f"play {number}"]
        return Session(
            model,
            tokenizer,
            frames(1),
            names=names,
            sampling=SAMPLING,
            window=5,
            condition=controls.condition,
        )

    return Game(begin, controls, truth)


class Push(PushTControls):
    """On the tiny network, which is in float64."""

    def action(self, *asked: Any) -> torch.Tensor:
        return super().action(*asked).double()


def test_a_game() -> None:
    played = game()
    first = played.answer({"what": "reset", "same": True})
    assert (first["latents"], first["passes"], len(first["worlds"])) == (0, None, 1)
    one = played.answer({"what": "step"})
    assert one["latents"] == 1
    assert one["passes"] >= 1
    assert one["guarantee"].startswith("identical")
    assert one["worlds"][0][0].startswith("data:image/png;base64,")
    forked = played.answer({"what": "fork"})
    assert forked["worlds"][0] == forked["worlds"][1] == one["worlds"][0][-1:]
    two = played.answer({"what": "step"})
    assert two["worlds"][0] == two["worlds"][1]  # the same dice
    assert played.answer({"what": "rewind"})["worlds"] == forked["worlds"]
    assert played.answer({"what": "step"})["worlds"] == two["worlds"]
    assert len(played.answer({"what": "fork", "fresh": True})["worlds"]) == 4
    with pytest.raises(InvalidArgument, match="at most 4 worlds"):
        played.answer({"what": "fork"})
    assert played.answer({"what": "reset", "same": True})["worlds"] == first["worlds"]
    assert played.answer({"what": "step"})["worlds"] == one["worlds"]
    with pytest.raises(InvalidArgument, match="0 were decided"):
        [played.answer({"what": "rewind"}) for _ in range(2)]
    with pytest.raises(InvalidArgument, match="not 'leave'"):
        played.answer({"what": "leave"})


def test_actions_act_in_one_world() -> None:
    played = game(Push(torch.stack, 2))
    played.answer({"what": "fork"})
    for place in (0.1, 0.9, 0.2):
        told = played.answer({"what": "step", "row": 1, "pointer": [place, place]})
    assert told["latents"] == 3
    left, right = (clip.chunk.actions for clip in played.session.snapshot().clips)
    assert [float(action[0]) for action in left] == [256.0, 256.0, 256.0]
    assert [float(action[0]) for action in right] == pytest.approx([51.2, 460.8, 102.4])
    for asked, words in (
        ({"row": 2}, "no world 2"),
        ({"pointer": [1]}, r"\[x, y\]"),
        ({"pointer": ["a", 1]}, "pointer"),
        ({"keys": "KeyW"}, "list of names"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            played.answer({"what": "step", **asked})


def test_keys_of_minerl() -> None:
    controls = MineWorldControls(list)
    found = controls.action(["KeyW", "ArrowLeft", "ArrowUp", "KeyZ"], None, None)
    assert found == {"forward": 1, "camera": [-15, -15]}
    assert set(controls.keys) >= {"KeyW", "ArrowUp"}
    assert PushTControls(torch.stack, 2).action([], (2.0, -1.0), None).tolist() == [512, 0, 512, 0]


@pytest.fixture
def server() -> Iterator[PlayServer]:
    controls = NoControls({})
    with PlayServer(game(), controls, {"model": "</script><b>", "decoder": "pathwise"}) as served:
        thread = threading.Thread(target=served.serve_forever, daemon=True)
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def ask(
    server: PlayServer, path: str, body: object = None, **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is None:
        connection.request("GET", path, headers=sent)
    else:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("POST", path, raw, {"Content-Type": "application/json", **sent})
    answer = connection.getresponse()
    return answer.status, answer.read(), dict(answer.getheaders())


def test_the_page_and_its_requests(server: PlayServer) -> None:
    home = f"/{server.token}/"
    status, page, headers = ask(server, home)
    assert status == 200
    assert b"</script><b>" not in page
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert server.server_address[0] == "127.0.0.1"
    status, told, _ = ask(server, home + "do", {"what": "step"})
    assert status == 200
    assert json.loads(told)["latents"] == 1
    status, told, _ = ask(server, home + "do", {"what": "leave"})
    assert status == 400
    assert "may ask for" in json.loads(told)["error"]
    for body in (b"{", b"[]", b"{" + b" " * 10_001 + b"}"):
        assert ask(server, home + "do", body)[0] == 400


def test_strangers_are_not_answered(server: PlayServer) -> None:
    home, port = f"/{server.token}/", server.server_port
    for path in ("/", "/do", f"/{'x' * 32}/", f"/{'x' * 32}/do", home + "other", home[:-2] + "/", "/%C3%A9/"):
        assert ask(server, path)[0] == 404
    assert ask(server, home, Host="evil.example")[0] == 404
    assert ask(server, home, Host=f"evil.example:{port}")[0] == 404
    assert ask(server, home, Host=f"localhost:{port}")[0] == 200
    assert ask(server, home + "do", {"what": "step"}, Origin="http://evil.example")[0] == 404
    assert ask(server, home + "do", {"what": "step"}, Content_Type="text/plain")[0] == 400


def test_what_is_no_request_is_refused_and_the_game_goes_on(server: PlayServer) -> None:
    place = f"/{server.token}/do"
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    for body in ("[" * 5000, "x", "[1]"):
        connection.request("POST", place, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())) == (400, {"error": "a request is a JSON object"})
    connection.close()
    assert ask(server, place, {"what": "reset"})[0] == 200


@pytest.mark.parametrize("port", ["-1", "70000"])
def test_a_port_that_is_none(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", "--model", "micro", "--context", "1", "--port", port]) == 2
    assert f"port {port} cannot be used (ports are 0 to 65535): leave --port out" in capsys.readouterr().err


def test_models_that_cannot_be_played(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidArgument, match="janus cannot be played: of the families only mineworld, pusht"
    ):
        open_playable(f"janus:{tmp_path}", "cpu", "float32", None)
