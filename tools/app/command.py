"""`stylemix app`: the app in the browser."""

from __future__ import annotations

import click

from stylemix.devices import find_device
from stylemix.messages import note, result, say
from stylemix.models.checkpoint import load_model
from stylemix.tools.app.server import is_loopback, serve
from stylemix.tools.options import device_option, model_option


@click.command("app")
@click.option(
    "--host", default="127.0.0.1", show_default=True,
    help="Address to listen at; the default is for this machine only, 0.0.0.0 for all.",
)  # fmt: skip
@click.option(
    "--port", type=click.IntRange(1, 65535), default=7860, show_default=True, help="Its port."
)
@click.option("--open", "show", is_flag=True, help="Open the page in the browser.")
@model_option
@device_option
def app_command(host: str, port: int, show: bool, model: str, device: str) -> None:
    """Serve a page that turns photos into avatars: drop a photo, choose a style, download.

    \b
    Examples:
      stylemix app
      stylemix app --open --port 8080
    """
    if not is_loopback(host):
        note(
            f"Warning: got --host {host}: everybody who reaches this machine there can open the "
            "page and use it, without a password, and photos travel unencrypted"
        )
    serve(load_model(model, find_device(device)), host, port, show, _tell)


def _tell(address: str) -> None:
    result(address=address)
    say(f"The app is at {address} (Ctrl-C ends it and removes all photos)")
