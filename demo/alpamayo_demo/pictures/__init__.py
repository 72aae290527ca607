"""What the demo shows: a sheet of situations, and a drive as an animation. Needs pillow and matplotlib's font."""
