"""Draw clips in another look.

python -m datagen.style --input raw/
"""

from datagen.cli import run_as_command

run_as_command(__name__, "style")
