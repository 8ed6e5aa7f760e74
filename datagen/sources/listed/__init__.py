"""Sources that are lists of videos on the network: spans, crops and downloads."""
