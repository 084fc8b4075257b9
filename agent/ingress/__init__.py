"""How frames and questions come in."""
