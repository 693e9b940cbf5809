"""One card per published weight set, and the small bundled moments files."""
