"""How the panel of errors is drawn: the figures in the grid, the answers about one face, and what both offer."""
