"""The page itself: a server on this machine, and nothing that leaves it."""

import os
import signal
import tempfile
import threading
import urllib.parse
import webbrowser

from keras_fracture import progress
from keras_fracture.demo import drawing, fooling, leaking, painting, reading, showing
from keras_fracture.demo.shelf import Shelf
from keras_fracture.errors import ServerError
from keras_fracture.serving import limits

HOST = "127.0.0.1"
TITLE = "keras_fracture"
TABS = {
    "Read an X-ray": reading.tab,
    "Draw X-rays": drawing.tab,
    "Paint a lesion": painting.tab,
    "Would you have been fooled?": fooling.tab,
    "Is the number real?": leaking.tab,
}
# The browser asks this machine alone, whatever a script or a style may name.
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' data: blob:; "
    "form-action 'self'; base-uri 'self'; frame-ancestors 'none'"
)
_LEAST, _BELOW = 6, 7  # versions of Gradio


def serve(port=7860, folders=(), browser=True):
    """Shows the page until the process is interrupted.

    Args:
        port: To listen at, on this machine alone.
        folders: Of models, see `shelf.Shelf`.
        browser: Whether to open a browser.

    Raises:
        ServerError: Gradio is missing or too old, or the port is taken.
        ModelError: As in `Shelf`.
    """
    with tempfile.TemporaryDirectory(prefix="keras_fracture-") as uploads:
        _show(*start(port, folders, uploads), browser)


def _show(page, address, browser):
    progress.say(f"open {address} in a browser; Ctrl-C ends it. Not for clinical use")
    if browser:
        webbrowser.open(address)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # uploads are deleted then, too
    try:
        threading.Event().wait()
    finally:
        page.close(verbose=False)


def start(port, folders, uploads):
    """Starts the server in a thread of its own.

    Args:
        port: As in `serve`, and so is `folders`, and what it raises.
        folders: Of models.
        uploads: Folder for uploaded images, which are deleted after ten minutes; nobody else should be able to read it.

    Returns:
        The `gradio.Blocks`, to be closed, and its address.
    """
    gr = gradio()
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    page = build(gr, Shelf(folders))
    try:
        _, address, _ = page.launch(
            server_name=HOST, server_port=port, inbrowser=False, share=False, quiet=True, prevent_thread_lock=True,
            max_file_size=limits.MAX_BYTES, footer_links=[], run_history=False, ssr_mode=False, pwa=False,
            mcp_server=False, enable_monitoring=False, show_error=False, inline=False,
            app_kwargs={"middleware": _middleware(), "docs_url": None, "redoc_url": None},
            theme=_theme(gr), css=showing.STYLE,
        )  # fmt: skip
    except OSError as error:
        raise ServerError(
            f"Nothing can listen at port {port}: name another by --port. Received: {error}"
        ) from None
    return page, address


def build(gr, shelf):
    """The `gradio.Blocks` of all tabs."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 600)) as page:
        gr.Markdown(
            f"# {TITLE}: look and play\n**Not for clinical use.** All on this machine: nothing is sent anywhere."
        )
        with gr.Tabs():
            for name, tab in TABS.items():
                with gr.Tab(name):
                    tab(gr, shelf)
    return page


def gradio():
    """Imports Gradio, its telemetry off.

    Raises:
        ServerError: It is missing, or of another version than the page is made for.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # Gradio asks its own server whether it is up: not by way of a proxy.
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), HOST)))
    need = "`demo` needs what `pip install keras-fracture[demo]` brings"
    try:
        import gradio as gr
    except ModuleNotFoundError as error:
        raise ServerError(f"{need}. Received: {error}") from None
    if not _LEAST <= int(gr.__version__.split(".")[0]) < _BELOW:
        raise ServerError(f"{need}: Gradio {_LEAST}. Received: Gradio {gr.__version__}")
    return gr


def _theme(gr):
    """System fonts, and colours that colour-blind readers can tell apart."""
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    return gr.themes.Default(primary_hue="blue", secondary_hue="blue", neutral_hue="gray", **fonts)


def _middleware():
    from starlette.middleware import Middleware

    return [Middleware(_Guard)]


class _Guard:
    """Refuses what other sites send or ask by, and tells browsers to ask nobody else."""

    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send):
        async def guarded(message):
            if message["type"] == "http.response.start":
                extra = ((b"content-security-policy", _POLICY.encode()), (b"referrer-policy", b"no-referrer"))
                message = {**message, "headers": [*message.get("headers", ()), *extra]}
            await send(message)

        if scope["type"] == "http" and not _ours(dict(scope["headers"])):
            await guarded({"type": "http.response.start", "status": 421, "headers": []})
            await guarded({"type": "http.response.body", "body": b"this page answers to 127.0.0.1 alone"})
            return
        await self._app(scope, receive, guarded)


def _ours(headers):
    """Whether a request is meant for this machine and comes from this page: other sites' pages can send some, too."""
    names = [headers.get(b"host", b"").decode("latin-1")]
    if b"origin" in headers:
        names.append(urllib.parse.urlsplit(headers[b"origin"].decode("latin-1")).netloc)
    return all(name.rsplit(":", 1)[0] in (HOST, "localhost") for name in names)
