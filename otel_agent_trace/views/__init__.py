"""Describe runs, reports and explanations as rows, tables and trees of plain text, for any renderer.

The modules depend on no terminal, page or command line. They leave the text of a trace as it is, control characters
included: each renderer escapes it for its output, at one point (`views.escape` for terminals and logs).
"""
