from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from promptless import library
from promptless.io.hashes import sha256
from promptless.networks import backbones
from promptless.networks.checkpoints import WEIGHTS
from promptless.published import PUBLISHED, Published
from reference import SMALL, meta_state
from server import serving


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("published") / "sam.pth"
    torch.save(meta_state(SMALL), path)
    return path


@pytest.fixture
def server(checkpoint):
    with serving(checkpoint.read_bytes()) as server:
        yield server


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty PROMPTLESS_HOME where ViT-B is a network of 60,000 weights."""
    for name, value in {"PROMPTLESS_HOME": tmp_path / "home", "NO_PROXY": "127.0.0.1"}.items():
        monkeypatch.setenv(name, str(value))
    for name in ("PROMPTLESS_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(backbones.ARCHITECTURES, "sam_vit_b", SMALL)
    return tmp_path / "home"


@pytest.fixture
def publish(monkeypatch, server, checkpoint):
    """Publish the server's file under a name, with or without its hash."""

    def publish(name, where="/good", digest=None):
        known = Published("sam_vit_b", server.url(where), checkpoint.stat().st_size, "Apache-2.0", "page", "", digest)
        monkeypatch.setitem(PUBLISHED, name, known)

    return publish


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_pulled_weights_become_a_backbone_and_leave_nothing_else(home, publish, checkpoint):
    publish("sam", digest=sha256(checkpoint))
    folder = library.pull("sam")
    assert files(home) == [f"models/sam/{name}" for name in ("config.json", WEIGHTS, "provenance.json")]
    found = library.provenance(folder)
    assert (found.backbone, found.source_sha256, found.licence) == ("sam_vit_b", sha256(checkpoint), "Apache-2.0")
    backbone = library.load("sam")
    assert backbone.digest == sha256(folder / WEIGHTS)
    expected = meta_state(SMALL)["image_encoder.pos_embed"]
    assert torch.equal(backbone.image_encoder.pos_embed, expected)


def test_what_is_here_is_not_fetched_again(home, publish, server):
    publish("sam")
    library.pull("sam")
    n = len(server.asked)
    library.pull("sam", offline=True)
    assert len(server.asked) == n


def test_an_unknown_hash_is_pinned_by_the_first_pull(home, publish, server, checkpoint):
    publish("sam")
    folder = library.pull("sam")
    assert (home / "pins/sam.sha256").read_text().strip() == sha256(checkpoint)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    other = checkpoint.with_name("other.pth")
    torch.save(meta_state(SMALL, seed=1), other)
    server.content = other.read_bytes()
    with pytest.raises(ValueError, match=r"not the published sam .*delete .*sam\.sha256"):
        library.pull("sam")
    assert not library.names()


def test_a_page_in_place_of_weights_is_refused_and_not_kept(home, publish):
    publish("sam", "/login")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        library.pull("sam")
    assert not [name for name in files(home) if name.startswith(("models", "pins")) or name.endswith("login")]


