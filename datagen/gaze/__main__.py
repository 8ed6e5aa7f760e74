"""Gaze of every clip of a folder of videos.

python -m datagen.gaze --input raw/
"""

from datagen.cli import run_as_command

run_as_command(__name__, "gaze")
