"""Data in: checked rows, and tables read from files."""
