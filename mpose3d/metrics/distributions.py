"""How far two sets of samples are from having one distribution: precision and recall, a classifier two-sample test.

Samples are (N, ...) and flattened to vectors, compared by Euclidean distance; for poses, canonical joints in mm.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

_ROWS = 1024  # of a table of distances at a time
_WIDTH, _EPOCHS, _BATCH = 128, 30, 128


def precision_recall(
    real: Float[Tensor, "n ..."], made: Float[Tensor, "m ..."], neighbours: int = 3
) -> tuple[float, float]:
    """Improved precision and recall, 0 to 1 (Kynkäänniemi et al., NeurIPS 2019).

    A set's manifold is the union of balls around its samples, each as large as the distance to its `neighbours`-th
    nearest other sample. Precision is the share of `made` in the manifold of `real`, recall that of `real` in the
    manifold of `made`. The balls shrink as a set grows: compare figures of equal numbers only.

    Raises:
        ValueError: a set has no more than `neighbours` samples, or these are none.
    """
    if neighbours < 1:
        raise ValueError(f"precision and recall need a neighbour or more, not {neighbours}")
    real, made = real.flatten(1), made.flatten(1)
    for name, samples in (("made", made), ("real", real)):
        if len(samples) <= neighbours:
            raise ValueError(f"{len(samples)} {name} samples, precision and recall need more than {neighbours}")
    return _share_inside(made, real, neighbours), _share_inside(real, made, neighbours)


def _share_inside(points: Tensor, samples: Tensor, neighbours: int) -> float:
    """Share of `points` in the manifold of `samples`."""
    # the nearest sample is the sample itself
    radii = torch.cat([_distances(part, samples).kthvalue(neighbours + 1).values for part in samples.split(_ROWS)])
    return float(torch.cat([(_distances(p, samples) <= radii).any(-1) for p in points.split(_ROWS)]).double().mean())


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # by products of matrices, millimetres would be lost to rounding
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def two_sample_accuracy(
    real: tuple[Float[Tensor, "n ..."], Float[Tensor, "p ..."]],
    made: tuple[Float[Tensor, "m ..."], Float[Tensor, "q ..."]],
    seed: int = 0,
) -> float:
    """Classifier two-sample test (Lopez-Paz and Oquab, ICLR 2017): accuracy on samples that it did not learn from.

    A small perceptron learns to tell real from made samples on the first set of each pair, and is scored on the second,
    the mean over the two kinds. Near 0.5, by chance below it too, it cannot tell them apart; at 1 it always can.
    Neighbouring frames of one recording in both sets help it.

    Args:
        real, made: (training samples, scored samples).
        seed: of the perceptron and its training; the global generator is left as it was.
    """
    train = [samples[0].flatten(1).float() for samples in (real, made)]
    n = min(map(len, train))
    if n == 0 or min(len(samples[1]) for samples in (real, made)) == 0:
        raise ValueError("the two-sample test needs real and made samples, to train and to score")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        # as many of each kind, so that neither is the better guess
        x = torch.cat([samples[torch.randperm(len(samples))[:n]] for samples in train])
        y = torch.arange(2).repeat_interleave(n).to(x)
        mean, deviation = x.mean(0), x.std(0, correction=0).clamp_min(1e-6)
        x = (x - mean) / deviation
        layers = nn.Linear(x.shape[1], _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, 1)
        classifier = nn.Sequential(*layers).to(x.device)
        optimizer = torch.optim.AdamW(classifier.parameters(), lr=1e-3, weight_decay=1e-2)
        for _ in range(_EPOCHS):
            for batch in torch.randperm(len(x)).split(_BATCH):
                loss = functional.binary_cross_entropy_with_logits(classifier(x[batch]).squeeze(-1), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    with torch.no_grad():
        said_made = [
            (classifier((samples[1].flatten(1).float() - mean) / deviation) > 0).float().mean()
            for samples in (real, made)
        ]
    return float((1 - said_made[0] + said_made[1]) / 2)
