"""Numbers as texts: bounds that are rounded up, and values with as many digits as their bounds leave."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Context, Decimal, localcontext

__all__ = ["rounded_up", "with_bound"]


def rounded_up(bound: float | Decimal, digits: int = 2) -> str:
    """Return a bound with a few digits, never less than it is.

    >>> rounded_up(1.2101e-5), rounded_up(0.0), rounded_up(math.inf), rounded_up(123.4), rounded_up(9.99e-3)
    ('1.3e-5', '0', 'inf', '1.3e+2', '1.0e-2')
    """
    exact = Decimal(bound)
    if not exact.is_finite() or exact == 0:
        return f"{float(bound):g}"
    step = Decimal(1).scaleb(exact.adjusted() - digits + 1)
    return f"{exact.quantize(step, ROUND_CEILING, Context(prec=60)):.{digits - 1}e}"


def with_bound(value: float, bound: float | None) -> str:
    """Return a value with two digits of its bound, which covers what is rounded away, or ten digits without one.

    A bound of zero leaves all digits.

    >>> with_bound(1.23456789, 2e-4), with_bound(1 / 3, 0.0), with_bound(-3.0, None), with_bound(0.5, 3.0)
    ('1.23457 ± 2.1e-4', '0.3333333333333333 ± 0', '-3', '0.5 ± 3.0e+0')
    """
    value = float(value)
    if bound is None or not math.isfinite(value):
        return f"{value:.10g}"
    if bound == 0 or not math.isfinite(bound):
        return f"{value!r} ± {bound:g}"  # all digits, as the bound covers no rounding
    place = math.floor(math.log10(bound)) - 1
    digits = min(max(math.floor(math.log10(abs(value))) - place + 1 if value else 1, 1), 17)
    text = f"{value:.{digits}g}"
    with localcontext(prec=60):
        return f"{text} ± {rounded_up(Decimal(bound) + abs(Decimal(text) - Decimal(value)))}"
