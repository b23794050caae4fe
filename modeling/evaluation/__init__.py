"""A finished run answers for a data folder, and is scored."""
