"""What draws say of themselves: pure functions of arrays, and what they find for a fit."""
