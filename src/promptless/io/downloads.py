"""Large files over HTTP: what came is kept and gone on from, and a file is there whole or not at all."""

from __future__ import annotations

import http.client
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from promptless.io.hashes import sha256

USER_AGENT = "promptless"
CHUNK = 1 << 20
TIMEOUT = 30.0
"""Seconds without a byte after which a server is given up."""
TRIES = 3
"""How often a connection that was cut is taken up again."""

Progress = Callable[[float], None]
"""Is told which share of the file is there."""


@dataclass(frozen=True)
class Remote:
    """A file somewhere else. Where they are known, it must have this size and this hash."""

    url: str
    size: int | None = None
    sha256: str | None = None


class SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but from https never to anything else."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Return the request that comes next."""
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise urllib.error.URLError(f"it redirects to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(remote: Remote, path: Path, *, timeout: float = TIMEOUT, progress: Progress = lambda share: None) -> Path:
    """Download a file to `path`; hold the folder `alone` meanwhile, and only whole files that fit appear there.

    What an interrupted download left is gone on from, where the server still has the same file.
    """
    if not path.is_file():
        part = path.with_name(path.name + ".part")
        receive_all(remote, part, timeout, progress)
        check(remote, part)
        part.replace(path)
    else:
        check(remote, path)
    part_tag(path.with_name(path.name + ".part")).unlink(missing_ok=True)
    return path


def receive_all(remote: Remote, part: Path, timeout: float, progress: Progress) -> None:
    """Receive until the file is complete; a connection that is cut is taken up again a few times."""
    for tries_left in reversed(range(TRIES)):
        try:
            return receive(remote, part, timeout, progress)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            if (
                isinstance(error, urllib.error.HTTPError)
                and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
            ):
                part.unlink(missing_ok=True)  # more is here than the server has
            elif not tries_left or not isinstance(error, http.client.HTTPException | ConnectionResetError):
                raise failure(error, remote.url, part, timeout) from error
    return None


def receive(remote: Remote, part: Path, timeout: float, progress: Progress) -> None:
    """Receive what is missing of a file, in one connection."""
    have, tag = part.stat().st_size if part.is_file() else 0, part_tag(part)
    request = urllib.request.Request(remote.url, headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
    if have and tag.is_file():
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", tag.read_text(encoding="utf-8"))
    with urllib.request.build_opener(SafeRedirects).open(request, timeout=timeout) as response:
        begin = first_byte(response) if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0
        if begin not in {0, have}:
            raise urllib.error.URLError(f"asked for the bytes from {have} on, it sent those from {begin} on")
        length = response.headers.get("Content-Length")
        total = remote.size if length is None else begin + int(length)
        expect(remote, total, part, begin)
        remember(tag, response.headers.get("ETag"))
        with part.open("ab" if begin else "wb") as file:
            while chunk := response.read1(CHUNK):
                file.write(chunk)
                progress(min(1.0, file.tell() / total) if total else 0.0)
            came = file.tell()
    if total is not None and came < total:
        raise http.client.IncompleteRead(b"", total - came)


def part_tag(part: Path) -> Path:
    """Return where the server's name for the version of an unfinished file is kept."""
    return part.with_name(part.name + ".etag")


def remember(tag: Path, value: str | None) -> None:
    """Keep the server's name for the version of a file; without a strong one a download cannot be gone on from."""
    if value is None or value.startswith("W/"):
        tag.unlink(missing_ok=True)
    else:
        tag.write_text(value, encoding="utf-8")


def first_byte(response: http.client.HTTPResponse) -> int:
    """Return where the part of a file that a server sends begins."""
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found.group(1)) if found else -1


def expect(remote: Remote, total: int | None, part: Path, have: int) -> None:
    """Refuse, before it comes, a file of another size than is known, and one that the disk has no room for."""
    if remote.size is not None and total != remote.size:
        raise ValueError(
            f"{remote.url} has {total} bytes and not {remote.size}: it is not the file that is known, or a page that "
            "asks to log in; fetch the file by hand and import it: promptless models import FILE --name NAME"
        )
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - have > free:
        raise OSError(
            f"{part.parent} has room for {free >> 20} MB and {(total - have) >> 20} MB are to come; make room"
        )


def check(remote: Remote, path: Path) -> None:
    """Raise where a file is not the one that is known, and delete it: nothing could be gone on from."""
    found = sha256(path) if remote.sha256 else None
    if found != remote.sha256:
        path.unlink()
        raise ValueError(
            f"what came from {remote.url} is not the file that is known (sha256 {found}, not {remote.sha256}); it was "
            "deleted. Try again; if that does not help, the file or the way to it was tampered with"
        )


def failure(error: Exception, url: str, part: Path, timeout: float) -> ConnectionError:
    """Return what to tell a person when a download fails, and how to go on."""
    host, cause = urlsplit(url).netloc, error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(error, urllib.error.HTTPError):
        what = f"{host} answers {error.code} ({error.msg}) for {url}"
    elif isinstance(cause, TimeoutError):
        what = f"{host} sent nothing for {timeout:g} s"
    elif isinstance(error, http.client.HTTPException | ConnectionResetError):
        what = f"{host} cut the connection {TRIES} times"
    else:
        what = f"{host} cannot be used: {cause}"
    kept = part.stat().st_size if part.is_file() else 0
    return ConnectionError(f"{what}; {kept} bytes came and are kept, and the same command goes on from there")
