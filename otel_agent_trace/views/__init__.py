"""What people see of runs, reports and explanations: rows, tables and trees of plain text, for any renderer.

Nothing here knows a terminal, a page or a command line. The text of a trace stands in it as it is, control characters
included: whoever renders it escapes it for the place where it goes, at one point (`views.escape` for terminals and logs).
"""
