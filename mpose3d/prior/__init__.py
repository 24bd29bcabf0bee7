"""The pose prior at work, as commands: poses made (`make`), measured (`measure`) and drawn (`draw`).

Poses travel in npz files with one array `poses` (N, 15, 3): canonical, pelvis at the origin, mm. Whatever
`read_motion_capture` reads is taken too, in any position and rotation. Bones are set to the lengths of `SKELETON`, a
stature of 1.7 m, before anything is measured.
"""
