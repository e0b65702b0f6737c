"""The page: its screens as tabs, its look, and what it says about privacy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stylemix.errors import StylemixError
from stylemix.models.model import Model
from stylemix.tools.app import avatar, drag, files, learn, photo
from stylemix.tools.app.events import Page

TITLE = "stylemix: your photo as an avatar"
HEADER = """<h1>stylemix</h1>
<p>Drop a photo of a face, choose a style, adjust it, download the picture.
The photo stays on the machine that runs this page.</p>"""
PRIVACY = """
Photos are neither sent to another machine nor used for training, and this page calls none.

- A photo and everything that is made of it lie in a folder that only this program may read. It has
  a long random name, and other visitors cannot ask for it.
- **Delete my photo** removes the photo, the faces found in it, its latents, every picture of it,
  and what the web server stored. Styles that you learned or brought stay.
- Without that, all of it is removed an hour after your last click, and when the program stops.
- Downloaded pictures say that they were made with a generator: in their metadata, and by an
  invisible watermark.

Ask people before you make pictures of them.
"""
CSS = """
.gradio-container {max-width: 1180px !important; width: 100% !important; margin: auto !important;}
#header h1 {font-size: 1.7rem; margin: 0 0 .2rem 0;}
#start h2 {font-size: 1rem;}
#header p {margin: 0;}
#status, #learn-status, #own-status, #drag-status {min-height: 1.6rem; font-weight: 600;}
#gallery .grid-wrap, #portraits .grid-wrap, #faces .grid-wrap
    {min-height: 0 !important; max-height: none; padding: 4px;}
#slider {border-width: 0 !important;}
#status .pending {opacity: 1 !important;}
#busy {min-height: 3.6rem;}
#busy .progress-text:has(+ .progress-level) {display: none;}
#gallery .grid-container, #portraits .grid-container, #faces .grid-container
    {grid-template: none / repeat(auto-fill, minmax(92px, 1fr)) !important; gap: 6px;}
#gallery .caption-label, #portraits .caption-label
    {font-weight: 600; font-size: .7rem; padding: 1px 5px; right: 3px; bottom: 3px; opacity: .95;
    max-width: none;}
