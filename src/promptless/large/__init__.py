"""Images larger than memory: what needs to be known of each tile goes into files, and the result comes out of them."""

from promptless.large.segmenting import Summary, preview, segment

__all__ = ["Summary", "preview", "segment"]
