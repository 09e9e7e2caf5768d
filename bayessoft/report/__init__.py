"""What a run leaves for a person or a program: tables, a JSON document, files."""
