"""The command against a real host on this machine, through yt-dlp."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from pathlib import Path

import av
import pytest
from yt_dlp.utils import DownloadError

from datagen.core.lock import locked
from datagen.download.fetch import ffmpeg
from datagen.sources.listed.raw import safe_name
from tests.conftest import MEDIA
from tests.datagen.download.conftest import StillClock, account, entry, film, name_of
from tests.faults import call, leftovers, started, until

A, B, C, D, E = map(name_of, range(5))
PATIENT = "breaker.after=99"


def test_fetches_what_is_listed_and_then_asks_nothing(bench):
    bench.list(A, B, C, clips=2)
    first = bench.run()
    assert first.code == 0, first.err
    assert account(first.out) == {"kept": 6} and account(first.out, "videos") == {"kept": 3}
    assert bench.files() == sorted([A, B, C]) and not leftovers(bench.raw)
    (line, *_) = bench.lines()
    assert (line["video"], line["how"], line["height"], line["fps"]) == (A, "fetched", 64, 25)
    assert line["bytes"] == (bench.raw / line["file"]).stat().st_size == len(bench.host.film)
    asked = bench.host.asked.copy()
    second = bench.run()
    assert account(second.out) == {"kept": 6} and bench.host.asked == asked


WORDS = {
    "404": "removed",
    "403": "blocked",
    "429:1": "blocked",
    "503": "unavailable",
    "page": "unavailable",
    "cut": "incomplete",
    "short": "incomplete",
    "long": "incomplete",
    "audio": "incomplete",
    "slow": "kept",
}


def test_every_misbehaviour_has_its_class_and_the_next_run_fetches_what_is_missing(bench, tmp_path):
    bench.host.audio = film(tmp_path / "sound.mp4", sound_only=True)
    videos = {word: name_of(number) for number, word in enumerate(WORDS)}
    bench.host.script = {video: [word] for word, video in videos.items()}
    bad = {"bad": entry("$(touch x);:"), "worse": entry("../../../ab")}
    bench.list(*videos.values(), clips=3, more=bad)
    first = bench.run(PATIENT)
    assert first.code == 0, first.err
    assert account(first.out) == {
        "kept": 3,
        "removed": 3,
        "blocked": 6,
        "unavailable": 6,
        "incomplete": 12,
        "bad_metadata": 2,
    }
    assert {line["video"]: line["outcome"] for line in bench.lines()} == {
        videos[w]: o for w, o in WORDS.items()
    }
    assert bench.files() == [videos["slow"]] and not leftovers(bench.raw)
    assert [
        path.name for path in tmp_path.iterdir() if path.name != "sound.mp4"
    ] != [] and not Path("x").exists()

    bench.host.script.clear()
    asked = bench.host.asked.copy()
    second = bench.run(PATIENT)
    assert account(second.out) == {"kept": 27, "removed": 3, "bad_metadata": 2}
    again = {word for word, video in videos.items() if bench.host.asked[video] > asked[video]}
    assert again == set(WORDS) - {"404", "slow"}
    third = bench.run("--again")
    assert account(third.out) == {"kept": 30, "bad_metadata": 2}


def test_failures_that_may_pass_have_so_many_tries(bench):
    bench.host.script = {A: ["cut"], B: ["403"]}
    bench.list(A, B)
    for run in range(3):
        asked = bench.host.asked.copy()
        assert account(bench.run("--tries", 2, PATIENT).out) == {
            "kept": 0,
            "incomplete": 1,
            "blocked": 1,
        }
        assert (bench.host.asked[A] > asked[A]) == (run < 2) and bench.host.asked[B] > asked[B]


def test_a_broken_off_file_is_continued_within_a_try(bench):
    bench.host.script = {A: ["whole", "cut", "whole"]}
    bench.list(A)
    assert account(bench.run().out) == {"kept": 1}
    assert (
        bench.host.asked[A] == 3 and bench.host.continued[A] == 1
    )  # the page, half of it, the other half


def test_the_breaker_waits_tries_one_and_goes_on(bench, monkeypatch, capfd):
    clock = StillClock()
    monkeypatch.setattr("datagen.download.run.SystemClock", lambda: clock)
    bench.host.script = {video: ["429:90", "whole"] for video in (A, B)}
    bench.list(A, B, C, D)
    done = bench.run("breaker.after=2", "breaker.wait_s=60", "--per-hour", "null")
    assert done.code == 0 and account(done.out) == {"kept": 4}
    assert [round(s) for s in clock.slept] == [90]
    stderr = capfd.readouterr().err
    assert "the host refuses (" in stderr and "waiting 90 s" in stderr
    assert [line["video"] for line in bench.lines() if line["outcome"] == "kept"] == [C, D, A, B]


def test_a_video_between_refusals_keeps_the_breaker_closed(bench, monkeypatch):
    clock = StillClock()
    monkeypatch.setattr("datagen.download.run.SystemClock", lambda: clock)
    bench.host.script = {video: ["429", "whole"] for video in (A, B, D, E)}
    bench.list(A, B, C, D, E)
    assert account(bench.run("breaker.after=3", "breaker.wait_s=60").out) == {"kept": 5}
    assert clock.slept == []


def test_after_a_pause_one_alone_may_try(bench, monkeypatch):
    under_way, most = [], []

    def refused(options, video, folder, watch):
        under_way.append(video)
        time.sleep(0.05)
        most.append(len(under_way))
        under_way.remove(video)
        raise DownloadError("HTTP Error 429: Too Many Requests")

    monkeypatch.setattr("datagen.download.run.fetch", refused)
    bench.list(*map(name_of, range(12)))
    stopped = bench.run("--workers", 3, "breaker.after=3", "breaker.openings=4")
    assert stopped.code == 1 and max(most[:3]) == 3
    assert most[-3:] == [1, 1, 1]


def test_a_host_that_goes_on_refusing_ends_the_run(bench, monkeypatch):
    clock = StillClock()
    monkeypatch.setattr("datagen.download.run.SystemClock", lambda: clock)
    videos = [name_of(number) for number in range(9)]
    bench.host.script = {video: ["429"] for video in videos}
    bench.list(*videos)
    stopped = bench.run("breaker.after=3", "breaker.wait_s=60", "breaker.openings=3")
    assert stopped.code == 1
    assert account(stopped.out) == {"kept": 0, "blocked": 5, "pending": 4}
    assert [
        line
        for line in stopped.out.splitlines()
        if line.startswith("stopped: the host refused 5 videos in a row")
    ]
    assert clock.slept == [60, 120] and sum(bench.host.asked.values()) == 5
    bench.host.script.clear()
    assert account(bench.run().out) == {"kept": 9}


def test_killed_in_the_middle_only_what_is_missing_is_fetched(bench, tmp_path):
    bench.host.script = {C: ["whole", "held"]}
    bench.list(A, B, C, D)
    with started(tmp_path / "log", "datagen.download", *bench.words()) as process:
        until(bench.host.holding.is_set)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert bench.files() == sorted([A, B])
    with (bench.raw / "manifest.jsonl").open("a") as file:
        file.write('{"video": "' + C)  # what a crash leaves
    bench.host.script.clear()
    bench.host.gate.set()
    asked = bench.host.asked.copy()
    again = bench.run()
    assert account(again.out) == {"kept": 4} and bench.files() == sorted([A, B, C, D])
    assert {video for video in (A, B, C, D) if bench.host.asked[video] > asked[video]} == {C, D}
    assert not leftovers(bench.raw)


def test_a_file_that_was_placed_and_not_written_down_is_not_fetched(bench):
    bench.list(A, B)
    bench.run()
    manifest = bench.raw / "manifest.jsonl"
    manifest.write_text(manifest.read_text().splitlines()[0] + "\n")
    file = bench.raw / f"{safe_name(A)}.mp4"
    file.write_bytes(file.read_bytes()[:9000])  # and this one was damaged
    asked = bench.host.asked.copy()
    again = bench.run()
    assert account(again.out) == {"kept": 2} and f"{file} is not used" in again.out
    assert bench.host.asked[B] == asked[B] and bench.host.asked[A] > asked[A]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_the_books_balance(bench, tmp_path, number):
    bench.host.script = {B: ["whole", "held"]}
    bench.list(A, B, C, clips=5)
    with started(tmp_path / "log", "datagen.download", *bench.words()) as process:
        until(bench.host.holding.is_set)
        process.send_signal(number)
        assert process.wait(30) == 130
    out = (tmp_path / "log").read_text()
    assert account(out) == {"kept": 5, "pending": 10} and "Traceback" not in out
    assert not leftovers(bench.raw)


def test_several_at_once_come_to_the_same(bench):
    videos = [name_of(number) for number in range(8)]
    bench.host.script = {videos[2]: ["404"], videos[5]: ["cut"]}
    bench.list(*videos, clips=2)
    done = bench.run("--workers", 3)
    assert (
        account(done.out) == {"kept": 12, "removed": 2, "incomplete": 2} and len(bench.files()) == 6
    )


def test_the_first_of_the_list_and_a_dry_run(bench):
    bench.list(A, B, C, clips=2)
    dry = bench.run("--dry-run", "--limit", 2)
    licence = dry.out.splitlines()[0]
    assert (
        "non-commercial research only" in licence
        and "no copy, publication or distribution" in licence
    )
    assert "would fetch 2 videos with 4 clips" in dry.out and account(dry.out) == {
        "kept": 0,
        "pending": 6,
    }
    assert not bench.raw.exists() and not bench.host.asked
    assert account(bench.run("--limit", 2).out) == {"kept": 4, "pending": 2}
    assert "would fetch 1 videos" in bench.run("--dry-run").out


def test_stops_where_the_disk_is_to_stay_free(bench):
    bench.list(A, B, C)
    stopped = bench.run("--max-gb", 1.5 * len(bench.host.film) / 1e9)
    assert stopped.code == 0 and account(stopped.out) == {"kept": 1, "pending": 2}
    assert "--max-gb has no room for the next" in stopped.out and not leftovers(bench.raw)
    assert sum(path.stat().st_size for path in bench.raw.glob("v_*")) < 1.5 * len(bench.host.film)


@pytest.mark.skipif(not ffmpeg(), reason="needs ffmpeg or imageio-ffmpeg")
@pytest.mark.parametrize(("height", "width"), [(1080, 96), (40, 48)])
def test_picture_and_sound_are_put_together_in_the_height_that_is_wanted(
    bench, tmp_path, height, width
):
    host = bench.host
    host.parts = {"sound.m4a": film(tmp_path / "sound.mp4", sound_only=True)}
    host.parts |= {"big.mp4": host.film, "small.mp4": film(tmp_path / "small.mp4", width=48)}
    host.script = {A: ["dash"]}
    bench.list(A)
    done = bench.run("--height", height)
    assert account(done.out) == {"kept": 1}, bench.lines()
    (path,) = bench.raw.glob("v_*")
    with av.open(str(path)) as container:
        assert container.streams.video[0].width == width and len(container.streams.audio) == 1
    assert not leftovers(bench.raw)


def test_cookies_are_sent_and_their_file_is_left_alone(bench):
    bench.list(A)
    cookies = bench.folder / "cookies.txt"
    cookies.write_text("# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\twho\tme\n")
    before = cookies.read_bytes(), cookies.stat().st_mtime_ns
    assert account(bench.run("--cookies", cookies).out) == {"kept": 1}
    assert set(bench.host.cookies) == {"who=me"}
    assert (cookies.read_bytes(), cookies.stat().st_mtime_ns) == before
    cookies.write_text("<html>sign in</html>")
    assert "Netscape" in bench.run("--cookies", cookies).sentence


def test_a_full_disk_ends_the_run_with_one_sentence(bench, monkeypatch):
    def full(options, video, folder, watch):
        raise DownloadError("unable to write data") from OSError(
            errno.ENOSPC, "No space left on device"
        )

    monkeypatch.setattr("datagen.download.run.fetch", full)
    bench.list(A, B)
    stopped = bench.run()
    assert stopped.code == 2 and "the disk is full" in stopped.sentence
    assert account(stopped.out) == {"kept": 0, "pending": 2}


def test_who_opted_out_is_never_fetched(bench):
    bench.list(A, B, C, clips=2)
    bench.run("--limit", 1)
    out = bench.folder / "no.txt"
    out.write_text(f"{A}\n{B}_1  # one clip of two\n{C}\n")
    done = bench.run(f"source.opt_out={out}")
    assert account(done.out) == {"kept": 1, "opted_out": 5} and account(done.out, "videos") == {
        "kept": 1,
        "opted_out": 2,
    }
    assert "opted out, but still here" in done.out and bench.host.asked[C] == 0
    purged = bench.run(f"source.opt_out={out}", "--purge")
    assert "opted out, removed" in purged.out and bench.files() == [B]
    bench.run("--drop-raw", "source.min_side=16")
    out.write_text(f"{B}\n")
    assert list((bench.raw / "cuts").glob(f"*{B[1:6]}*.mp4"))
    bench.run(f"source.opt_out={out}", "--purge", "--offline")
    assert not [path for path in (bench.raw / "cuts").iterdir() if B[1:] in path.stem]


def test_local_copies_count_once_they_are_checked(bench, one_film):
    bench.list(A, B, C)
    local = bench.folder / "mine"
    local.mkdir()
    (local / f"{A}.mp4").write_bytes(one_film)
    (local / f"A title [{B}].mp4").write_bytes(one_film[:9000])
    offline = bench.run(f"source.local={local}", "--offline")
    assert account(offline.out) == {"kept": 1, "pending": 2} and not bench.host.asked
    done = bench.run(f"source.local={local}", "--drop-raw")
    assert account(done.out) == {"kept": 3} and bench.host.asked[A] == 0
    assert (local / f"{A}.mp4").exists() and (
        local / f"A title [{B}].mp4"
    ).exists()  # they are the user's


def test_raw_files_go_when_their_clips_are_cut_and_are_not_fetched_again(bench):
    bench.list(A, B, clips=2)
    bench.run("--limit", 1)
    small = "source.min_side=16"
    done = bench.run("--drop-raw", small)
    assert account(done.out) == {"kept": 4} and bench.files() == []
    assert len(list((bench.raw / "cuts").glob("*.mp4"))) == 4
    asked = bench.host.asked.copy()
    assert account(bench.run("--drop-raw", small).out) == {"kept": 4} and bench.host.asked == asked
    for cut in (bench.raw / "cuts").glob(f"*{B[1:6]}*"):
        cut.unlink()
    again = bench.run("--drop-raw", small)
    assert account(again.out) == {"kept": 4} and bench.host.asked[B] > asked[B]


def test_a_raw_file_stays_while_a_clip_of_it_could_not_be_cut(bench):
    bench.list(
        B, more={f"{A}_{n}": entry(A, n) for n in range(5)}
    )  # the film ends before the last two
    for _ in range(2):
        done = bench.run("--drop-raw")
        assert account(done.out) == {"kept": 4, "uncut": 2} and account(done.out, "videos") == {
            "kept": 2
        }
        assert bench.files() == [A] and "ends_early" in done.out
    assert len(list((bench.raw / "cuts").glob("*.mp4"))) == 4


def test_one_run_at_a_time_and_mistakes_are_one_sentence(bench):
    bench.list(A)
    with locked(bench.raw):
        assert "in use by another run" in bench.run().sentence
    assert "source=celebvhq or source=vfhq" in call("datagen.download", "source=sample").sentence
    for words, stderr in [
        (("--limit", 0, "--workers", "x", "breaker.after=0"), "--workers is 'x'"),
        (("--allow-private", "false"), "private address"),
        (("--url", "file:///{id}"), "http:// or https://"),
        (("--url", "http://127.0.0.1/"), "{id} is expected"),
        (("--cookies", "none.txt"), "no such file"),
        (("source.metadata=none.json",), "none.json"),
        (("breaker=3",), "breaker is 3, options like breaker.after=5"),
        (("runtimes=null",), "--runtimes is null, a list like [deno, node]"),
        (("--cookies", 5), "no such file"),
        (("--cookies", "none.txt", "--dry-run"), "none.txt cannot be read"),
        (("cookies=[5]", "proxy=[8080]"), "--cookies is [5], a text is expected; --proxy is"),
        (("--sleep", -1, "--tries", 0), "--tries is 0, a whole number from 1 is expected; --sleep"),
        (("breaker.after=0", "breaker.wait_s=-1"), "after is 0, a number from 1 is expected; brea"),
        (("source.raw=null",), "error: source.raw is None: the folder"),
        (("source.metadata=null",), "source.metadata is None: the dataset's list"),
    ]:
        wrong = bench.run(*words)
        assert wrong.code == 2 and stderr in wrong.sentence, wrong.err
    assert not bench.host.asked


@pytest.mark.skipif(not MEDIA.is_dir(), reason="the footage in ../shared/media is not here")
def test_a_list_full_of_faults_is_accounted_for(bench):
    bad = json.loads((MEDIA / "meta" / "celebvhq_format_bad_entries.json").read_text())["clips"]
    bench.list(A, more=bad)
    done = bench.run()
    assert account(done.out) == {"kept": 1, "bad_metadata": len(bad)} and list(
        bench.host.asked
    ) == [A]
