"""The moving window of one minute that rate limits count with."""

import random

from api.limits import MovingWindow


def test_it_never_lets_more_through_in_any_minute_and_no_fewer() -> None:
    now = 0.0
    window = MovingWindow(lambda: now)
    dice = random.Random(7)
    taken: list[float] = []
    for _ in range(5_000):
        now += dice.expovariate(1.0)
        inside = sum(1 for at in taken if at > now - 60)
        assert window.hit(30, "a") == (inside < 30)
        if inside < 30:
            taken.append(now)


def test_callers_are_counted_apart_and_forgotten_after_a_minute() -> None:
    now = 0.0
    window = MovingWindow(lambda: now)
    assert [window.hit(1, "key", address) for address in ("a", "b", "a")] == [True, True, False]
    now = 61.0
    assert window.hit(1, "key", "c")
    assert list(window._hits) == [("key", "c")]


def test_it_tells_how_long_to_wait_and_counts_nothing_by_it() -> None:
    now = 0.0
    window = MovingWindow(lambda: now)
    assert window.wait(2, "a") == 0
    assert window.hit(2, "a")
    now = 10.0
    assert window.hit(2, "a")
    now = 15.0
    assert [window.wait(2, "a"), window.wait(2, "b"), window.wait(3, "a")] == [45, 0, 0]
    assert not window.hit(2, "a")
    now = 60.0
    assert window.wait(2, "a") == 0
    assert window.hit(2, "a")
    assert window.wait(2, "a") == 10
    now = 200.0
    assert window.wait(2, "a") == 0
    assert window.hit(1, "b")
    assert list(window._hits) == [("b",)]
