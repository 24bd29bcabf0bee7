"""What a file says of a network is all that it takes to build it again."""

from __future__ import annotations

import inspect

import pytest

from mpose3d.networks.autoencoder import PoseAutoEncoder
from mpose3d.networks.cross_modal import CrossModalNetwork
from mpose3d.networks.keypoint_lifter import KeypointLifter
from mpose3d.networks.peak_chooser import PeakChooser


@pytest.mark.parametrize("kind", [PoseAutoEncoder, CrossModalNetwork, KeypointLifter, PeakChooser])
def test_settings_are_the_arguments(kind):
    arguments = inspect.signature(kind).parameters
    assert kind().settings == {name: a.default for name, a in arguments.items() if name != "prior"}
