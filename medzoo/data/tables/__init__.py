"""Tables of images: CSV and Parquet, the conventions of published ones, labels, groups."""
