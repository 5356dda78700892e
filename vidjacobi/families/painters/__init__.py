"""From what a picture is to show (a text, a class) to a model of it, and from decided tokens to its pixels."""
