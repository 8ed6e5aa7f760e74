"""What one fetch may do and what it may not."""

from __future__ import annotations

import pytest

from datagen.download.answers import Incomplete, classify
from datagen.download.fetch import FetchOptions, _downloader, _params, fetch
from tests.datagen.download.conftest import name_of

A = name_of(0)


def test_only_two_extractors_and_no_files_of_the_user(tmp_path):
    options = FetchOptions("https://example.com/{id}")
    with _downloader()(_params(tmp_path, options, lambda *_: None), options) as ydl:
        assert set(ydl._ies) == {"Youtube", "Generic"}
        assert (
            not ydl.cache.enabled
            and not ydl.params.get("usenetrc")
            and not ydl.params.get("enable_file_urls")
        )


def test_private_addresses_are_not_asked_whatever_leads_there(bench, tmp_path):
    bench.host.script = {A: ["to:elsewhere"]}
    with pytest.raises(Exception, match="private address") as error:
        fetch(FetchOptions(bench.url), A, tmp_path, lambda *_: None)
    assert classify(error.value).outcome == "unavailable" and not bench.host.asked
    options = FetchOptions(bench.url, allow_private=True)
    with pytest.raises(Exception, match="file:|scheme|expected"):
        fetch(options, A, tmp_path, lambda *_: None)
    assert bench.host.asked[A] == 1 and not list(tmp_path.iterdir())


def test_a_live_stream_is_not_fetched(bench, tmp_path):
    bench.host.script = {A: ["live"]}
    with pytest.raises(Exception, match="live event") as error:
        fetch(FetchOptions(bench.url, allow_private=True), A, tmp_path, lambda *_: None)
    assert classify(error.value).outcome == "incomplete" and not list(tmp_path.iterdir())


def test_a_fetch_can_be_stopped_in_the_middle(bench, tmp_path):
    seen = []

    def watch(name, size):
        seen.append(size)
        raise Incomplete("enough")

    with pytest.raises(Incomplete, match="enough"):
        fetch(FetchOptions(bench.url, allow_private=True), A, tmp_path, watch)
    assert len(seen) == 1 and seen[0] == len(bench.host.film)
