"""A short soak; in full: python -m tests.benchmarks.soak_dashboard --clients 8 --seconds 600."""

from __future__ import annotations

import pytest

from tests.benchmarks.soak_dashboard import soak


@pytest.mark.slow
def test_six_people_at_once_see_only_their_own_labels_and_leave_nothing_behind():
    outcome = soak(clients=6, seconds=20)
    assert not outcome.errors, outcome.report()
    assert not outcome.crossed, outcome.report()
    assert outcome.pages >= 6, outcome.report()
    assert outcome.growth_mb <= 2, outcome.report()
