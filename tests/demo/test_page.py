"""The page in a real browser: every tab at both widths, hostile uploads, and nobody else is asked."""

import contextlib
import shutil
import socket
import sys

import pytest

from keras_fracture import cli
from keras_fracture.demo import drawing, fooling, leaking, page
from tests.demo.hostile import UPLOADS
from tests.serving.asking import free_port

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}
MOST = 30_000  # milliseconds, of anything
SHOWN = "#kf-reading, #kf-drawing, #kf-nearest, #kf-painting, #kf-game, #kf-leak"


def test_without_gradio_one_line_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert cli.main(["demo", "--no-browser"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install keras-fracture[demo]" in line


gradio = pytest.importorskip("gradio")


def test_an_old_gradio_is_refused(capsys, monkeypatch):
    monkeypatch.setattr(gradio, "__version__", "3.36.1")
    assert cli.main(["demo", "--no-browser"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("Received: Gradio 3.36.1")


def test_a_taken_port_is_one_line(capsys, folder):
    with socket.create_server((page.HOST, 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["demo", "--no-browser", "--port", str(port), "--models", str(folder)]) == 2
    assert f"port {port}: name another by --port" in capsys.readouterr().err


@pytest.fixture(scope="module")
def asked():
    """Addresses that this process tried to reach beyond this machine."""
    tried, connect = [], socket.socket.connect

    def watched(one, address):
        if one.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            tried.append(address)
        return connect(one, address)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(socket.socket, "connect", watched)
        yield tried


@pytest.fixture(scope="module")
def uploads(tmp_path_factory):
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def address(folder, asked, uploads):
    """One page for all, with few phantoms."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("GRADIO_ANALYTICS_ENABLED", "True")  # a user's own setting does not turn it on
        patched.setattr(fooling.Table.__init__, "__defaults__", ((400, 440),))
        patched.setattr(drawing.nearest, "__defaults__", ((0, 24), (24, 40)))
        few = leaking.files(24, 4, 24)
        patched.setattr(leaking, "files", lambda: few)
        started, address = page.start(free_port(), [folder], uploads)
        yield address
        started.close(verbose=False)


def test_it_answers_to_this_machine_alone(address):
    requests = pytest.importorskip("requests")
    answer = requests.get(address, timeout=30)
    assert answer.ok and "connect-src 'self'" in answer.headers["content-security-policy"]
    assert requests.get(address, headers={"Host": "evil.example"}, timeout=30).status_code == 421
    upload, own = f"{address}gradio_api/upload", address.rstrip("/")
    sent = {origin: _upload(requests, upload, origin) for origin in (own, "http://evil.example", "null")}
    assert sent == {own: 200, "http://evil.example": 421, "null": 421}


def _upload(requests, address, origin):
    file = {"files": ("x.png", b"x")}
    return requests.post(address, files=file, headers={"Origin": origin}, timeout=30).status_code


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM:
        pytest.skip("no Chromium is here")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


class Visit:
    """A browser's page, what it asked for, and what its console said."""

    def __init__(self, browser, address, width):
        size = dict(zip(("width", "height"), WIDTHS[width], strict=True))
        self.page = browser.new_page(viewport=size)
        self.page.set_default_timeout(MOST)
        self.requests, self.errors = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(address)
        self.page.get_by_role("tab").first.wait_for()

    def open(self, name):
        """Opens a tab, which on a phone may lie in a menu."""
        tab = self.page.get_by_role("tab", name=name)
        with contextlib.suppress(Exception):
            tab.click(timeout=1500)
            return
        self.page.locator(".overflow-menu > button").click()
        self.page.locator(".overflow-dropdown button", has_text=name).click()

    def press(self, name):
        self.page.get_by_role("button", name=name, exact=True).click()

    def shown(self, text):
        """Waits for words in what a tab shows; returns it."""
        place = self.page.locator(SHOWN).filter(has_text=text, visible=True)
        place.first.wait_for()
        return place.first

    def check_layout(self):
        """Nothing wider than the page, no image that did not load, nothing that failed."""
        assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        broken = "[...document.images].filter(one => one.complete && !one.naturalWidth).length"
        assert self.page.evaluate(broken) == 0
        assert self.page.locator(".kf-error").count() == 0 and not self.errors


@pytest.fixture(params=WIDTHS)
def visit(request, browser, address):
    visited = Visit(browser, address, request.param)
    yield visited
    assert {url.split("/")[2] for url in visited.requests if url.startswith("http")} == {
        address.split("/")[2]
    }
    assert all(url.startswith(("http://127.0.0.1:", "data:", "blob:")) for url in visited.requests)
    visited.page.close()


def images(place):
    return place.locator("img").count()


def test_read_an_x_ray(visit):
    visit.open("Read an X-ray")
    visit.press("Read")
    shown = visit.shown("Effect on the probability")
    words = shown.inner_text()
    assert "threshold 0.250" in words and "Not for clinical use" in words and "Blue box" in words
    assert images(shown) == 3
    visit.check_layout()


def test_draw_x_rays(visit):
    visit.open("Draw X-rays")
    visit.press("Draw")
    assert images(visit.shown("Seed 1")) == 10
    visit.press("Find the nearest phantom")
    assert images(visit.shown("Nearest phantom to learn from")) == 2
    visit.check_layout()


def test_paint_a_lesion_where_the_image_is_tapped(visit):
    visit.open("Paint a lesion")
    visit.press("Paint")
    assert images(visit.shown("Blended")) == 7
    place = visit.page.locator("#kf-place img")
    before, box = place.get_attribute("src"), place.bounding_box()
    place.click(position={"x": 0.25 * box["width"], "y": 0.75 * box["height"]})
    visit.page.wait_for_function("was => document.querySelector('#kf-place img').src !== was", arg=before)
    across, down = (
        visit.page.get_by_label(f"number input for {name}").input_value() for name in ("Across", "Down")
    )
    assert abs(float(across) - 0.25) < 0.02 and abs(float(down) - 0.75) < 0.02
    visit.check_layout()


def test_would_you_have_been_fooled(visit):
    visit.open("Would you have been fooled?")
    visit.press("Start")
    for number in range(1, 11):
        visit.shown(f"Image {number} of 10")
        visit.press("Real")
    shown = visit.shown("You: 5 of 10. The discriminator:")
    assert images(shown) == 10 and not visit.page.get_by_role("button", name="Real", exact=True).is_visible()
    visit.check_layout()


def test_is_the_number_real(visit):
    visit.open("Is the number real?")
    visit.press("Measure")
    visit.shown("0 % of the tested limbs")
    visit.page.get_by_label("number input for Tested limbs").fill("100")
    visit.press("Measure")
    shown = visit.shown("100 % of the tested limbs")
    assert "promises" in shown.inner_text() and images(shown) == 7
    visit.check_layout()


def test_hostile_uploads_are_one_line_and_the_page_goes_on(browser, address):
    visit = Visit(browser, address, "desktop")
    upload = "#kf-upload input[type=file]"
    for name, data, words in UPLOADS.values():
        visit.page.set_input_files(upload, {"name": name, "mimeType": "image/png", "buffer": data})
        line = visit.page.locator("#kf-reading .kf-error", has_text=words).filter(has_text=name)
        line.wait_for()
        assert "Traceback" not in visit.page.content()
        visit.page.get_by_label("Remove this file").or_(visit.page.get_by_label("Clear")).first.click()
        visit.page.get_by_text("Drop File Here").wait_for()
    visit.press("Read")
    visit.shown("Effect on the probability")
    visit.check_layout()
    visit.page.close()


def test_uploads_lie_in_the_folder_that_ends_with_the_page(browser, address, uploads):
    visit = Visit(browser, address, "desktop")
    upload = {"name": "secret-hand.png", "mimeType": "image/png", "buffer": UPLOADS["text"][1]}
    visit.page.set_input_files("#kf-upload input[type=file]", upload)
    visit.page.locator("#kf-reading .kf-error").wait_for()
    assert len(list(uploads.rglob("secret-hand.png"))) == 1
    visit.page.close()


def test_nothing_was_sent_anywhere(address, asked):
    assert asked == []
