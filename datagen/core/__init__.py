"""The ground floor: what every other folder may stand on, and what imports none of them."""
