"""Whatever the times at which somebody comes: no window has more than its limit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from django_tasks_q.rate_limits.admissions import Admissions, Span

GAPS = st.lists(st.integers(0, 400), max_size=120)


@given(gaps=GAPS, limit=st.integers(1, 6), width=st.integers(1, 50), window=st.integers(1, 1_000))
def test_no_window_has_more_than_the_limit(gaps: list[int], limit: int, width: int, window: int) -> None:
    now, state, admitted = 1_000_000, Admissions(), []
    for gap in gaps:
        now += gap
        state, wait = state.admit(now, limit, Span(width, window), queues=False)
        if wait == 0:
            admitted.append(now)
        else:
            assert state.admit(now + wait, limit, Span(width, window), queues=False)[1] == 0

    for first, last in zip(admitted, admitted[limit:], strict=False):
        assert last - first >= window


@given(gaps=GAPS, limit=st.integers(1, 6), bucket=st.integers(1, 1_000))
def test_no_bucket_has_more_than_the_limit(gaps: list[int], limit: int, bucket: int) -> None:
    now, state, admitted = 1_000_000, Admissions(), []
    for gap in gaps:
        now += gap
        state, wait = state.admit(now, limit, Span(bucket), queues=False)
        if wait == 0:
            admitted.append(now // bucket)

    assert all(admitted.count(one) <= limit for one in admitted)


@given(number=st.integers(1, 60), limit=st.integers(1, 6), window=st.integers(1_000, 60_000))
def test_who_comes_at_his_turn_is_admitted(number: int, limit: int, window: int) -> None:
    """As long as all others do so too."""
    span = Span(max(1, window // 100), window)
    state, waiting = Admissions(), [1_000_000] * number
    for _ in range(2 * number):
        if not waiting:
            break
        waiting.sort()
        now = waiting.pop(0)
        state, wait = state.admit(now, limit, span, queues=True)
        if wait:
            waiting.append(now + wait)
    assert not waiting
