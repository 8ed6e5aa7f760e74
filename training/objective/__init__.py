"""What the network learns to predict, and how far off it is."""
