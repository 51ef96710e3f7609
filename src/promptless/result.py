"""What segmenting an image gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from promptless.image import Image
from promptless.masks import Masks
from promptless.measure import kinds, measure, table
from promptless.prompts import Points, Prompts
from promptless.structures import structures

if TYPE_CHECKING:
    import pandas


class Objects(Mapping[str, NDArray[Any]]):
    """The object table: a column of values by name, one value per object."""

    def __init__(self, columns: dict[str, NDArray[Any]]) -> None:
        self._columns = columns

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._columns:
            raise KeyError(f"there is no column {name!r}; there are {', '.join(self._columns)}")
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def n_objects(self) -> int:
        """The number of rows."""
        return len(self._columns["label"])

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield each object as name -> value."""
        for i in range(self.n_objects):
            yield {name: values[i].item() for name, values in self._columns.items()}

    def to_pandas(self) -> pandas.DataFrame:
        """Return the table as a pandas data frame."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError("a data frame needs pandas: pip install 'promptless[formats]'") from error
        return pandas.DataFrame(self._columns)

    def __repr__(self) -> str:
        return f"Objects({self.n_objects} objects: {', '.join(self._columns)})"


@dataclass(frozen=True, eq=False)
class Part:
    """Some objects of an image and what is known of them, for writers that take one part after the other.

    Fields are those of `Segmentation`; the labels are painted nowhere.
    """

    image: Image
    masks: Masks
    prompts: Prompts
    manifest: dict[str, Any] = field(default_factory=dict)

    @property
    def objects(self) -> Objects:
        """The object table."""
        return Objects(table(self.image, self.masks, self.class_names))

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes 1, 2, ... of objects, none where the model tells no classes."""
        return classes_in(self.manifest)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """An image's objects, with all that is needed to save, check or repeat them.

    `labels` (*spatial) has 0 for the background and 1, 2, ... for the objects, with gaps where objects were
    deleted; object i of `masks` has the label `masks.ids[i]`, which is the id of prompt i of `prompts`. A semantic
    model is asked once per tile; then prompts have ids above the labels. Where it was read from a label image, there
    are no prompts, and `image` has no channels. `manifest` says how it was made.
    """

    image: Image
    labels: NDArray[np.int32]
    masks: Masks
    prompts: Prompts
    manifest: dict[str, Any] = field(default_factory=dict)

    @property
    def n_objects(self) -> int:
        """The number of objects."""
        return len(self.masks)

    @cached_property
    def objects(self) -> Objects:
        """The object table; it is measured when it is first asked for."""
        return Objects(measure(self.labels, self.image, self.masks) | kinds(self.masks, self.class_names))

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes 1, 2, ... of objects, none where the model tells no classes."""
        return classes_in(self.manifest)

    def save(
        self, folder: str | Path, name: str = "image", *, also: Iterable[str] = (), overlay: str = "outlines"
    ) -> dict[str, Path]:
        """Write the outputs into `folder` as NAME_labels.tif and so on, and return the paths by kind.

        `also` names more of them: "roi", "coco", "classes", "parquet". `overlay` is "outlines", or "prompts" to
        draw these too.
        """
        from promptless.io.outputs import save, wanted

        return save(self, Path(folder), name, wanted(also, overlay))

    @classmethod
    def load(cls, folder: str | Path, name: str, image: Image) -> Segmentation:
        """Read what `save` wrote; `image` is what was segmented. The prompts may have been edited since."""
        from promptless.io.saved import load

        return load(Path(folder), name, image)

    def __repr__(self) -> str:
        return f"Segmentation({self.n_objects} objects in {' x '.join(map(str, self.labels.shape))} pixels)"


@dataclass(frozen=True, eq=False)
class Series:
    """The DICOM series that a scan was read from: a folder or .zip, and which one in it where there are several."""

    path: Path
    chosen: str | None = None


@dataclass(frozen=True, eq=False)
class VolumeSegmentation:
    """A scan's structures, with all that is needed to save, check or repeat them.

    `labels` (z, y, x) has 0 for the background and 1, 2, ... for the classes, on the scan's own grid. Where they were
    asked to be kept, `probabilities` (1 + classes, z, y, x) are in units of 1 / 255, and `prompt` (z, y, x) is the
    length of the model's dense prompt. `points` are a user's, in voxels of the labels, labelled with classes.
    `manifest` says how it was made.
    """

    image: Image
    labels: NDArray[np.integer[Any]]
    probabilities: NDArray[np.uint8] | None = None
    prompt: NDArray[np.float16] | None = None
    manifest: dict[str, Any] = field(default_factory=dict)
    series: Series | None = None
    points: Points | None = None

    @cached_property
    def structures(self) -> Objects:
        """The table of structures, a row for every class; it is measured when it is first asked for."""
        return Objects(structures(self.labels, self.image, self.class_names))

    @property
    def n_objects(self) -> int:
        """How many structures were found."""
        return int((self.structures["voxels"] > 0).sum())

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes 1, 2, ..."""
        return tuple(self.manifest.get("model", {}).get("classes", ()))

    @property
    def names(self) -> dict[int, str]:
        """The names of the classes by their labels, the background left out."""
        return dict(enumerate(self.class_names, start=1))

    def save(self, folder: str | Path, name: str = "scan", *, also: Iterable[str] = ()) -> dict[str, Path]:
        """Write the outputs into `folder` as NAME_labels.nii.gz and so on, and return the paths by kind.

        `also` names more of them: "probabilities", "prompt", where these were kept.
        """
        from promptless.io.outputs import of_scan, save

        return save(self, Path(folder), name, of_scan(also, self.series is not None))

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.labels.shape))
        return f"VolumeSegmentation({self.n_objects} of {len(self.class_names)} structures in {size} voxels)"


def classes_in(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the classes that a manifest's model tells."""
    return tuple(manifest.get("model", {}).get("classes", ()))


Told = Segmentation | Part
"""What writers of objects take."""
