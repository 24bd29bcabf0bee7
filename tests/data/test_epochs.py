"""The stream of training batches: the same on any number of processes and workers, and resumed at any batch."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
from torch.utils.data import Dataset

from mpose3d.data.epochs import StreamLoader, StreamSampler


class Keys(Dataset):
    """Samples that are their own keys: (pass, index)."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: tuple[int, int]) -> torch.Tensor:
        return torch.tensor(key)


def batches(loader: StreamLoader, epochs: int) -> list[list[list[int]]]:
    return [batch.tolist() for _ in range(epochs) for batch in loader]


def samplers(length: int, batch_size: int, processes: int) -> list[StreamSampler]:
    """One for each of so many processes."""
    made = [StreamSampler(Keys(length), batch_size, seed=5) for _ in range(processes)]
    for rank, sampler in enumerate(made):
        sampler.num_replicas, sampler.rank = processes, rank
    return made


def test_every_pass_shows_every_sample_once_in_an_order_of_its_own():
    loader = StreamLoader(Keys(11), 4, seed=3)
    assert len(loader) == 2
    keys = list(chain(*batches(loader, epochs=11)))
    passes = [keys[i : i + 11] for i in range(0, 88, 11)]
    for number, one in enumerate(passes):
        assert sorted(one) == [[number, index] for index in range(11)]
    assert len({tuple(index for _, index in one) for one in passes}) == len(passes)
    assert keys == list(chain(*batches(StreamLoader(Keys(11), 4, seed=3), epochs=11)))
    others = [index for _, index in chain(*batches(StreamLoader(Keys(11), 4, seed=4), epochs=11))]
    of_other_seed = {tuple(others[i : i + 11]) for i in range(0, 88, 11)}
    assert not of_other_seed & {tuple(index for _, index in one) for one in passes}


def test_a_data_set_smaller_than_a_batch_fills_it():
    (batch,) = batches(StreamLoader(Keys(3), 8, shuffle=False), epochs=1)
    assert batch == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2], [2, 0], [2, 1]]


def test_an_empty_data_set_is_refused():
    with pytest.raises(ValueError, match="nothing to train on"):
        batches(StreamLoader(Keys(0), 4), 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_it_goes_on_at_any_batch(workers):
    whole = batches(StreamLoader(Keys(11), 4), epochs=3)
    for position in range(4):
        loader = StreamLoader(Keys(11), 4, num_workers=workers)
        loader.position = position
        assert batches(loader, epochs=1) == whole[position : position + 2]
        assert loader.position == position + 2


def test_an_epoch_that_is_cut_short_is_continued():
    loader = StreamLoader(Keys(11), 4)
    first = next(iter(loader)).tolist()
    assert [first, *batches(loader, epochs=1)] == batches(StreamLoader(Keys(11), 4), 2)[:3]


@pytest.mark.parametrize(("length", "batch_size", "processes"), [(24, 3, 4), (25, 3, 2), (5, 1, 2), (3, 4, 2)])
def test_processes_see_together_what_one_would(length, batch_size, processes):
    alone = StreamSampler(Keys(length), batch_size, seed=5)
    shares = samplers(length, batch_size, processes)
    assert len({len(share) for share in shares}) == 1
    steps = 0
    for _ in range(6):
        taken = [list(share) for share in shares]
        count = len(shares[0]) // batch_size
        for step in range(count):
            # batch `step` of every process, one process after the other, are consecutive batches of the stream
            together = [key for keys in taken for key in keys[step * batch_size : (step + 1) * batch_size]]
            alone.start = (steps + step) * processes
            expected = []
            while len(expected) < len(together):
                expected += list(alone)
                alone.start += len(alone) // batch_size
            assert together == expected[: len(together)]
        steps += count
        for share in shares:
            share.start += count
    if length % (batch_size * processes) == 0:  # an epoch is then a pass
        assert {key for keys in taken for key in keys} == {(5, index) for index in range(length)}


def test_a_sampler_may_be_older_than_the_processes(monkeypatch):
    sampler, shares = StreamSampler(Keys(24), 3, seed=5), samplers(24, 3, processes=4)
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda group=None: 4)
    monkeypatch.setattr("torch.distributed.get_rank", lambda group=None: 2)
    taken = list(sampler), len(sampler)
    monkeypatch.undo()
    assert taken == (list(shares[2]), 6)


def test_a_loader_by_itself_remembers_its_place():
    whole, loader, later = batches(StreamLoader(Keys(11), 4), 4), StreamLoader(Keys(11), 4), StreamLoader(Keys(11), 4)
    assert batches(loader, 1) == whole[:2]
    later.load_state_dict(loader.state_dict())
    assert batches(later, 1) == whole[2:4]
