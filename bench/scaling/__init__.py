"""How soon, how well and at what cost the operator scales."""
