"""Weights of others in, official names out: Stable Diffusion 1.5, MagicAnimate, AnimateDiff,
MegActor.
"""