.dark button[role=tab].selected {color: #a5b4fc !important;}
#faces .grid-wrap {padding-top: 2.3rem;}
button:focus-visible, input:focus-visible, label:has(input:focus-visible)
    {outline: 3px solid #4f46e5 !important; outline-offset: 2px;}
.dark :is(button:focus-visible, input:focus-visible, label:has(input:focus-visible))
    {outline-color: #a5b4fc !important;}
input[type=range]::-webkit-slider-thumb {border: 2px solid #4f46e5;}
input[type=range]::-moz-range-thumb {border: 2px solid #4f46e5;}
@media (max-width: 640px) {.gradio-container {padding: 8px !important;}}
"""
# Screen readers learn the language, what has been done, and the names of styles instead of numbers.
SCRIPT = """() => {
  document.documentElement.lang = 'en';
  for (const id of ['status', 'learn-status', 'own-status', 'drag-status']) {
    const place = document.getElementById(id);
    if (place) { place.setAttribute('role', 'status'); place.setAttribute('aria-live', 'polite'); }
  }
  const set = (element, name, value) => {
    if (value && element.getAttribute(name) !== value) element.setAttribute(name, value);
  };
  const name_all = () => {
    for (const image of document.querySelectorAll('button.thumbnail-item img'))
      set(image.closest('button'), 'aria-label', image.alt);
    for (const button of document.querySelectorAll('.reset-button')) {
      const field = button.parentElement.querySelector('input')?.getAttribute('aria-label');
      set(button, 'aria-label', field?.replace('number input for', 'Reset'));
    }
    for (const button of document.querySelectorAll('.label-wrap'))
      set(button, 'aria-expanded', String(button.classList.contains('open')));
    for (const button of document.querySelectorAll('button.upload-container'))
      set(button, 'aria-label',
        `${button.closest('.block').querySelector('label').innerText}: ${button.innerText}`
          .replace(/\\s+/g, ' ').trim());
    for (const field of document.querySelectorAll('#command textarea'))
      set(field, 'aria-label', 'The same as a command');
    document.querySelectorAll('#slider img').forEach(
      (image, number) => set(image, 'alt', number % 2 ? 'After' : 'Before'));
  };
  new MutationObserver(name_all).observe(document.body,
    {subtree: true, childList: true, attributes: true,
     attributeFilter: ['alt', 'aria-label', 'class']});
  name_all();
}"""


# Of the theme's colours those that are too light to be read: less than 4.5 to 1 (WCAG 1.4.3).
STRONG = (
    "block_label_text_color", "block_title_text_color", "button_primary_background_fill",
    "checkbox_label_background_fill_selected", "color_accent",
)  # fmt: skip
HOVERED = ("button_primary_background_fill_hover", "button_primary_background_fill_hover_dark")
LEGIBLE = ("body_text_color_subdued", "block_info_text_color", "checkbox_border_color")


def load_gradio() -> Any:
    """The module gradio; raises StylemixError where it is not installed."""
    try:
        import gradio
    except ImportError as error:
        raise StylemixError(
            "got no gradio; expected it for the app; pip install 'stylemix[app]'"
        ) from error
    return gradio


def build(model: Model, folder: Path) -> Any:
    """The page for a model; the sessions of its visitors have their folders in `folder`."""
    gr = load_gradio()
    with gr.Blocks(title=TITLE, analytics_enabled=False) as blocks:
        page = Page(gr, model, folder)
        gr.HTML(HEADER, elem_id="header", padding=True)
        with gr.Tabs():
            with gr.Tab("Avatar"), gr.Row():
                with gr.Column(scale=2, min_width=300):
                    photo.add_screen(page)
                    page.status = gr.HTML("", elem_id="status", padding=True)
                    page.busy = gr.HTML("", elem_id="busy")
                with gr.Column(scale=3, min_width=300):
                    photo.add_examples(page)
                    avatar.add_screen(page)
            with gr.Tab("Drag points"):
                drag.add_screen(page)
            with gr.Tab("Learn a style"):
                learn.add_screen(page)
            with gr.Tab("Your own files"):
                files.add_screen(page)
            with gr.Tab("Privacy"):
                gr.Markdown(PRIVACY)
        off: dict[str, Any] = {"value": None, "interactive": False}
        nothing: dict[str, Any] = {"value": None}
        gone: dict[str, dict[str, Any]] = {
            "gallery": {"value": [], "visible": False}, "result": {"visible": False},
            "slider": nothing, "download": off, "second": {"value": "none"}, "drag": nothing,
            "drag_points": {"value": ""}, "drag_said": {"value": ""},
        }  # fmt: skip
        events = [*photo.connect(page, gone), *learn.connect(page), *files.connect(page, gone)]
        avatar.connect(page, events)
        drag.connect(page)
    blocks.queue(default_concurrency_limit=None, max_size=64, api_open=False)
    return blocks


def look(gr: Any) -> dict[str, Any]:
    """Arguments of `launch` that make the look; all fonts are the system's."""
    fonts = ["system-ui", "sans-serif"]
    theme = gr.themes.Soft(
        primary_hue="indigo", secondary_hue="indigo", neutral_hue="slate", font=fonts,
        font_mono=["ui-monospace", "monospace"],
    )  # fmt: skip
    theme.set(
        **dict.fromkeys(STRONG, "*primary_600"), **dict.fromkeys(HOVERED, "*primary_700"),
        **dict.fromkeys(LEGIBLE, "*neutral_500"),
        background_fill_primary="*neutral_50",  # that of Soft, which `set` resets
    )  # fmt: skip
    return {"theme": theme, "css": CSS, "js": SCRIPT, "footer_links": []}
