"""The backbones kept on this machine, in PROMPTLESS_HOME: pulled from where they were published, or imported."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from promptless import registry
from promptless.config import ModelConfig, from_dict
from promptless.io import hub
from promptless.io.atomic import alone, replacing, staging
from promptless.io.downloads import TIMEOUT, Progress, Remote, fetch
from promptless.io.hashes import sha256
from promptless.published import PUBLISHED, Published

if TYPE_CHECKING:
    from promptless.networks.backbones import Backbone

PROVENANCE = "provenance.json"
YES = {"1", "true", "yes", "on"}


@dataclass(frozen=True)
class Provenance:
    """`provenance.json` in a backbone's folder: what it is, where it came from, and the sha256 of its other `files`."""

    backbone: str
    source: str  # a URL, or the name of the file that was imported
    source_sha256: str
    licence: str
    left_out: tuple[str, ...] = ()  # what else the file held
    files: dict[str, str] = field(default_factory=dict)


def home() -> Path:
    """Return PROMPTLESS_HOME, else `promptless` in the user's cache."""
    chosen = os.environ.get("PROMPTLESS_HOME")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(chosen).expanduser() if chosen else Path(cache) / "promptless"


def network_is_off() -> bool:
    """Say whether PROMPTLESS_OFFLINE, or the hub's HF_HUB_OFFLINE, forbids the network."""
    return any(os.environ.get(name, "").lower() in YES for name in ("PROMPTLESS_OFFLINE", "HF_HUB_OFFLINE"))


def names() -> list[str]:
    """Return the names of the backbones that are here; what ships is not among them."""
    return sorted(path.parent.name for path in home().glob(f"models/*/{PROVENANCE}"))


def find(name: str) -> Path:
    """Return the folder of a backbone that is here."""
    if name in names():
        return place(name)
    remedy = f"promptless models pull {name}" if name in PUBLISHED else "promptless models list"
    raise FileNotFoundError(
        f"there is no backbone {name!r} in {home()} ({', '.join(names()) or 'none'}); try: {remedy}"
    )


def place(name: str) -> Path:
    """Return where a backbone of this name is kept, or would be."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError(f"{name!r} is no name for a model; use letters, digits, dots, hyphens and underscores")
    if name in registry.names():
        raise ValueError(f"{name} is the name of a model that ships with promptless; choose another")
    return home() / "models" / name


def provenance(folder: Path) -> Provenance:
    """Return where the backbone in a folder came from."""
    try:
        return from_dict(Provenance, json.loads((folder / PROVENANCE).read_text(encoding="utf-8")), folder / PROVENANCE)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{folder / PROVENANCE} is not valid JSON ({error}); delete {folder} and pull again"
        ) from error


def verify(name: str) -> dict[str, str]:
    """Return the sha256 of each file of a model, here or shipped; raise where one is missing or has changed."""
    if name in registry.names():
        folder = registry.find(name)
        config = ModelConfig.read(folder / registry.CONFIG)
        registry.verify(folder, config, ())
        return config.files
    folder = find(name)
    files = provenance(folder).files
    for file, expected in files.items():
        if not (folder / file).is_file() or sha256(folder / file) != expected:
            raise ValueError(
                f"{folder / file} is missing or has changed; delete {folder}, then pull or import it again"
            )
    return files


def load(name: str) -> Backbone:
    """Load a backbone by name, one that is here or that ships, after checking every file."""
    from promptless.networks.backbones import BACKBONES
    from promptless.networks.checkpoints import WEIGHTS

    digest = verify(name)[WEIGHTS]
    if name in registry.names():
        return BACKBONES[name](registry.find(name), digest)
    return BACKBONES[provenance(find(name)).backbone](find(name), digest)


def pull(
    name: str, *, offline: bool = False, timeout: float = TIMEOUT, progress: Progress = lambda share: None
) -> Path:
    """Fetch published weights, unless they are here, and return their folder; a second process waits for the first."""
    if name not in PUBLISHED:
        raise ValueError(f"{name!r} is not published; {', '.join(PUBLISHED)} are, and any file can be imported")
    published, folder, downloads = PUBLISHED[name], place(name), home() / "downloads" / name
    if name in names():
        return folder
    downloads.mkdir(parents=True, exist_ok=True)
    with alone(downloads):
        if name not in names():
            file = weights(name, published, downloads, offline or network_is_off(), timeout, progress)
            try:
                add(file, name, licence=published.licence, source=published.url)
            except ValueError:
                if file.parent == downloads:
                    file.unlink()  # not the weights that were published; perhaps a page that asks to log in
                raise
            for left in downloads.iterdir():
                left.unlink()
    return folder


def weights(
    name: str, published: Published, downloads: Path, offline: bool, timeout: float, progress: Progress
) -> Path:
    """Return the file with published weights, from the hub's cache or over the network."""
    if published.hub_file is not None and (cached := hub.cached(*published.hub_file)) is not None:
        return cached
    if offline:
        raise FileNotFoundError(
            f"{name} is not in {home()}, and the network is off (--offline, PROMPTLESS_OFFLINE or HF_HUB_OFFLINE); "
            f"pull it on another machine and copy {place(name)}, or fetch {published.url} by hand and import it: "
            f"promptless models import FILE --name {name}"
        )
    if published.hub_file is not None:
        remote = hub.locate(*published.hub_file, timeout)
    else:
        remote = Remote(published.url, published.size if published.sha256 else None, published.sha256)
    return fetch(remote, downloads / published.url.rsplit("/", 1)[-1], timeout=timeout, progress=progress)


