"""Put another person's face into every clip of a folder of videos.

python -m datagen.swap --input raw/ --donors portraits/
"""

from datagen.cli import run_as_command

run_as_command(__name__, "swap")
