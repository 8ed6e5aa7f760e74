"""The MegActor model."""

import os

# Without it MKL rounds a matrix-vector product by where in memory its numbers happen to lie: a seed
# decides nothing.
os.environ.setdefault("MKL_CBWR", "AUTO")
