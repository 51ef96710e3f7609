from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from promptless import library, registry
from promptless.io.hashes import sha256
from promptless.networks import backbones
from promptless.networks.checkpoints import WEIGHTS, read
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


@pytest.fixture
def told():
    return []


def test_a_name_that_ships_or_is_here_is_meant(home, checkpoint):
    library.add(checkpoint, "mine", licence="CC0-1.0")
    assert library.resolve("mine").digest == library.weights_hash("mine")
    assert library.resolve("nuclei").digest == library.weights_hash("nuclei")


def test_what_is_published_is_not_pulled_unasked(home, server):
    with pytest.raises(FileNotFoundError, match="try: promptless models pull sam_vit_l"):
        library.resolve("sam_vit_l")
    with pytest.raises(FileNotFoundError, match=r"no backbone 'nuclej'; did you mean nuclei.* models list"):
        library.resolve("nuclej")
    assert not server.asked


def test_a_file_is_imported_once_under_a_name_made_of_its_stem(home, checkpoint, tmp_path, told):
    file = tmp_path / "my sam (2).pth"
    file.write_bytes(checkpoint.read_bytes())
    first = library.resolve(str(file), tell=told.append)
    assert library.names() == ["my_sam_2_"]
    assert told == [f"{file} is kept as my_sam_2_ in {home}"]
    moved = file.rename(tmp_path / "moved.pth")
    assert library.resolve(str(moved), tell=told.append).digest == first.digest
    assert (library.names(), len(told)) == (["my_sam_2_"], 1)


def test_another_file_of_a_name_that_is_taken_is_kept_beside_it(home, tmp_path, told):
    names = []
    for seed, stem in ((1, "sam"), (2, "sam"), (3, "sam_vit_l"), (4, "nuclei")):
        (tmp_path / str(seed)).mkdir()
        file = tmp_path / str(seed) / f"{stem}.pt"
        torch.save(meta_state(SMALL, seed), file)
        library.resolve(str(file), tell=told.append)
        names.append(stem if seed == 1 else f"{stem}-{sha256(file)[:8]}")
    assert library.names() == sorted(names)


def test_the_very_file_that_is_published_is_kept_under_its_name(home, publish, checkpoint):
    publish("sam_known", digest=sha256(checkpoint))
    library.resolve(str(checkpoint))
    assert library.names() == ["sam_known"]
    assert library.provenance(library.find("sam_known")).licence == "Apache-2.0"


def test_a_file_in_the_layout_of_transformers_is_named_after_its_folder(home, checkpoint, tmp_path):
    folder = library.add(checkpoint, "first", licence="CC0-1.0")
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes())
    library.resolve(str(tmp_path / "merged" / WEIGHTS))
    assert library.names() == ["first", "merged"]


def test_files_and_folders_that_are_no_backbone_are_refused(home, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        library.resolve(str(tmp_path / "none.pth"))
    with pytest.raises(ValueError, match="is a folder; a backbone is a name, a file of weights, or OWNER/NAME"):
        library.resolve(str(tmp_path))
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        library.resolve(str(tmp_path / "bad.safetensors"))
    assert not library.names()


@pytest.fixture
def on_hub(server, checkpoint, tmp_path, monkeypatch):
    """Make the server the hub, with the weights of any OWNER/NAME in the layout of transformers."""
    from safetensors.torch import save_file

    save_file(read(checkpoint).state, tmp_path / "hub.safetensors")
    server.content = (tmp_path / "hub.safetensors").read_bytes()
    server.tag = f'"{sha256(tmp_path / "hub.safetensors")}"'
    monkeypatch.setattr("huggingface_hub.hf_hub_url", lambda repository, name: server.url("/good"))
    return server


def test_a_hub_id_is_pulled_once(home, on_hub, told):
    digest = library.resolve("owner/my.sam", tell=told.append).digest
    assert (library.names(), told) == (["owner--my.sam"], [f"owner/my.sam is kept as owner--my.sam in {home}"])
    n = len(on_hub.asked)
    assert library.resolve("owner/my.sam").digest == library.resolve("owner--my.sam").digest == digest
    assert len(on_hub.asked) == n
    found = library.provenance(library.find("owner--my.sam"))
    assert (found.source, found.licence) == ("hf://owner/my.sam/model.safetensors", "see its page")


def test_offline_a_hub_id_is_not_asked_for(home, on_hub, monkeypatch):
    monkeypatch.setenv("PROMPTLESS_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match=r"owner--sam is not in .* the network is off"):
        library.resolve("owner/sam")
    assert not on_hub.asked


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


def test_a_student_that_ships_is_no_backbone(student_folder, monkeypatch):
    monkeypatch.setattr(registry, "WEIGHTS", student_folder.parent)
    assert (registry.names(), registry.backbones()) == (["quick"], [])
    with pytest.raises(ValueError, match="quick decodes no prompts"):
        library.load("quick")
