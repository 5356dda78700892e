"""The five exchangeable parts of a Jacobi decoder: lanes, draft rule, coupling, verifier, draft tree."""
