"""The backbones kept on this machine, in PROMPTLESS_HOME: pulled from where they were published, or imported."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from promptless import registry
from promptless.config import AdapterConfig, ModelConfig, Needed, from_dict
from promptless.io import hub
from promptless.io.atomic import alone, replacing, staging
from promptless.io.downloads import TIMEOUT, Progress, Remote, fetch
from promptless.io.hashes import sha256
from promptless.published import PUBLISHED, Published, on_hub

if TYPE_CHECKING:
    from promptless.networks.backbones import Backbone

log = logging.getLogger(__name__)

PROVENANCE = "provenance.json"
WEIGHTS = "model.safetensors"
"""The file whose sha256 stands for a backbone; `promptless.networks.checkpoints` calls it so too, and needs torch."""
FILES = (".pth", ".pt", ".safetensors")
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
    raise absent(name)


def absent(name: str) -> FileNotFoundError:
    """Return what to tell whoever asks for a backbone that is not here."""
    near = get_close_matches(name, [*registry.backbones(), *PUBLISHED, *names()], n=1)
    meant = f"did you mean {near[0]}? " if near and near[0] != name else ""
    remedy = f"promptless models pull {name}" if name in PUBLISHED else "promptless models list"
    return FileNotFoundError(
        f"there is no backbone {name!r}; {meant}in {home()} there is {', '.join(names()) or 'nothing yet'}, and "
        f"{', '.join(registry.backbones())} ships with promptless; try: {remedy}"
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

    digest = verify(name)[WEIGHTS]
    if name in registry.names():
        if name not in registry.backbones():
            raise ValueError(
                f"{name} decodes no prompts, so it is no backbone; of what ships take {', '.join(registry.backbones())}"
            )
        return BACKBONES[name](registry.find(name), digest)
    return BACKBONES[provenance(find(name)).backbone](find(name), digest)


def resolve(
    text: str,
    *,
    timeout: float = TIMEOUT,
    progress: Progress = lambda share: None,
    tell: Callable[[str], None] = log.warning,
) -> Backbone:
    """Load the backbone that a user means; see `named`."""
    return load(named(text, timeout=timeout, progress=progress, tell=tell))


def named(
    text: str,
    *,
    timeout: float = TIMEOUT,
    progress: Progress = lambda share: None,
    tell: Callable[[str], None] = log.warning,
) -> str:
    """Return the name of the backbone that is meant by a name, a file of weights, or OWNER/NAME on the hub.

    A file is imported, once, and what is on the hub is pulled, once; `tell` is given the name that it is kept under.
    What is published, and is not here, is not pulled unasked: the error has the command.
    """
    if text in registry.names() or text in names():
        return text
    if Path(text).suffix in FILES:
        return imported(Path(text), tell)
    if on_hub(text) is not None and not Path(text).exists():
        if kept_as(text) not in names():
            pull(text, timeout=timeout, progress=progress)
            tell(f"{text} is kept as {kept_as(text)} in {home()}")
        return kept_as(text)
    if Path(text).is_dir():
        raise ValueError(f"{text} is a folder; a backbone is a name, a file of weights, or OWNER/NAME on the hub")
    raise absent(text)


def imported(file: Path, tell: Callable[[str], None]) -> str:
    """Return the name of the backbone that a file is kept as; the same file is kept once."""
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file} to take a backbone from")
    digest = sha256(file)
    home().mkdir(parents=True, exist_ok=True)
    with alone(home()):
        for name in names():
            if provenance(find(name)).source_sha256 == digest:
                return name
        name = name_for(file, digest)
        add(file, name, licence=PUBLISHED[name].licence if name in PUBLISHED else "unknown")
    tell(f"{file} is kept as {name} in {home()}")
    return name


def name_for(file: Path, digest: str) -> str:
    """Return a name for a file of weights: the published one of that very file, else its stem, if need be with more."""
    known = next((name for name in PUBLISHED if pinned(name) == digest and name not in names()), None)
    if known is not None:
        return known
    title = file.resolve().parent.name if file.name == WEIGHTS else file.stem
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", title).lstrip("._-") or "backbone"
    taken = {*registry.names(), *PUBLISHED, *names()}
    return f"{stem}-{digest[:8]}" if stem in taken else stem


def kept_as(text: str) -> str:
    """Return the name under which a backbone is kept: OWNER--NAME for what is OWNER/NAME on the hub."""
    return text.replace("/", "--") if on_hub(text) is not None else text


def under(adapter: AdapterConfig | Needed) -> str:
    """Return the name of the backbone that an adapter is for: its own name, or any with the same weights.

    A model on volumes `inflates` one, which is found likewise.
    """
    what = "adapter" if isinstance(adapter, AdapterConfig) else "model"
    here = {name: weights_hash(name) for name in (*registry.backbones(), *names())}
    if here.get(adapter.backbone) == adapter.sha256:
        return adapter.backbone
    same = [name for name, digest in here.items() if digest == adapter.sha256]
    if same:
        return same[0]
    if adapter.backbone in here:
        raise ValueError(
            f"the {what} is for {adapter.backbone} with the sha256 {adapter.sha256}, but the {adapter.backbone} that "
            f"is here has {here[adapter.backbone]}; import the one that it was trained on under another name: "
            "promptless models import FILE --name NAME"
        )
    owner, _, rest = adapter.backbone.partition("--")
    pulled = adapter.backbone if adapter.backbone in PUBLISHED else f"{owner}/{rest}" if rest else None
    remedy = f"promptless models pull {pulled}, or " if pulled else ""
    raise FileNotFoundError(
        f"the {what} needs the backbone {adapter.backbone} (sha256 {adapter.sha256}), which is not in {home()}; "
        f"{remedy}copy its folder there, or import the file: promptless models import FILE --name {adapter.backbone}"
    )


def weights_hash(name: str) -> str:
    """Return the sha256 of a backbone's weights, as it was written down."""
    if name in registry.names():
        return ModelConfig.read(registry.find(name) / registry.CONFIG).files.get(WEIGHTS, "")
    return provenance(find(name)).files.get(WEIGHTS, "")


def pull(
    name: str, *, offline: bool = False, timeout: float = TIMEOUT, progress: Progress = lambda share: None
) -> Path:
    """Fetch published weights, unless they are here, and return their folder; a second process waits for the first.

    `name` is one of the list, or OWNER/NAME on the hub, which is kept as OWNER--NAME.
    """
    published = PUBLISHED.get(name) or on_hub(name)
    if published is None:
        raise ValueError(
            f"{name!r} is not published; {', '.join(PUBLISHED)} are, OWNER/NAME is taken from the Hugging Face hub, "
            "and any file can be imported"
        )
    name = kept_as(name)
    folder, downloads = place(name), home() / "downloads" / name
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
    from promptless.networks.checkpoints import fit, read

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