@pytest.mark.parametrize("how", ["argument", "PROMPTLESS_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_nothing_is_fetched_and_the_way_out_is_said(home, publish, server, monkeypatch, how):
    publish("sam")
    if how != "argument":
        monkeypatch.setenv(how, "1")
    with pytest.raises(FileNotFoundError, match=r"the network is off.*promptless models import FILE --name sam"):
        library.pull("sam", offline=how == "argument")
    assert not server.asked


def test_a_file_that_is_cached_by_the_hubs_client_is_not_fetched(home, publish, server, checkpoint, monkeypatch):
    publish("sam")
    monkeypatch.setitem(PUBLISHED, "sam", replace(PUBLISHED["sam"], url="hf://owner/repository/sam.pth"))
    monkeypatch.setattr(library.hub, "cached", lambda repository, name: checkpoint)
    library.pull("sam", offline=True)
    assert library.names() == ["sam"]
    assert checkpoint.is_file()


@pytest.mark.parametrize("name", ["../up", "", "a/b", "nuclei"])
def test_names_that_cannot_be_are_refused(home, checkpoint, name):
    with pytest.raises(ValueError, match="name"):
        library.add(checkpoint, name, licence="")


def test_a_published_name_is_for_the_published_file(home, checkpoint):
    with pytest.raises(ValueError, match=r"not the published sam_vit_b.*import it under another name"):
        library.add(checkpoint, "sam_vit_b", licence="")


def test_an_imported_name_is_taken(home, checkpoint):
    library.add(checkpoint, "mine", licence="CC0-1.0")
    with pytest.raises(FileExistsError, match="choose another --name"):
        library.add(checkpoint, "mine", licence="CC0-1.0")


def test_the_same_weights_make_the_same_files_whatever_they_came_in(home, checkpoint):
    one = library.add(checkpoint, "one", licence="")
    other = library.add(one / WEIGHTS, "other", licence="")
    assert library.provenance(one).files == library.provenance(other).files


def test_weights_that_lack_one_are_refused_and_nothing_is_left(home, checkpoint):
    state = meta_state(SMALL)
    del state["mask_decoder.iou_token.weight"]
    torch.save(state, checkpoint.with_name("part.pth"))
    with pytest.raises(ValueError, match=r"part\.pth does not hold .* missing: mask_decoder\.iou_token\.weight"):
        library.add(checkpoint.with_name("part.pth"), "part", licence="")
    assert files(home) == []


@pytest.mark.parametrize("damage", ["change", "delete"])
def test_a_file_that_was_changed_or_deleted_is_found(home, checkpoint, damage):
    folder = library.add(checkpoint, "mine", licence="")
    assert library.verify("mine").keys() == {WEIGHTS, "config.json"}
    if damage == "change":
        with (folder / WEIGHTS).open("r+b") as file:
            file.seek(-1, 2)
            file.write(b"!")
    else:
        (folder / "config.json").unlink()
    with pytest.raises(ValueError, match="missing or has changed"):
        library.load("mine")


def test_what_ships_is_loaded_by_the_same_name(home):
    assert library.load("nuclei").digest == library.verify("nuclei")[WEIGHTS]


def test_what_is_not_here_says_how_to_get_it(home):
    with pytest.raises(FileNotFoundError, match="promptless models pull sam_vit_l"):
        library.load("sam_vit_l")
    with pytest.raises(ValueError, match="'sam_vit_x' is not published; sam_vit_b"):
        library.pull("sam_vit_x")


@pytest.mark.parametrize("redirected", [False, True])
def test_a_file_on_the_hub_comes_with_the_hash_that_the_hub_tells(home, hub, server, checkpoint, redirected):
    hub(sha256(checkpoint), redirected)
    library.pull("sam")
    assert library.names() == ["sam"]
    assert [path for path, _ in server.asked] == (["/hub"] if redirected else []) + ["/good"]


@pytest.mark.parametrize("redirected", [False, True])
def test_a_file_on_the_hub_with_another_hash_is_refused(home, hub, redirected):
    hub("0" * 64, redirected)
    with pytest.raises(ValueError, match="is not the file that is known"):
        library.pull("sam")


@pytest.fixture
def hub(publish, server, monkeypatch):
    """Make the server the hub, which tells a hash, and sends the file itself or tells where it is."""

    def tell(digest, redirected):
        publish("sam")
        monkeypatch.setitem(PUBLISHED, "sam", replace(PUBLISHED["sam"], url="hf://owner/repository/sam.pth"))
        where = server.url("/hub" if redirected else "/good")
        monkeypatch.setattr("huggingface_hub.hf_hub_url", lambda repository, name: where)
        server.linked, server.tag = digest, '"of the place it is kept"' if redirected else f'"{digest}"'

    return tell


SCRIPT = """
import json, sys
from promptless.networks import backbones
from promptless.published import PUBLISHED, Published
from reference import SMALL
url, size, digest = json.loads(sys.argv.pop(1))
backbones.ARCHITECTURES["sam_vit_b"] = SMALL
PUBLISHED["sam"] = Published("sam_vit_b", url, size, "Apache-2.0", "page", "", digest)
from promptless.cli import main
main()
"""


def start(server, checkpoint):
    """Run `promptless models pull sam` in a process of its own."""
    arguments = json.dumps([server.url("/good"), checkpoint.stat().st_size, sha256(checkpoint)])
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, arguments, "models", "pull", "sam"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_that_pull_at_once_fetch_once(home, server, checkpoint):
    both = [start(server, checkpoint) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert {out for out, _ in outputs} == {f"{home / 'models/sam'}\n"}
    assert all("licence Apache-2.0" in err for _, err in outputs)
    assert [path for path, _ in server.asked] == ["/good"]
