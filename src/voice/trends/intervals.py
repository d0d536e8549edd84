"""A value and its 95 % interval from counts: the method of each metric is stated where it is computed."""

import math
from dataclasses import dataclass

Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Estimate:
    """How much data, what it says, and the 95 % interval; all None where there is too little data."""

    n: int
    value: float | None
    low: float | None
    high: float | None


EMPTY = Estimate(0, None, None, None)


def share(count: int, n: int) -> Estimate:
    """A share 0..1 with the Wilson score interval (Wilson 1927; Brown, Cai & DasGupta 2001 recommend it)."""
    if n == 0:
        return EMPTY
    p = count / n
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return Estimate(n, p, min(p, max(0.0, centre - half)), max(p, min(1.0, centre + half)))


def net(up: int, down: int, n: int) -> Estimate:
    """100·(up − down)/n, −100..100, with Rocks' adjusted Wald interval for such a difference.

    Rocks, "Interval Estimation for the Net Promoter Score", The American Statistician 70 (2016): add 3/4 to ups and
    downs and 3/2 to the rest, then use the normal interval. The value itself is not adjusted.
    """
    if n == 0:
        return EMPTY
    m = n + 3
    p, q = (up + 0.75) / m, (down + 0.75) / m
    half = Z * math.sqrt((p + q - (p - q) ** 2) / m)
    value = 100 * (up - down) / n
    low, high = max(-100.0, 100 * (p - q - half)), min(100.0, 100 * (p - q + half))
    return Estimate(n, value, min(value, low), max(value, high))


def count(n: int) -> Estimate:
    """A count with the exact Poisson interval (Garwood 1936). An empty bucket has no value."""
    if n == 0:
        return EMPTY
    from scipy.special import gammaincinv

    return Estimate(n, float(n), float(gammaincinv(n, 0.025)), float(gammaincinv(n + 1, 0.975)))


def mean(n: int, total: int, squares: int, *, low: float, high: float) -> Estimate:
    """The mean of n ratings given in hundredths, with Student's t interval cut to the scale; none for n = 1."""
    if n == 0:
        return EMPTY
    value = total / n / 100
    if n == 1:
        return Estimate(1, value, None, None)
    from scipy.special import stdtrit

    variance = max(0.0, (squares - total * total / n) / (n - 1)) / 10_000
    half = float(stdtrit(n - 1, 0.975)) * math.sqrt(variance / n)
    return Estimate(n, value, max(low, value - half), min(high, value + half))
