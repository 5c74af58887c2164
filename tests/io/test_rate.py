import pytest

from wsss_seed.io.rate import Rate, duration, per_item


def test_the_first_item_is_not_measured():
    rate = Rate()
    assert rate.seconds is None
    rate.add(100.0)  # loading the models took 100 s
    assert rate.seconds is None
    for now in (102.0, 104.0, 106.0):
        rate.add(now)
    assert rate.measured == 3
    assert rate.seconds == 2.0


def test_a_change_of_speed_is_followed():
    rate = Rate()
    for now in range(1000):
        rate.add(float(now))
    for now in range(1000):
        rate.add(1000.0 + 5 * now)
    assert rate.measured == 200
    assert rate.seconds == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.02, "50.0 images/s"), (0.4, "2.5 images/s"), (1.0, "1.0 s/image"), (7.64, "7.6 s/image")]
)
def test_rates(seconds, text):
    assert per_item(seconds, "image") == text


def test_a_rate_beyond_measure():
    assert per_item(0.0, "image").endswith("images/s")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (89.0, "89 s"),
        (90.0, "2 min"),
        (59.4 * 60, "59 min"),
        (59.6 * 60, "1 h 0 min"),
        (12_000.0, "3 h 20 min"),
        (52.4 * 3600, "2 d 4 h"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
