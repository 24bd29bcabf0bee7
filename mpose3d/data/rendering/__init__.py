"""The small world: D_syn scenes as images of clothed people made of capsules, every scene in another look.

Domain randomisation (Tobin et al., "Domain Randomization for Transferring Deep Neural Networks from Simulation to the
Real World", IROS 2017): bodies, clothes, light, background and lens are drawn anew for each scene, so that nothing but
the shape of people is worth learning.

    scenes -> landmarks -> painted capsules -> fragments (capsule x pixel) -> shaded surfaces over a background -> lens

`bodies` makes capsules of people, `capsules` draws them, `images` has what is around them.
"""

from mpose3d.data.rendering.images import render

__all__ = ["render"]
