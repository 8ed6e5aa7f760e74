"""Who is where in every frame: a clip and its faces -> mask.mp4, the person and the face."""
