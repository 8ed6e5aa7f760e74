"""The MegActor model."""

import os

# Without it MKL's matrix-vector product rounds by where in memory its numbers happen to lie, and a seed decides nothing.
os.environ.setdefault("MKL_CBWR", "AUTO")
