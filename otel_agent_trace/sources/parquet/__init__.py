"""Read the runs of a folder that ``export --to parquet`` has written, or count them with SQL.

The packages that this needs (extra ``parquet``) are imported when they are used.
"""
