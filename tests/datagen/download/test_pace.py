"""Circuit breaker, rate limiter, disk budget and manifest, with a clock of the test's own."""

from __future__ import annotations

import json

import pytest

from datagen.download.answers import Answer
from datagen.download.breaker import CircuitBreaker
from datagen.download.manifest import AccessRoute, Manifest
from datagen.download.pace import DiskBudget, OverDiskBudget, RateLimiter
from tests.datagen.download.conftest import StillClock

REFUSED = Answer("blocked", "429", is_trouble=True)
DEAD = Answer("removed", "gone")


def breaker(**options) -> CircuitBreaker:
    return CircuitBreaker(
        StillClock(), **{"after": 3, "wait_s": 60, "max_wait_s": 200, "openings": 4, **options}
    )


def test_opens_after_some_in_a_row_and_a_video_closes_it():
    b = breaker()
    assert [b.take(REFUSED), b.take(REFUSED)] == [False, False] and b.is_closed
    b.works()
    assert not b.take(REFUSED) and not b.take(REFUSED)
    assert b.take(REFUSED) and b.delay() == 60 and not b.is_closed
    b.clock.sleep(60)
    assert b.delay() == 0 and not b.is_closed  # one may try
    b.works()
    assert b.is_closed and b.row == 0


def test_pauses_double_up_to_a_bound_and_then_it_is_spent():
    b = breaker(after=1)
    pauses = []
    while not b.spent:
        assert b.take(REFUSED)
        pauses.append(b.delay())
        b.clock.sleep(b.delay())
    assert pauses == [60, 120, 200, 200]


def test_waits_as_long_as_the_host_asks():
    b = breaker(after=1, max_wait_s=3600)
    b.take(Answer("blocked", "429", is_trouble=True, retry_after=500))
    assert b.delay() == 500
    late = Answer("blocked", "429", is_trouble=True, retry_after=900)
    assert not b.take(late, opened=0)  # it was on its way when the breaker opened
    assert b.delay() == 900 and b.opened == 1


@pytest.mark.parametrize("asked", [10**7, float("inf")])
def test_no_host_can_ask_for_more_than_the_longest_pause(asked):
    b = breaker(after=1, max_wait_s=200)
    for opened in (None, 0):
        b.take(Answer("blocked", "429", is_trouble=True, retry_after=asked), opened)
        assert b.delay() == 200


def test_dead_videos_say_nothing_about_the_host():
    """A host that refuses answers for dead videos all the same: they must not hide it."""
    b = breaker()
    for answer in (REFUSED, DEAD, REFUSED, DEAD):
        assert not b.take(answer)
    assert b.take(REFUSED)
    b.clock.sleep(60)
    assert not b.take(DEAD) and not b.is_closed


def test_pace_keeps_pauses_and_the_bound_of_an_hour():
    clock = StillClock()
    rate_limiter = RateLimiter(
        clock, 5, 10, per_hour=3, before=[clock.now() - 4000, clock.now() - 3000]
    )
    assert rate_limiter.delay() == 0
    rate_limiter.start()
    assert 5 <= rate_limiter.delay() <= 10
    clock.sleep(10)
    assert rate_limiter.delay() == 0
    rate_limiter.start()
    assert rate_limiter.delay() == pytest.approx(3600 - 3000 - 10)
    clock.sleep(rate_limiter.delay())
    assert rate_limiter.delay() == 0


def test_room_counts_what_is_under_way():
    disk_budget = DiskBudget(100, used=50)
    disk_budget.take("a", "v", 20)
    disk_budget.take("b", "v", 30)
    with pytest.raises(OverDiskBudget):
        disk_budget.take("a", "s", 1)
    disk_budget.settle("a")
    disk_budget.settle("b", 30)
    assert disk_budget.used == 80 and disk_budget.is_full  # one did not fit
    disk_budget = DiskBudget(100, used=80)
    assert not disk_budget.is_full
    disk_budget.settle("c", 20)
    assert disk_budget.is_full and not DiskBudget(None, used=10**15).is_full


def test_other_ways_are_tried_and_the_same_one_is_not(tmp_path):
    manifest, here = Manifest(tmp_path), AccessRoute.of(None, None)
    cookies = tmp_path / "cookies.txt"
    cookies.write_text("old")
    there, signed = (
        AccessRoute.of("http://u:secret@proxy:1", None),
        AccessRoute.of(None, str(cookies)),
    )
    manifest.answered("geo", Answer("geo", "r"), here)
    manifest.answered("age", Answer("age", "r"), here)
    manifest.answered("dead", Answer("removed", "r"), here)
    manifest.answered("bot", REFUSED, here)
    for _ in range(2):
        manifest.answered("slow", Answer("unavailable", "r", counts=True), here)
    states = Manifest(tmp_path).states
    assert [name for name, s in states.items() if s.is_open(here, tries=3)] == ["bot", "slow"]
    assert [name for name, s in states.items() if s.is_open(here, tries=2)] == ["bot"]
    assert [name for name, s in states.items() if s.is_open(there, tries=2)] == ["geo", "bot"]
    assert [name for name, s in states.items() if s.is_open(signed, tries=2)] == ["age", "bot"]
    manifest.answered("age", Answer("age", "r"), signed)
    assert not manifest.states["age"].is_open(signed, 2)
    cookies.write_text("new")  # other cookies under the same name
    assert manifest.states["age"].is_open(AccessRoute.of(None, str(cookies)), 2)
    manifest.answered("geo", Answer("geo", "r"), there)
    assert not Manifest(tmp_path).states["geo"].is_open(there, 2) and not manifest.states[
        "geo"
    ].is_open(here, 2)
    assert "secret" not in manifest.path.read_text()


def test_a_torn_line_costs_itself_only(tmp_path):
    manifest = Manifest(tmp_path)
    manifest.kept("a", "a.mp4", {"bytes": 1}, "fetched")
    with manifest.path.open("ab") as file:
        file.write(b'{"video": "b", "outc')
    manifest = Manifest(tmp_path)
    manifest.kept("c", "c.mp4", {"bytes": 1}, "fetched")
    assert set(Manifest(tmp_path).states) == {"a", "c"}
    manifest.path.write_bytes(
        manifest.path.read_bytes() + b'[]\n{"video": 3, "outcome": "kept"}\nnull\n\xff\n'
    )
    assert set(Manifest(tmp_path).states) == {"a", "c"}
    assert json.loads(manifest.path.read_text(errors="replace").splitlines()[0])["how"] == "fetched"
