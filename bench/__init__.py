"""Measure, judge and show: the main job is ``python -m bench.run``."""
