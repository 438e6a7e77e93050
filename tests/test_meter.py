"""Histograms, and the initial state of a meter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverb.meter import AppMeter, Histogram, Meter


class TestHistogram:
    @pytest.mark.parametrize(
        ("value", "counts"),
        [
            (-1, [1, 0, 0]),
            (0, [1, 0, 0]),
            (1, [1, 0, 0]),
            (1.5, [0, 1, 0]),
            (2, [0, 1, 0]),
            (2.1, [0, 0, 1]),
            (float("inf"), [0, 0, 1]),
        ],
    )
    def test_a_value_is_counted_in_the_first_bucket_whose_bound_is_not_smaller(self, value, counts):
        histogram = Histogram((1, 2))
        histogram.observe(value)
        assert histogram.counts == counts

    def test_the_sum_of_all_values(self):
        histogram = Histogram((1, 2))
        for value in (0.5, 2, 7):
            histogram.observe(value)
        assert histogram.sum == 9.5

    def test_a_value_is_counted_as_often_as_it_occurred(self):
        histogram = Histogram((1, 2))
        histogram.observe(2, 3)
        histogram.observe(1, 0)
        assert (histogram.counts, histogram.sum) == ([0, 3, 0], 6)

    @given(st.lists(st.integers(-5, 5)), st.sets(st.integers(-5, 5), min_size=1))
    def test_every_bucket_counts_the_values_up_to_its_bound(self, values, bounds):
        bounds = sorted(bounds)
        histogram = Histogram(bounds)
        for value in values:
            histogram.observe(value)
        for position, bound in enumerate(bounds):
            assert sum(histogram.counts[: position + 1]) == sum(v <= bound for v in values)
        assert sum(histogram.counts) == len(values)


class TestMeter:
    def test_an_apps_meter_is_created_on_first_access(self):
        meter = Meter()
        meter.apps["1"].opened += 1
        assert meter.apps["1"].opened == 1
        assert meter.apps["2"].opened == 0

    def test_two_apps_share_no_counters(self):
        one, other = AppMeter(), AppMeter()
        one.fan_out.observe(1)
        one.errors[0] += 1
        assert sum(other.fan_out.counts) == 0
        assert not other.errors

    def test_only_the_latest_lags_are_kept(self):
        meter = Meter()
        meter.lags.extend(range(100))
        assert list(meter.lags) == list(range(40, 100))

    def test_a_rejection_counts_for_its_app(self):
        meter = Meter()
        meter.reject("1", 4004, "max_connections")
        meter.reject("1", 4009, "")
        assert meter.apps["1"].rejected == {4004: 1, 4009: 1}
        assert meter.apps["1"].limit_hits == {"max_connections": 1}
        assert not meter.rejected

    def test_a_rejection_without_an_app_creates_no_app(self):
        meter = Meter()
        meter.reject(None, 4001, "")
        assert meter.rejected == {4001: 1}
        assert not meter.apps
