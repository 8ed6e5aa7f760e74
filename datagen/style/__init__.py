"""The styled twin: a clip -> a drawing of the same moment."""
