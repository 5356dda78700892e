"""Several decoders and windows on the same contexts, beside AR: decodes, tables, bars and plots."""
