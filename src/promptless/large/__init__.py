"""Images larger than memory: what needs to be known of each tile goes into files, and the result comes out of them."""

from promptless.large.segmenting import Summary, preview, segment
from promptless.large.volumes import segment_volume

__all__ = ["Summary", "preview", "segment", "segment_volume"]
