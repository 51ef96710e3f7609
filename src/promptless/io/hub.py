"""Files on the Hugging Face hub: where they are, and what the hub says of them. `promptless.io.downloads` fetches."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from typing import Any

from promptless.io.downloads import USER_AGENT, Remote


class FirstAnswer(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: what a large file is, the hub itself says, not where it sends one."""

    def redirect_request(self, *arguments: Any) -> None:
        """Return no request."""


def cached(repository: str, name: str) -> Path | None:
    """Return a file that the hub's client has downloaded before (HF_HOME, HF_HUB_CACHE), None without one."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repository, name)
    return Path(path) if isinstance(path, str) else None


def locate(repository: str, name: str, timeout: float) -> Remote:
    """Ask the hub (HF_ENDPOINT) for the size of a file and, as it tells it for large ones, the sha256.

    Its client would tell it more of this machine than it needs to know.
    """
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(repository, name)
    headers = head(url, timeout)
    size = headers.get("X-Linked-Size") or headers.get("Content-Length")
    digest = re.fullmatch('"([0-9a-f]{64})"', headers.get("X-Linked-Etag") or headers.get("ETag") or "")
    return Remote(url, int(size) if size else None, digest.group(1) if digest else None)


def head(url: str, timeout: float) -> Message:
    """Return what a server says of a file without sending it."""
    request = urllib.request.Request(url, headers={"User-Agent": USER_AGENT}, method="HEAD")
    try:
        with urllib.request.build_opener(FirstAnswer).open(request, timeout=timeout) as response:
            headers: Message = response.headers
            return headers
    except urllib.error.HTTPError as error:
        if 300 <= error.code < 400:
            return error.headers
        raise ConnectionError(f"the hub answers {error.code} ({error.msg}) for {url}") from error
    except OSError as error:
        raise ConnectionError(f"the hub does not tell of {url}: {error}; try again, or import a file") from error
