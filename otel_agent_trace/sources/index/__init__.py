"""Index the files of a store in SQLite: its runs, by what queries filter and sort by, and where their lines are.

The index is a locator. What is shown is decoded from the files by the code that reads them without an index, and
checked against the query again. It may be deleted at any time; one of another version, or that is damaged, is
made anew.
"""
