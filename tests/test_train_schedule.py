from __future__ import annotations

from dataclasses import replace

import pytest

from promptless.config import from_dict
from promptless.train.schedule import Schedule

SCHEDULE = Schedule(steps=12, batch=4, rate=0.05, warmup=3)


def test_the_rate_warms_up_and_then_falls_to_nothing():
    rates = [SCHEDULE.rate_at(step) for step in range(SCHEDULE.steps)]
    assert rates[:3] == pytest.approx([0.05 / 3, 0.1 / 3, 0.05])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert 0 < rates[-1] < 0.01


def test_an_exponential_warm_up_is_the_published_one():
    schedule = replace(SCHEDULE, ramp="exponential", warmup=5)
    epochs = [0.05 * 2.718281828 ** (10 * (epoch / 5 - 1)) for epoch in range(5)]  # as the public code has it
    assert [schedule.rate_at(step) for step in range(5)] == pytest.approx(epochs)
    assert schedule.rate_at(5) == SCHEDULE.rate_at(5)
    assert replace(schedule, rate=5e-4).rate_at(0) == pytest.approx(2.3e-8, rel=0.02)


def test_a_schedule_in_minutes_falls_with_the_clock_and_not_with_the_steps():
    timed = replace(SCHEDULE, steps=None, minutes=2)
    assert [timed.rate_at(step, 60) for step in (0, 1)] == [SCHEDULE.rate_at(step) for step in (0, 1)]  # warming up
    assert timed.rate_at(50, 60) == timed.rate_at(900, 60) == SCHEDULE.rate_at(6)
    assert [timed.share(9, seconds) for seconds in (0, 30, 120, 500)] == [0, 0.25, 1, 1]
    assert (SCHEDULE.told(3, 9.0), timed.told(3, 30)) == ("3/12", "3, 0.5/2 minutes")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precision": "float8"}, "'float8'; it must be one of float32, bfloat16, float16"),
        ({"memory": "small"}, "'small'; it must be one of fast, lean"),
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"minutes": 15}, "steps is 12 and minutes is 15; say one of them"),
        ({"steps": None}, "steps is None and minutes is None; say one of them"),
        ({"steps": None, "minutes": 0}, "minutes is 0; it must be above 0"),
        ({"batch": 0}, "batch is 0"),
        ({"ramp": "steep"}, "'steep'; it must be one of linear, exponential"),
        ({"clipping": "each"}, "'each'; it must be one of together, apart"),
        ({"accumulate": 0}, "accumulate is 0"),
        ({"accumulate": 3}, "batch of 4 cannot be cut into 3 micro-batches .* the nearest batch that can is 6"),
        ({"betas": (0.9, 1.0)}, "two, each from 0 to below 1"),
        ({"betas": (0.9,)}, "two, each"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        replace(SCHEDULE, **arguments)


def test_each_process_sees_the_same_part_at_a_time():
    schedule = Schedule(steps=1, batch=24, accumulate=2)
    assert [schedule.micro_batch(processes=n) for n in (1, 2, 3)] == [12, 6, 4]
    with pytest.raises(ValueError, match=r"24 cannot be cut into 2 micro-batches .* x 5 processes; .* is 30"):
        schedule.micro_batch(processes=5)


def test_a_recipe_may_write_the_betas_as_a_list():
    assert from_dict(Schedule, {"steps": 1, "batch": 1, "betas": [0.8, 0.9]}, "here").betas == (0.8, 0.9)


def test_what_only_costs_does_not_decide():
    cheap = replace(SCHEDULE, accumulate=2, memory="lean", checkpoint_every=1)
    assert cheap.deciding() == SCHEDULE.deciding()
    assert replace(SCHEDULE, precision="bfloat16").deciding() != SCHEDULE.deciding()


def test_a_checkpoint_from_before_a_field_goes_on_with_its_default():
    assert not {"ramp", "clipping"} & set(SCHEDULE.deciding())
    changed = replace(SCHEDULE, ramp="exponential", clipping="apart").deciding()
    assert (changed["ramp"], changed["clipping"]) == ("exponential", "apart")
