"""Ids, addresses and answers of a host: no shell, no option, no address that was not meant."""

from __future__ import annotations

import os
import subprocess

import pytest
from yt_dlp.networking.exceptions import RequestError

from datagen.download import fetch as fetching
from datagen.download.fetch import FetchOptions, _downloader, _params
from datagen.sources.listed.raw import is_video, safe_name
from tests.datagen.download.conftest import account, entry, film
from tests.faults import call

OPTIONS = ("--exec-abcd", "-oProxyCmd1", "--config-lo", "-----------", "___________")
NO_IDS = (
    "$(touch x)1",
    "`touch x`12",
    "; rm -rf x;",
    "../../../ab",
    "a|b&c>d<e\nf",
    "http://a/b1",
    "%(title)s12",
)


@pytest.fixture
def programs(monkeypatch) -> list[list[str]]:
    """The words of every program that is started."""
    started: list[list[str]] = []
    usual = subprocess.Popen.__init__

    def spy(self, args, *more, **options):
        assert not options.get("shell") and not isinstance(args, str), args
        started.append([os.fsdecode(word) for word in args])
        usual(self, args, *more, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", spy)
    monkeypatch.setattr(os, "system", None)
    return started


def test_ids_that_look_like_options_are_ids(bench, programs):
    bench.list(*OPTIONS)
    ended = bench.run()
    assert ended.code == 0, ended.err
    assert account(ended.out) == {"kept": len(OPTIONS)}
    assert sorted(bench.files()) == sorted(OPTIONS)
    assert {*bench.host.asked} == {*OPTIONS}
    assert not any(video in word for words in programs for word in words for video in OPTIONS)


def test_what_is_no_id_is_asked_of_nobody(bench, programs):
    bench.list(more={f"clip{number}": entry(video) for number, video in enumerate(NO_IDS)})
    before = {path for path in bench.folder.rglob("*")}
    ended = bench.run()
    assert account(ended.out) == {"kept": 0, "bad_metadata": len(NO_IDS)}
    assert not bench.host.asked and not programs
    after = {
        path.relative_to(bench.folder).parts[0] for path in {*bench.folder.rglob("*")} - before
    }
    assert after <= {"raw"}
    for video in NO_IDS:
        assert not is_video(video)
        with pytest.raises(ValueError, match="is not the id of a video"):
            safe_name(video)


def test_picture_and_sound_are_joined_without_words_of_the_host(bench, programs, tmp_path):
    """The one program that is started, FFmpeg, is told places of ours."""
    video = "--exec-abcd"
    bench.host.script[video] = ["dash"]
    bench.host.parts = {
        "big.mp4": film(tmp_path / "b.mp4"),
        "small.mp4": film(tmp_path / "s.mp4", width=48),
    }
    film(tmp_path / "a.m4a", sound_only=True)
    bench.host.parts["sound.m4a"] = (tmp_path / "a.m4a").read_bytes()
    bench.list(video)
    assert account(bench.run().out) == {"kept": 1}
    for words in programs:
        assert "ffmpeg" in words[0]
        named = [word for word in words if video in word]
        assert all(
            word.startswith((f"file:{bench.folder}/", f"{bench.folder}/")) for word in named
        ), named


@pytest.mark.parametrize(
    "data",
    [
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"#EXTM3U\n#EXTINF:9,\n/etc/passwd\n",
        b"<html>",
        b"\x00" * 999,
        b"",
    ],
)
def test_an_answer_that_is_no_video_is_not_kept(data, bench):
    bench.host.film = data
    bench.list("aaaaaaaaaaa")
    assert account(bench.run().out).get("kept", 0) == 0
    assert bench.files() == []


def test_yt_dlp_is_told_nothing_that_runs(tmp_path):
    params = _params(
        tmp_path, FetchOptions("https://www.youtube.com/watch?v={id}"), lambda name, size: None
    )
    words = (
        "exec",
        "postprocessors",
        "external_downloader",
        "external_downloader_args",
        "plugin_dirs",
        "config",
    )
    assert not {*words} & params.keys()
    assert params["allowed_extractors"] == fetching.EXTRACTORS and params["cachedir"] is False


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x",
        "http://169.254.169.254/",
        "file:///etc/passwd",
        "ftp://example.com/x",
        "http://[::1]/",
    ],
)
def test_what_the_host_points_to_is_looked_at_too(url, tmp_path):
    """Parts of a list, captions, redirects: all go through the same gate."""
    options = FetchOptions("https://www.youtube.com/watch?v={id}")
    downloader = _downloader()(_params(tmp_path, options, lambda name, size: None), options)
    with downloader as ydl, pytest.raises(RequestError, match="not asked"):
        ydl.urlopen(url)


def test_a_private_address_is_refused_as_an_option(bench):
    bench.list("aaaaaaaaaaa")
    words = [word for word in bench.words() if word != "--allow-private"]
    ended = call("datagen.download", *words)
    assert ended.code == 2 and "private address" in ended.sentence
    assert not bench.host.asked
    for url in (
        "file:///etc/passwd?{id}",
        "gopher://x/{id}",
        "javascript:{id}",
        "//example.com/{id}",
    ):
        ended = call("datagen.download", *words, "--url", url)
        assert ended.code == 2 and "http" in ended.sentence
