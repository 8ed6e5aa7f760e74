"""What JSON gives: the words that metrics, records and sample descriptions are made of."""

from __future__ import annotations

from typing import Any

Json = Any  # null, a truth value, number, text, list or object
JsonObject = dict[str, Json]
