"""The shop's business code: each module has a mistake, and beside it the function that is right."""
