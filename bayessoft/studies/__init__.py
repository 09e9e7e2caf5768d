"""Studies: what runs many fits."""
