from __future__ import annotations

import socket

import huggingface_hub
import pytest

from promptless.io import hub
from promptless.io.downloads import Remote
from server import serving

DIGEST = "ab" * 32


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(b"x" * 100) as server:
        monkeypatch.setattr(huggingface_hub, "hf_hub_url", lambda repository, name: server.url(f"/{name}"))
        yield server


def test_the_hub_tells_size_and_hash_of_a_large_file_before_it_sends_one_elsewhere(server):
    server.linked, server.tag = DIGEST, '"of the place it is kept"'
    assert hub.locate("owner/repository", "hub", 5) == Remote(server.url("/hub"), 100, DIGEST)


def test_a_version_that_is_no_sha256_is_none(server):
    server.tag = '"686897696a7c876b7e"'
    assert hub.locate("owner/repository", "good", 5) == Remote(server.url("/good"), 100, None)


def test_what_the_hub_has_not_is_said(server):
    with pytest.raises(ConnectionError, match=r"the hub answers 404 .*/gone"):
        hub.locate("owner/repository", "gone", 5)


def test_a_hub_that_does_not_answer_is_given_up(monkeypatch):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        monkeypatch.setattr(huggingface_hub, "hf_hub_url", lambda repository, name: url)
        with pytest.raises(ConnectionError, match="the hub does not tell of"):
            hub.locate("owner/repository", "file", 0.3)


def test_what_the_hubs_client_has_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert hub.cached("owner/repository", "file.bin") is None
    kept = tmp_path / "models--owner--repository"
    for path, text in {"refs/main": "123", "snapshots/123/file.bin": "content"}.items():
        (kept / path).parent.mkdir(parents=True)
        (kept / path).write_text(text)
    assert hub.cached("owner/repository", "file.bin").read_text() == "content"
