"""The page in a real browser: it starts, steps, forks, goes back and begins anew without a complaint."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.headless import BROWSER, Browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        BROWSER is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"
    ),
]


def text(browser: Browser, name: str) -> str:
    return browser.run(f"document.getElementById('{name}').textContent")


def test_twenty_steps_a_fork_and_a_reset(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "vidjacobi",
        "play",
        "--model",
        "micro",
        "--dtype",
        "float32",
        "--window",
        "64",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        url = re.search(r"http://127\.0\.0\.1:\d+/\S+/", process.stderr.readline())[0]
        with Browser(tmp_path) as browser:
            browser.send("Page.navigate", url=url)
            browser.wait_for("document.querySelectorAll('.world img[src]').length == 1")
            assert "micro, pathwise" in text(browser, "name")
            browser.run("document.getElementById('run').click(), 1")
            browser.wait_for("Number(document.getElementById('latents').textContent) >= 20")
            browser.run("document.getElementById('run').click(), 1")
            browser.wait_for("waiting == 0")
            assert float(text(browser, "passes")) >= 1
            assert float(text(browser, "fps")) > 0
            assert text(browser, "guarantee").startswith("identical")
            before = int(text(browser, "latents"))
            for button, worlds, latents in (
                ("rewind", 1, before - 1),
                ("fresh", 2, before - 1),
                ("step", 2, before),
                ("reset", 1, 0),
            ):
                browser.run(f"document.getElementById('{button}').click(), 1")
                browser.wait_for("waiting == 0")
                assert browser.run("document.querySelectorAll('.world').length") == worlds
                assert int(text(browser, "latents")) == latents
            assert text(browser, "trouble") == ""
            assert browser.complaints == []
            others = [asked for asked in browser.requests if not asked.startswith(("data:", url))]
            assert [asked for asked in others if not asked.endswith("/favicon.ico")] == []
        ports = subprocess.run(["ss", "-ltnHp"], capture_output=True, text=True, check=False).stdout
        mine = [line.split()[3] for line in ports.splitlines() if f"pid={process.pid}," in line]
        assert all(address.startswith("127.0.0.1:") for address in mine)
    finally:
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out.splitlines()[-1])["model"] == "micro"
