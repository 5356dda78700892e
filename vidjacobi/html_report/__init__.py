"""Reports as a single HTML file that needs no network."""
