"""Can this machine run the chosen backends?

Nothing is computed, no model is loaded and the network is not used.
"""
