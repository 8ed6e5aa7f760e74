"""Raw video to training shards: cut, track, mask, measure gaze, swap, stylise, check, select,
pack.
"""
