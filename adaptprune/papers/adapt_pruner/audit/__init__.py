"""What follows from architecture and arithmetic alone, set against what the paper prints."""
