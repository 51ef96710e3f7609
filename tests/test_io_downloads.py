from __future__ import annotations

import hashlib
import socket
import urllib.error
import urllib.request

import pytest

from promptless.io import downloads
from promptless.io.downloads import Remote, SafeRedirects, fetch
from server import serving

CONTENT = bytes(range(256)) * 400
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(CONTENT) as server:
        yield server


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pth"


def known(server, where):
    return Remote(server.url(where), len(CONTENT), DIGEST)


def left(path):
    return sorted(each.name for each in path.parent.iterdir())


@pytest.mark.parametrize("where", ["/good", "/plain", "/redirect"])
@pytest.mark.parametrize("is_known", [True, False])
def test_a_file_comes_whole_and_leaves_nothing_else(server, path, where, is_known):
    shares = []
    remote = known(server, where) if is_known else Remote(server.url(where))
    assert fetch(remote, path, progress=shares.append) == path
    assert path.read_bytes() == CONTENT
    assert left(path) == ["weights.pth"]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_connection_that_is_cut_is_taken_up_where_it_ended(server, path):
    server.cuts = 2
    fetch(known(server, "/cut"), path)
    assert path.read_bytes() == CONTENT
    half = len(CONTENT) // 2
    assert [asked for _, asked in server.asked] == [None, f"bytes={half}-", f"bytes={half * 3 // 2}-"]


def test_one_that_is_cut_again_and_again_is_given_up_and_gone_on_from_later(server, path):
    server.cuts = 3
    with pytest.raises(ConnectionError, match=r"cut the connection 3 times; \d+ bytes came and are kept"):
        fetch(known(server, "/cut"), path)
    assert left(path) == ["weights.pth.part", "weights.pth.part.etag"]
    fetch(known(server, "/cut"), path)
    assert path.read_bytes() == CONTENT
    assert server.asked[-1][1] is not None
    assert left(path) == ["weights.pth"]


def test_a_server_that_stalls_is_given_up(server, path):
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:\d+ sent nothing for 0\.3 s; 51200 bytes came"):
        fetch(known(server, "/stall"), path, timeout=0.3)
    server.gone_on.set()
    fetch(known(server, "/good"), path)
    assert server.asked[-1] == ("/good", "bytes=51200-")
    assert path.read_bytes() == CONTENT


def test_a_server_that_never_answers_is_given_up(path):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        with pytest.raises(ConnectionError, match=r"sent nothing for 0\.3 s"):
            fetch(Remote(f"http://127.0.0.1:{deaf.getsockname()[1]}/"), path, timeout=0.3)


def test_a_file_that_is_not_the_known_one_is_refused_and_deleted(server, path):
    with pytest.raises(ValueError, match=r"is not the file that is known.*deleted"):
        fetch(known(server, "/corrupt"), path)
    assert not path.exists()
    assert "weights.pth.part" not in left(path)
    fetch(known(server, "/good"), path)
    assert path.read_bytes() == CONTENT


def test_a_file_of_another_size_is_refused_before_it_comes(server, path):
    with pytest.raises(ValueError, match=r"5 bytes and not 102400.*log in"):
        fetch(known(server, "/login"), path)
    assert not left(path)


def test_a_version_that_has_changed_is_fetched_from_the_beginning(server, path):
    server.cuts = 3
    with pytest.raises(ConnectionError):
        fetch(Remote(server.url("/cut")), path)
    server.content, server.tag = CONTENT[::-1], '"2"'
    fetch(Remote(server.url("/good")), path)
    assert path.read_bytes() == CONTENT[::-1]


def test_without_ranges_an_unfinished_file_is_fetched_again(server, path):
    path.with_name("weights.pth.part").write_bytes(b"from another time")
    fetch(known(server, "/plain"), path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("excess", [b"", b"more"])
def test_all_or_more_that_is_there_does_not_hinder(server, path, excess):
    """A process killed between the last byte and the renaming leaves all of it."""
    path.with_name("weights.pth.part").write_bytes(CONTENT + excess)
    path.with_name("weights.pth.part.etag").write_text(server.tag)
    fetch(known(server, "/good"), path)
    assert path.read_bytes() == CONTENT


def test_a_file_that_is_there_is_checked_and_not_fetched(server, path):
    path.write_bytes(CONTENT)
    fetch(known(server, "/good"), path)
    assert not server.asked
    path.write_bytes(b"rubbish")
    with pytest.raises(ValueError, match="deleted"):
        fetch(known(server, "/good"), path)


@pytest.mark.parametrize(("where", "message"), [("/gone", "answers 404"), ("/loop", "answers 302")])
def test_what_a_server_refuses_is_said(server, path, where, message):
    with pytest.raises(ConnectionError, match=message):
        fetch(known(server, where), path)


def test_a_host_that_is_not_there_is_named(path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ConnectionError, match=f"127.0.0.1:{port} cannot be used"):
        fetch(Remote(f"http://127.0.0.1:{port}/"), path)


def test_https_is_not_left_on_the_way():
    request = urllib.request.Request("https://example.org/a")
    with pytest.raises(urllib.error.URLError, match="not https"):
        SafeRedirects().redirect_request(request, None, 302, "", {}, "http://example.org/a")


def test_a_full_disk_is_noticed_before_the_file_comes(server, path, monkeypatch):
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1 << 10}))
    with pytest.raises(OSError, match="make room"):
        fetch(known(server, "/good"), path)
