"""People -> pictures and pages. Knows arrays only: no networks, no data."""
