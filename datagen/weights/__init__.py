"""Third-party weights: the registry, downloads, and checks that files are complete."""
