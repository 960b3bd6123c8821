"""Where workers run: one Protocol, on Kubernetes and on this host."""
