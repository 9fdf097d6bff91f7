"""The checks, by family. Each module has one `Register` for each family in it; `runner` puts them in order."""
