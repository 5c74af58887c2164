"""Order and random numbers of training as functions of the position."""

from wsss_seed.data.shuffle import rng_at, shuffled_index


def test_every_epoch_is_another_permutation():
    epochs = [[shuffled_index(e * 20 + i, 20, seed=0) for i in range(20)] for e in range(3)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert [shuffled_index(i, 20, seed=1) for i in range(20)] != epochs[0]


def test_a_position_has_the_same_numbers_at_any_time():
    late = rng_at(7, seed=3).random(4).tolist()
    for position in range(7):
        rng_at(position, seed=3).random(10)
    assert rng_at(7, seed=3).random(4).tolist() == late
    assert rng_at(8, seed=3).random(4).tolist() != late
    assert rng_at(7, seed=4).random(4).tolist() != late
