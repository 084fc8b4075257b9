"""What one board has."""
