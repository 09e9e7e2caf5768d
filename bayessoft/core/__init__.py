"""The soft assignment, the one pass over the rows, and the constraints on sizes."""
