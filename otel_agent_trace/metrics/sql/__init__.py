"""Count runs by the SQL of an engine into the tallies of a report, which adds up with any other.

What is counted is described once (`aggregates`), over the tables ``runs`` and ``spans`` with the columns of a Parquet export.
"""
