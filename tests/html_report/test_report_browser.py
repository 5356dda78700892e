"""A video that was written plays in a browser to its end, with its own size and length."""

import queue
import shutil
import subprocess
import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from vidjacobi.video.clips import write_video
from vidjacobi.video.writer import GrowingVideo

PAGE = """<video id="v" src="clip.mp4" muted autoplay></video><script>
const v = document.getElementById("v"), say = (t) => fetch("/said/" + t);
v.onerror = () => say("error-" + v.error.code);
v.onended = () => say(`ended-${v.videoWidth}x${v.videoHeight}-${v.duration.toFixed(2)}`);
</script>"""
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --autoplay-policy=no-user-gesture-required"
)


class Listener(SimpleHTTPRequestHandler):
    """Serves the page and receives its messages."""

    heard: "queue.Queue[str]"

    def do_GET(self) -> None:
        if self.path.startswith("/said/"):
            self.heard.put(self.path.removeprefix("/said/"))
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def write_growing(path: Path, frames: torch.Tensor, fps: int) -> None:
    """Write a video group by group, as ``rollout --stream`` does."""
    video = GrowingVideo(path, fps)
    for group in frames.split([9, 4, 2]):
        video.add(group)


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_video, write_growing])
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine (Debian: apt-get install chromium)")
def test_a_browser_plays_it_to_the_end(
    tmp_path: Path, write: Callable[[Path, torch.Tensor, int], None]
) -> None:
    ramp = torch.arange(15, dtype=torch.uint8)[:, None, None, None] * 16
    write(tmp_path / "clip.mp4", ramp.expand(15, 41, 57, 3).contiguous(), 15)  # odd sides are padded to 42x58
    (tmp_path / "page.html").write_text(PAGE)
    Listener.heard = queue.Queue()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Listener, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/page.html"
    command = [
        str(BROWSER),
        *FLAGS.split(),
        f"--user-data-dir={tmp_path / 'profile'}",
        "--remote-debugging-port=0",
    ]
    browser = subprocess.Popen([*command, url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert Listener.heard.get(timeout=120) == "ended-58x42-1.00"
    finally:
        browser.kill()
        browser.wait()
        server.shutdown()
