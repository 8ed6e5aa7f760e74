"""Person and face of every clip of a folder of videos.

python -m datagen.mask --input raw/
"""

from datagen.cli import run_as_command

run_as_command(__name__, "mask")
