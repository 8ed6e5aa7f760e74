"""How well a model moves people it never saw."""
