"""JupyterLab for tests: start it on a folder, drive a notebook in it with a page of pytest-playwright."""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAC_CHROME = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
NO_BROWSER = (
    "The browser tests need Chromium. Install it (Debian: apt install chromium; Ubuntu, macOS: Google Chrome), "
    "or name one: VARLITE_CHROMIUM=/path/to/chrome"
)
# Without these a first visit shows a dialog about news, and cells outside the window are not in the page.
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}


def find_chromium() -> str | None:
    if named := os.environ.get("VARLITE_CHROMIUM"):
        return named
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome", MAC_CHROME))
    return next(filter(None, found), None)


@dataclass(frozen=True)
class JupyterLab:
    """A server that is running: what it serves, and where."""

    folder: Path
    url: str
    token: str

    def address(self, notebook: Path | str) -> str:
        """Of a notebook in the folder, in a workspace of its own: another one would open what was open there before."""
        name = Path(notebook).relative_to(self.folder).as_posix()
        workspace = re.sub(r"\W", "-", name)
        return f"{self.url}/lab/workspaces/{workspace}/tree/{name}?token={self.token}"

    def ask(self, method: str, path: str) -> Any:
        request = urllib.request.Request(f"{self.url}/api/{path}", method=method)
        request.add_header("Authorization", f"token {self.token}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or "null")

    def end_kernels(self) -> None:
        for session in self.ask("GET", "sessions"):
            self.ask("DELETE", f"sessions/{session['id']}")


@contextmanager
def jupyterlab(folder: Path, home: Path) -> Iterator[JupyterLab]:
    """Serves `folder`, with settings and log in `home`."""
    labconfig = home / "config" / "labconfig"
    labconfig.mkdir(parents=True)
    (labconfig / "default_setting_overrides.json").write_text(json.dumps(SETTINGS))
    kinds = {"CONFIG": "config", "DATA": "data", "RUNTIME": "runtime"}
    # The user's own settings and kernels must neither matter nor change.
    env = os.environ | {f"JUPYTER_{kind}_DIR": str(home / name) for kind, name in kinds.items()}
    env |= {"IPYTHONDIR": str(home / "ipython"), "JUPYTER_PREFER_ENV_PATH": "1"}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": folder,
        "ServerApp.allow_root": True,
        "IdentityProvider.token": token,
        "LabApp.expose_app_in_browser": True,
    }
    log = home / "jupyter.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", *(f"--{k}={v}" for k, v in options.items())],
            env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{url}/api/status?token={token}", server, log)
        yield JupyterLab(folder, url, token)
    finally:
        server.terminate()  # ends its kernels too
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def wait_for(url: str, server: subprocess.Popen, log: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not answer at {url} within {seconds} s:\n{log.read_text()[-3000:]}")


class NotebookPage:
    """One notebook, open in JupyterLab, in a page of a real browser."""

    def __init__(self, page, address: str):
        self.page = page
        page.set_default_timeout(60_000)
        page.goto(address)
        # `isReady` and not the idle light in the corner: the light comes earlier, and run-all then runs nothing.
        page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.context?.sessionContext?.isReady")

    def command(self, name: str, seconds: float = 60) -> None:
        """Runs a JupyterLab command to its end. An awaited page.evaluate has no time limit, so: start, then poll."""
        self.page.evaluate(
            "name => { window.ended = null; jupyterapp.commands.execute(name)"
            ".then(() => { window.ended = 'ok' }, error => { window.ended = String(error) }); }",
            name,
        )
        self.page.wait_for_function("() => window.ended", timeout=seconds * 1000)

    def cells(self) -> list[dict]:
        """The code cells as they are now, in the format of the file."""
        model = "jupyterapp.shell.currentWidget.content.model.sharedModel"
        cells = json.loads(self.page.evaluate(f"JSON.stringify({model}.toJSON().cells)"))
        return [cell for cell in cells if cell["cell_type"] == "code"]

    def pictures(self, at_least: int = 0) -> list[int]:
        """For each picture among the outputs, as drawn by the browser: its number of distinct colours."""
        # The kernel may be done before the page has drawn what it sent.
        count = "n => document.querySelectorAll('.jp-OutputArea-output img').length >= n"
        self.page.wait_for_function(count, arg=at_least)
        return self.page.evaluate("""async () => {
            const colours = async img => {
                await img.decode();
                const [width, height] = [img.naturalWidth, img.naturalHeight];
                const canvas = new OffscreenCanvas(width, height).getContext('2d');
                canvas.drawImage(img, 0, 0);
                const {data} = canvas.getImageData(0, 0, width, height);
                return new Set(new Uint32Array(data.buffer)).size;
            };
            return Promise.all([...document.querySelectorAll('.jp-OutputArea-output img')].map(colours));
        }""")

    def pixels(self, selector: str) -> str:
        """The first picture that `selector` finds, as the browser shows it: equal strings are equal pictures."""
        return self.page.evaluate(
            """async selector => {
            const img = document.querySelector(selector);
            for (let tries = 1; ; tries++)  // a picture that is just being replaced cannot be decoded
                try { await img.decode(); break; }
                catch (error) {
                    if (tries === 20) throw error;
                    await new Promise(done => setTimeout(done, 100));
                }
            const canvas = document.createElement('canvas');
            [canvas.width, canvas.height] = [img.naturalWidth, img.naturalHeight];
            canvas.getContext('2d').drawImage(img, 0, 0);
            return canvas.toDataURL();
        }""",
            selector,
        )
