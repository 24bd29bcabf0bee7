"""Plain `torch.nn` modules; none knows Lightning, a loss or a data set."""