def add(file: Path, name: str, *, licence: str, source: str | None = None) -> Path:
    """Check a checkpoint and keep it as a backbone: safetensors and config.json in the layout of `transformers`."""
    folder, digest = place(name), sha256(file)
    expected = pinned(name)
    if expected is not None and digest != expected:
        raise ValueError(
            f"{file} is not the published {name} (sha256 {digest}, not {expected}); import it under another name"
            + ("" if name in PUBLISHED and PUBLISHED[name].sha256 else f", or delete {pin(name)} to accept a new one")
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with alone(folder.parent):
        if folder.exists():
            raise FileExistsError(f"{folder} is there; delete it, or choose another --name")
        with staging(folder.parent, name) as aside:
            written = aside / name
            written.mkdir()
            write(file, written, licence, source or file.name, digest)
            written.rename(folder)
    if name in PUBLISHED and expected is None:
        pin(name).parent.mkdir(exist_ok=True)
        with replacing(pin(name)) as temporary:
            temporary.write_text(digest + "\n", encoding="utf-8")
    return folder


def write(file: Path, folder: Path, licence: str, source: str, digest: str) -> None:
    """Write a backbone's folder; the provenance, which has the hashes of the others, comes last."""
    from safetensors.torch import save_file

    from promptless.networks.backbones import ARCHITECTURES, CONFIG, file_state, recognise, skeleton
    from promptless.networks.checkpoints import WEIGHTS, fit, read

    checkpoint = read(file)
    kind = recognise(checkpoint.state, file.name)
    fit(checkpoint.state, file_state(skeleton(kind, ARCHITECTURES[kind]))).check(file.name, kind)
    contiguous = {key: value.contiguous() for key, value in checkpoint.state.items()}
    save_file(contiguous, folder / WEIGHTS, metadata={"format": "pt"})
    ARCHITECTURES[kind].config().save_pretrained(folder)
    files = {each: sha256(folder / each) for each in (WEIGHTS, CONFIG)}
    values = Provenance(kind, source, digest, licence, checkpoint.left_out, files)
    (folder / PROVENANCE).write_text(json.dumps(asdict(values), indent=2) + "\n", encoding="utf-8")


def pinned(name: str) -> str | None:
    """Return the sha256 that published weights must have: the known one, else that of the first pull."""
    if name in PUBLISHED and PUBLISHED[name].sha256 is not None:
        return PUBLISHED[name].sha256
    return pin(name).read_text(encoding="utf-8").strip() if pin(name).is_file() else None


def pin(name: str) -> Path:
    """Return where the sha256 of the first pull is kept; it outlives the model's folder."""
    return home() / "pins" / f"{name}.sha256"
