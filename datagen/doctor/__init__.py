"""Can this machine do it?  Nothing is computed, no model is loaded and nobody is asked over the
network.
"""
