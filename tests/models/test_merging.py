"""Calls of one model from several threads: what is merged, in which order, and what errors and interrupts leave."""

from __future__ import annotations

import threading

import pytest

from wsss_seed.models.merging import in_groups, merged


class Doubler:
    """A model that records its batches."""

    def __init__(self, refuse=()):
        self.batches = []
        self.refuse = refuse

    @merged
    def double(self, items):
        self.batches.append((list(items), threading.current_thread()))
        if set(items) & set(self.refuse):
            raise ValueError("refused")
        return [2 * item for item in items]

    @merged
    def negate(self, items):
        self.batches.append((list(items), threading.current_thread()))
        return [-item for item in items]


def results(done):
    return [(item, outcome.future.exception() or outcome.future.result()) for item, outcome in done]


def test_a_single_call_is_a_batch_of_one():
    model = Doubler()
    assert model.double(3) == 6
    assert model.batches == [([3], threading.current_thread())]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 20])
def test_results_do_not_depend_on_the_size_of_groups(size):
    model = Doubler()

    def process(item):
        once = model.double(item)
        return model.negate(once) if item % 3 else once

    got = results(in_groups(process, range(11), size))
    assert got == [(i, -2 * i if i % 3 else 2 * i) for i in range(11)]


def test_calls_of_a_group_are_merged_in_the_order_of_its_items_and_run_in_the_calling_thread():
    model = Doubler()
    list(in_groups(model.double, range(10), 4))
    batches = sorted(items for items, _ in model.batches)
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert {thread for _, thread in model.batches} == {threading.current_thread()}


def test_an_item_that_needs_no_further_call_does_not_hold_up_the_others():
    model = Doubler()
    steps = {0: 0, 1: 3, 2: 1, 3: 3}

    def process(item):
        for _ in range(steps[item]):
            model.double(item)
        return item

    assert results(in_groups(process, range(4), 4)) == [(i, i) for i in range(4)]
    assert [items for items, _ in model.batches] == [[1, 2, 3], [1, 3], [1, 3]]


def test_different_methods_and_models_are_not_merged():
    one, other = Doubler(), Doubler()

    def process(item):
        return (one if item % 2 else other).double(item) if item < 4 else one.negate(item)

    assert results(in_groups(process, range(6), 6)) == [(i, 2 * i if i < 4 else -i) for i in range(6)]
    assert sorted(items for items, _ in one.batches) == [[1, 3], [4, 5]]
    assert [items for items, _ in other.batches] == [[0, 2]]


def test_a_call_that_fails_leaves_the_others_of_its_batch_alone():
    model = Doubler(refuse=[2])
    got = results(in_groups(model.double, range(4), 4))
    assert [item for item, _ in got] == [0, 1, 2, 3]
    assert isinstance(got[2][1], ValueError)
    assert [result for item, result in got if item != 2] == [0, 2, 6]
    assert [items for items, _ in model.batches] == [[0, 1, 2, 3], [0], [1], [2], [3]]


def test_an_error_outside_of_a_model_fails_its_item_only():
    model = Doubler()

    def process(item):
        if item == 1:
            raise KeyError("mine")
        return model.double(item)

    got = results(in_groups(process, range(3), 3))
    assert isinstance(got[1][1], KeyError)
    assert [got[0], got[2]] == [(0, 0), (2, 4)]


def test_an_interrupt_ends_all_threads():
    class Interrupted(Doubler):
        @merged
        def double(self, items):
            raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        list(in_groups(Interrupted().double, range(8), 4))
    assert threading.active_count() == before


def test_closing_the_iterator_ends_all_threads():
    model, before = Doubler(), threading.active_count()
    done = in_groups(lambda item: model.double(model.double(item)), range(100), 3)
    assert next(done)[0] == 0
    done.close()
    assert threading.active_count() == before
    assert len(model.batches) < 10  # the rest was not processed


def test_items_are_drawn_as_they_are_needed():
    drawn = []

    def items():
        for i in range(100):
            drawn.append(i)
            yield i

    done = in_groups(lambda item: item, items(), 4)
    next(done)
    done.close()
    assert len(drawn) <= 12  # two groups, and the next one at most


def test_an_error_of_the_items_is_raised():
    def items():
        yield from range(5)
        raise OSError("unreadable")

    before = threading.active_count()
    with pytest.raises(OSError, match="unreadable"):
        list(in_groups(Doubler().double, items(), 4))
    assert threading.active_count() == before
