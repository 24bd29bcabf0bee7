"""How people are written down for a network: heatmaps and part-affinity fields in 2D, the neural grid in 3D."""
