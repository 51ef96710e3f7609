"""One file per data set; each finds what was published, as a `Source`."""

from collections.abc import Callable
from typing import Any

from promptless.data.source import Source
from promptless.data.sources import (
    amos,
    btcv,
    ct_org,
    dsb2018,
    folder,
    glas,
    monuseg,
    msd,
    nnunet,
    pannuke,
    totalsegmentator,
)

SOURCES: dict[str, Callable[..., Source[Any]]] = {
    "dsb2018": dsb2018.read,
    "monuseg": monuseg.read,
    "pannuke": pannuke.read,
    "glas": glas.read,
    "folder": folder.read,
    "btcv": btcv.read,
    "amos": amos.read,
    "ct_org": ct_org.read,
    "msd": msd.read,
    "nnunet": nnunet.read,
    "totalsegmentator": totalsegmentator.read,
}
