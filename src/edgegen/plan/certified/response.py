"""What a user does at given prices of a server's clock, uplink and downlink (compiled).

For prices (per Hz) the user minimises, over clock f and bands u and d,

    a (t_u + C/f + t_d) + e t_u + price . (f, u, d) - (a - alpha) left,      t = size / (band ln(1 + snr/band)),

where a = alpha while the deadline is slack and larger when it binds (a - alpha is the deadline's multiplier). The clock
has a closed form. A band's optimum is one function of one variable: with z = snr/band, L = ln(1 + z), q = z/(1 + z),

    L^2 / (z^2 (L - q)) = weight size / (price snr^2),

which is tabulated once and polished by a Newton step in the logarithm. A band with snr = inf has a rate proportional to
the share, t = size/band, and a closed form. Every value returned for a >= alpha is a lower
bound on the user's cost (weak duality), whether or not the multiplier has converged.
"""

import math

import numpy as np
from numba import njit

_LOW, _HIGH, _GRID = -46.0, 46.0, 737  # range of the logarithm of the right-hand side, 8 points per unit
_STEP = (_HIGH - _LOW) / (_GRID - 1)
INFINITE = np.inf


@njit(cache=True)
def _spread(z):
    """Return ln(1 + z) and ln(1 + z) - z/(1 + z), the latter without cancellation."""
    log = math.log1p(z)
    if z > 0.02:
        return log, log - z / (1 + z)
    return log, z * z * (0.5 + z * (-2 / 3 + z * (0.75 + z * (-0.8 + z * (5 / 6 + z * (-6 / 7))))))


@njit(cache=True)
def _slope(z, log, rest):
    """Return the derivative of the logarithm of the left-hand side in ln z; it is negative."""
    near = 1 + z
    return 2 * z / (near * log) - 2 - z * z / (near * near * rest)


@njit(cache=True)
def _polish(y, x):
    """Return a better solution ln z of left-hand side = exp(x)."""
    z = math.exp(y)
    log, rest = _spread(z)
    return y + (x - 2 * math.log(log) + 2 * y + math.log(rest)) / _slope(z, log, rest)


@njit(cache=True)
def _tabulate():
    values, slopes = np.empty(_GRID), np.empty(_GRID)
    y = 0.5 * -_LOW
    for k in range(_GRID):
        x = _LOW + k * _STEP
        for _ in range(60):
            y = _polish(y, x)
        z = math.exp(y)
        log, rest = _spread(z)
        values[k], slopes[k] = y, _STEP / _slope(z, log, rest)
    return values, slopes


VALUES, SLOPES = _tabulate()


@njit(cache=True)
def transfer_s(size, snr, share):
    """Return the seconds that `size` (bits times ln 2, or bits where snr = inf) takes with a share of a band."""
    if size <= 0.0:
        return 0.0
    return size / share if snr == INFINITE else size / (share * math.log1p(snr / share))


@njit(cache=True)
def band(weight, size, snr, price, least, most):
    """Return (share, seconds, share of the time that more band saves, elasticity of the share in weight/price).

    `size` is in bits times ln 2. The share is kept between `least` and `most`, where the elasticity is zero.
    """
    if size <= 0.0:
        return 0.0, 0.0, 0.0, 0.0
    if snr == INFINITE:
        share, elasticity = math.sqrt(weight * size / price), 0.5
        if share < least or share > most:
            share, elasticity = min(max(share, least), most), 0.0
        return share, size / share, 1.0, elasticity
    x = min(max(math.log(weight * size / (price * snr * snr)), _LOW), _HIGH - 1e-9)
    at = (x - _LOW) / _STEP
    k = int(at)
    u = at - k
    v = 1 - u
    y = VALUES[k] * (1 + 2 * u) * v * v + VALUES[k + 1] * (3 - 2 * u) * u * u
    y += u * v * (v * SLOPES[k] - u * SLOPES[k + 1])
    z = math.exp(y)
    log, rest = _spread(z)
    slope = _slope(z, log, rest)
    shift = (x - 2 * math.log(log) + 2 * y + math.log(rest)) / slope
    share = snr / z * math.exp(-shift)
    elasticity = -1 / slope
    if share < least or share > most:
        share, elasticity = min(max(share, least), most), 0.0
    z = snr / share
    log, rest = _spread(z)
    return share, size / (share * log), rest / log, elasticity


@njit(cache=True)
def respond(user, cycles, base, price, most, start):
    """Return (cost, a, total seconds, shares, and three triples of elasticities).

    user: (alpha, e, upload, download, up snr, down snr, least uplink, seconds left) of one user on one server.
    most: the largest shares. start: first guess of a. Elasticities are derivatives of logarithms: of each share by
    ln a, of each share by its own price (negated), and of a by each price, which is zero while the deadline is slack.
    """
    alpha, radio, up, down = user[0], user[1], user[2], user[3]
    up_snr, down_snr, least, left = user[4], user[5], user[6], user[7]
    a, low, high, tried = max(alpha, start), alpha, INFINITE, start <= alpha
    turn = 0
    while True:
        turn += 1
        clock, by_clock = math.sqrt(a * cycles / price[0]), 0.5
        if clock > most[0]:
            clock, by_clock = most[0], 0.0
        u, send_s, save_u, by_u = band(a + radio, up, up_snr, price[1], least, most[1])
        d, fetch_s, save_d, by_d = band(a, down, down_snr, price[2], 0.0, most[2])
        work_s = cycles / clock if cycles > 0 else 0.0
        total_s = send_s + work_s + fetch_s
        felt = a / (a + radio)
        part_f, part_u, part_d = work_s * by_clock, send_s * save_u * by_u, fetch_s * save_d * by_d
        answer = part_f + part_u * felt + part_d
        late = total_s > left
        if late:
            low, tried = a, True
        else:
            high = a
        if turn == 60 or (a <= alpha and not late) or (late and answer <= 0.0) or high - low < 1e-13 * low:
            break
        off = math.log(total_s / left)
        if abs(off) < 1e-12:
            break
        new = a * math.exp(min(max(off * total_s / answer, -4.0), 4.0)) if answer > 0.0 else 0.0
        if new <= low and not tried:
            new, tried = low, True
        elif new <= low or new >= high:
            new = math.sqrt(low * high) if high < INFINITE else 8.0 * low
        a = new
    cost = base + a * total_s + radio * send_s + price[0] * clock + price[1] * u + price[2] * d
    bound = a > alpha
    if bound:
        cost -= (a - alpha) * left
    scale = 1 / answer if bound and answer > 0.0 else 0.0
    ways = (part_f * scale, part_u * scale, part_d * scale)
    return cost, a, total_s, (clock, u, d), (by_clock, by_u * felt, by_d), (by_clock, by_u, by_d), ways
