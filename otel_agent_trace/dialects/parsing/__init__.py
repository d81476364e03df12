"""What dialects read foreign spans with: attributes one by one, envelopes taken off, messages of any shape."""
