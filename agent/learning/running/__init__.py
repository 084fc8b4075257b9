"""A retraining as a process."""
