"""The page of the worst cases, read as HTML and by a real browser."""

import base64
import io
import os
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import PIL.Image
import pytest
from alpamayo_client import Scene
from alpamayo_client.cli import main
from alpamayo_client.evaluation.npz_folder import NpzFolder
from alpamayo_client.evaluation.source import SceneKey
from evaluated import aside, failed, predicted, results, row

HOSTILE = "</li><script>document.title = 'taken over'</script><img src=http://127.0.0.1:9/x> & \x1b[2J \u202e 日本"
MAGENTA = (255, 0, 255)
VOID = {"meta", "img"}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Four answered scenes, one of them no longer there, one changed, and a failed one; names, thoughts are hostile."""
    folder = tmp_path_factory.mktemp("evaluation")
    (folder / "scenes").mkdir()
    xyz = np.zeros((16, 3))
    xyz[:, 0] = 0.9 * np.arange(-15, 1)
    frames = np.broadcast_to(np.array(MAGENTA, np.uint8).reshape(3, 1, 1), (1, 1, 3, 64, 96))
    future = np.zeros((64, 3))
    future[:, 0] = 0.9 * np.arange(1, 65)
    scene = Scene(frames, xyz, np.broadcast_to(np.eye(3), (16, 3, 3)), future)
    for name in ("<b>near", "far", "changed"):
        scene.save(folder / "scenes" / f"{name}.npz")
    source = NpzFolder(folder / "scenes")
    fingerprint = source.fingerprint(SceneKey("far", None))
    thought = np.array([[[HOSTILE.encode()]]], dtype=np.object_)
    rows = [
        row(
            "<b>near",
            scene,
            predicted(cot=thought, reasoning_complete=np.zeros((1, 1, 1), bool)),
            fingerprint=fingerprint,
        ),
        row("far", scene, aside(3), fingerprint=fingerprint),
        row("changed", scene, aside(5), fingerprint="another"),
        row("gone", scene, aside(7), fingerprint=fingerprint),
        failed("broken", f"no scene {HOSTILE}"),
    ]
    results(folder, rows, source)
    assert main(["view", str(folder), "--output", str(folder / "page.html")]) == 0
    return folder / "page.html"


class Page(HTMLParser):
    """Tags that are open are closed in their order; what it refers to, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.references, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.references += [value for name, value in attributes if name in ("src", "href", "srcset", "action")]
        assert not any(name.startswith("on") for name, _ in attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_everything_is_in_it_and_nothing_runs(page):
    html = Page(page.read_text(encoding="utf-8"))
    assert "script" not in html.tags
    assert html.tags.count("img") == len(html.references) == 2
    for reference in html.references:
        kind, data = reference.split(",", 1)
        assert kind == "data:image/png;base64"
        with PIL.Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as picture:
            picture.load()
            assert picture.size == (1500, 769)  # as of one whose thoughts are in the text alone


def test_what_it_says(page):
    text = Page(page.read_text(encoding="utf-8")).text
    places = [text.index(title) for title in ("1. gone: minADE@1 7.00 m", "3. far: minADE@1 3.00 m", "4. <b>near: min")]
    assert places == sorted(places)
    assert "5 scenes, 1 failed, 4 with a known future" in text
    assert text.count("No picture, the scene cannot be read again: ") == 2
    assert "read again: changed has changed since it was answered" in text
    assert text.count("<script>document.title = 'taken over'</script>") == 2  # the thought, the failure
    assert "\x1b" not in text
    assert "\N{BLACK SQUARE} Thought 0." in text
    assert "(cut off)" in text
    assert '"seed": 1' in text


def test_a_page_of_fewer_cases(page, tmp_path):
    output = tmp_path / "page.html"
    assert main(["view", str(page.parent / "results.parquet"), "--output", str(output), "--worst", "1"]) == 0
    text = Page(output.read_text(encoding="utf-8")).text
    assert "1. gone" in text
    assert "2. " not in text


@pytest.mark.parametrize("content", [None, b"no parquet"])
def test_no_results(tmp_path, capsys, content):
    path = tmp_path / "results.parquet"
    if content:
        path.write_bytes(content)
    assert main(["view", str(path if content else tmp_path), "--output", str(tmp_path / "page.html")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("alpamayo: ")
    assert error.count("\n") == 1
    assert "results.parquet" in error
    assert not (tmp_path / "page.html").exists()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: the page is not looked at in a browser")
def test_in_a_real_browser(page, tmp_path):
    dom = browser(page, tmp_path, "--dump-dom")
    assert "<title>Alpamayo: evaluation</title>" in dom  # no script has changed it
    assert Page(dom).tags.count("img") == 2
    screenshot = tmp_path / "page.png"
    browser(page, tmp_path, f"--screenshot={screenshot}", "--window-size=1500,2600")
    with PIL.Image.open(screenshot) as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    # The cameras of both pictures, each more than a hundred pixels wide.
    assert (pixels == MAGENTA).all(axis=1).sum() > 2 * 100 * 60
    assert len(np.unique(pixels, axis=0)) > 100


def browser(page, folder, *options):
    """What it prints. It needs no network, and may not run as root in a sandbox of its own."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    environment = os.environ | {"HOME": str(folder)}
    ran = subprocess.run(
        [*command, f"--user-data-dir={folder / 'profile'}", *options, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout
