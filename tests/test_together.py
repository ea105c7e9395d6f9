"""Techniques that pay more together: what is proposed besides, on profiles made up here."""

from __future__ import annotations

import pytest

from mobiprox_core import together
from mobiprox_core.configuration import EXACT, EXACT_CONFIGURATION, Configuration, Setting
from mobiprox_core.interfaces import Candidate, OperatorProfile, Profile, SettingProfile

SMALL, SKIP = Setting.of("small"), Setting.of("skip", n=2)
BOTH = Setting((*SMALL, *SKIP))


def operator(name: str, *more: tuple[Setting, float, float]) -> OperatorProfile:
    """Exact takes 10 ms; more: setting, milliseconds, divergence."""
    every = ((EXACT, 10.0, 0.0), *more)
    return OperatorProfile(name, tuple(SettingProfile(setting, ms, 0.1, kl) for setting, ms, kl in every))


FIRST = operator("first", (SKIP, 5.0, 0.3))
SECOND = operator("second", (SMALL, 9.0, 0.01), (SKIP, 5.0, 0.3), (BOTH, 4.5, 0.31))
THIRD = operator("third", (SMALL, 9.0, 0.02), (SKIP, 5.0, 0.1), (BOTH, 5.5, 0.12))
PROFILE = Profile((FIRST, SECOND, THIRD), latency_ms=30.0, samples=8)


def test_a_technique_that_many_offer_is_tried_with_all_of_them() -> None:
    found = together.widespread(PROFILE)
    assert found["small"] == Configuration({"second": SMALL, "third": SMALL})
    assert set(found) == {"small", "skip"}
    assert "small" not in together.widespread(Profile((FIRST, FIRST, SECOND), 30.0, 8))


def test_only_a_clear_surplus_counts() -> None:
    all_small = Configuration({"second": SMALL, "third": SMALL})  # saves 2 ms of 30 by the sum
    assert together.beyond(PROFILE, all_small, exact_ms=30.0, latency_ms=20.0) == pytest.approx(8.0)
    assert together.beyond(PROFILE, all_small, exact_ms=60.0, latency_ms=40.0) == pytest.approx(8.0)  # a slower moment of the machine
    assert together.beyond(PROFILE, all_small, exact_ms=30.0, latency_ms=27.9) == 0.0
    assert together.beyond(PROFILE, all_small, exact_ms=30.0, latency_ms=31.0) == 0.0


def test_operators_keep_what_they_skip_where_that_goes_together() -> None:
    skipping = Configuration({"first": SKIP, "second": SKIP, "third": SKIP})
    assert together.under(PROFILE, skipping, "small") == Configuration({"first": SKIP, "second": BOTH, "third": BOTH})


def test_each_candidate_is_proposed_again_by_rising_divergence_and_none_twice() -> None:
    given = (Candidate(Configuration({"second": SKIP}), 25.0, 0.3), Candidate(Configuration({"first": SKIP, "second": SKIP}), 20.0, 0.6))
    found = together.twins(PROFILE, given, {"small": 8.0})
    assert set(given) < set(found)
    assert [c.divergence for c in found] == sorted(c.divergence for c in found)
    assert len({c.configuration for c in found}) == len(found) == 5
    assert found[0].configuration == Configuration({"second": SMALL, "third": SMALL})
    assert (found[0].latency_ms, found[0].divergence) == pytest.approx((20.0, 0.03))
    assert together.twins(PROFILE, given, {}) == given


def test_coupled_operators_stay_together() -> None:
    coupled = Profile((FIRST, SECOND, THIRD), 30.0, 8, couplings=(("second", "third"),))
    assert together.under(coupled, EXACT_CONFIGURATION, "small") == EXACT_CONFIGURATION
