"""Models of visual tokens from many authors, each behind vidjacobi's protocol. docs/families.md lists them."""
