"""Facts of runs and steps ⇄ attributes of our own spans: the writer and the reader, side by side."""
