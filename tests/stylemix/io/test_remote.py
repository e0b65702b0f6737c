"""Files by an address: nothing is fetched but what is named, and nothing but what is expected."""

import hashlib
import io
import sys
import types
from urllib import error as url_errors

import pytest

from stylemix import messages
from stylemix.errors import StylemixError
from stylemix.io import remote
from stylemix.io.remote import fetch, is_address

DATA = b"weights" * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()
URL = "https://example.org/files/my%20style.safetensors"


@pytest.fixture
def web(monkeypatch, tmp_path):
    """A web that has one file, and a log of what was asked of it."""
    asked = []

    class Answer(io.BytesIO):
        url = URL

    def urlopen(request, timeout):
        asked.append(request.full_url)
        if request.full_url.endswith("missing.pkl"):
            raise url_errors.HTTPError(request.full_url, 404, "Not Found", {}, None)
        if request.full_url.endswith("offline.pkl"):
            raise url_errors.URLError("no route to host")
        answer = Answer(DATA)
        if request.full_url.endswith("moved.pkl"):
            answer.url = "http://elsewhere.example.org/moved.pkl"
        return answer

    monkeypatch.setattr(remote.request, "urlopen", urlopen)
    monkeypatch.setattr(remote, "cache_folder", lambda kind: tmp_path / kind)
    return asked


def test_what_is_an_address():
    names = ("https://a/b", "hf://a/b/c", "http://a/b", "toon", "a/b.pkl", "seed:7", None)
    assert [is_address(name) for name in names] == [True, True, True, False, False, False, False]


def test_a_file_is_fetched_once(web, tmp_path, capsys):
    path = fetch(URL)
    assert path.read_bytes() == DATA
    assert path.name == "my_style.safetensors"
    assert DIGEST in capsys.readouterr().err
    assert fetch(URL) == path
    assert web == [URL]


def test_quiet_downloads_say_nothing_but_to_json(web, capsys):
    with messages.session("inspect") as run:
        run.quiet = True
        fetch(URL)
    assert capsys.readouterr().err == ""
    assert DIGEST in run.notes[0]


def test_a_checksum_is_held(web, tmp_path, capsys):
    assert fetch(f"{URL}#sha256={DIGEST}").read_bytes() == DATA
    assert capsys.readouterr().err == ""
    other = "0" * 64
    with pytest.raises(StylemixError, match=f"sha256 {DIGEST}.*expected {other}"):
        fetch(f"{URL}#sha256={other}")
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("http://example.org/a.pkl", "expected https:// or hf://"),
        (f"{URL}#md5=1", "got #md5=1 at the end.*64 hex digits"),
        ("https://example.org/missing.pkl", "404 Not Found"),
        ("https://example.org/offline.pkl", "no route to host"),
        ("https://example.org/moved.pkl", "got http://elsewhere.*stays with https"),
        ("hf://only-an-owner", "expected hf://OWNER/REPOSITORY/FILE"),
        ("hf://a/b/../../c.pkl", "got no file|expected hf://"),
    ],
)
def test_what_cannot_be_had(web, tmp_path, monkeypatch, name, message):
    hub = types.SimpleNamespace(hf_hub_download=_no_file)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    with pytest.raises(StylemixError, match=message):
        fetch(name)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def _no_file(*args, **options):
    raise ValueError("no such file in the repository")


def test_a_file_that_never_ends(web, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "MAX_BYTES", 1000)
    with pytest.raises(StylemixError, match="got more than 0 GiB"):
        fetch(URL)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_hub(web, tmp_path, monkeypatch):
    asked = []

    def download(repository, file, revision, local_files_only=False):
        if local_files_only and (repository, file, revision) not in asked:
            raise FileNotFoundError("not in the cache")
        if not local_files_only:
            asked.append((repository, file, revision))
        (tmp_path / "hub").write_bytes(DATA)
        return str(tmp_path / "hub")

    hub = types.SimpleNamespace(hf_hub_download=download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert fetch("hf://me/avatars").read_bytes() == DATA
    fetch("hf://me/avatars@v1.2/styles/toon.safetensors")
    fetch("hf://me/avatars")  # from the Hub's cache: nothing is asked again
    fetch(f"hf://me/avatars/toon.safetensors#sha256={DIGEST}")
    assert asked == [
        ("me/avatars", "model.safetensors", None),
        ("me/avatars", "styles/toon.safetensors", "v1.2"),
        ("me/avatars", "toon.safetensors", None),
    ]
    with pytest.raises(StylemixError, match="the file was changed"):
        fetch("hf://me/avatars/toon.safetensors#sha256=" + "0" * 64)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(StylemixError, match=r"pip install 'stylemix\[hub\]'"):
        fetch("hf://me/avatars")
    assert web == []


def test_without_a_home(web, monkeypatch):
    monkeypatch.setattr(remote, "cache_folder", lambda kind: None)
    with pytest.raises(StylemixError, match="STYLEMIX_CACHE"):
        fetch(URL)
