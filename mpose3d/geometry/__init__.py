"""Cameras, kinematics and alignment: plain batched functions of tensors, differentiable, with no learned weights."""
