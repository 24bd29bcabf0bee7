"""Where poses come from: joint limits, pose sources and scenes. Numbers only, no pictures."""
