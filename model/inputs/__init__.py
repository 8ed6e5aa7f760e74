"""What goes into the model: portrait, driving video, driving frames."""
