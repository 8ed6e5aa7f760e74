"""A file counts only if it is the whole video."""

from __future__ import annotations

import pytest

from datagen.download.answers import Incomplete
from datagen.download.check import inspect
from datagen.download.hosts import address, guard
from tests.datagen.download.conftest import film


def test_a_whole_file_and_its_facts(tmp_path, one_film):
    (tmp_path / "x.unknown_video").write_bytes(one_film)
    facts = inspect(tmp_path / "x.unknown_video")
    assert (facts.width, facts.height, facts.fps, facts.seconds) == (96, 64, 25, 3)
    assert facts.bytes == len(one_film) and facts.suffix == ".mp4"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_a_file_that_was_cut_off_is_found(tmp_path, suffix):
    whole = film(tmp_path / f"whole{suffix}")
    assert inspect(tmp_path / f"whole{suffix}").suffix == suffix
    for share in (0.0, 0.001, 0.02, 0.3, 0.6, 0.9):
        (tmp_path / f"cut{suffix}").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(Incomplete):
            inspect(tmp_path / f"cut{suffix}")


def test_a_file_shorter_than_the_host_says_or_without_pictures_is_none(tmp_path, one_film):
    (tmp_path / "x.mp4").write_bytes(one_film)
    assert inspect(tmp_path / "x.mp4", announced=3)
    with pytest.raises(Incomplete, match="the host says"):
        inspect(tmp_path / "x.mp4", announced=60)
    film(tmp_path / "sound.mp4", sound_only=True)
    with pytest.raises(Incomplete, match="no video stream"):
        inspect(tmp_path / "sound.mp4")
    (tmp_path / "page.mp4").write_text("<html>not found</html>")
    with pytest.raises(Incomplete, match="cannot be read"):
        inspect(tmp_path / "page.mp4")


def test_ids_stay_inside_their_address():
    template = "https://example.com/watch?v={id}"
    assert address(template, "-_aZ09.~") == "https://example.com/watch?v=-_aZ09.~"
    assert address(template, "../&a=b #;$(x)\n{id}") == (
        "https://example.com/watch?v=..%2F%26a%3Db%20%23%3B%24%28x%29%0A%7Bid%7D"
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x",
        "http://[::1]/",
        "http://10.0.0.1/",
        "http://169.254.169.254/",
        "http://localhost:80/",
    ]
    + [
        "http://0/",
        "http://[::ffff:127.0.0.1]/",
        "file:///etc/passwd",
        "ftp://example.com/",
        "//example.com",
        "https:",
    ],
)
def test_private_addresses_and_other_protocols_are_refused(url):
    assert guard(url, allow_private=False, by_proxy=False)
    assert guard("https://1.1.1.1/", allow_private=False, by_proxy=False) is None
