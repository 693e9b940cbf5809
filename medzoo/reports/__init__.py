"""One self-contained page from a run: what was done, on what data, and what came out."""
