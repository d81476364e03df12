"""Map the facts of runs and steps to the attributes of our own spans, and back: writer and reader side by side."""
